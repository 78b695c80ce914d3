"""How far a second training of an entry agrees with it, and the receipt that says so."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from gsbench.board.entries import CheckError, correct_objects, probabilities_of
from gsbench.board.truth import Truth
from gsbench.core.files import MAX_JSON_BYTES, read_bytes, read_json, write_atomic
from gsbench.core.metrics import mcnemar_p_value
from gsbench.core.parsing import InputError, check_hex, check_text, parse
from gsbench.core.results import Result

_LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Rerun:
    """What a second run says of an entry.

    Attributes:
        entry: the entry's path on its board.
        entry_sha256: of its file.
        standing: `equal` predictions; `agree`, where the two get differently many objects right by no more than chance
            (McNemar's exact test at 5 %); or `differ`.
        objects: test objects.
        equal_predictions: objects whose probabilities are the same to the last digit that is kept.
        flipped: objects that are taken for another class.
        largest_difference: of a probability.
        accuracy: the entry's.
        accuracy_again: of the second run.
        p_value: of the difference.
        recipe: what was run again: the recipe's hash, or that of the features.
        code: whether the code that ran is that which the entry states.
        device: that the second run was on.
        versions: of what it ran with.
        commit: of gsbench; None where it is unknown.
    """

    entry: str
    entry_sha256: str
    standing: Literal["equal", "agree", "differ"]
    objects: int
    equal_predictions: int
    flipped: int
    largest_difference: float
    accuracy: float
    accuracy_again: float
    p_value: float
    recipe: str
    code: Literal["same", "other", "unknown"]
    device: str
    versions: dict[str, str]
    commit: str | None

    def __post_init__(self) -> None:
        check_text("entry", self.entry, 1000)
        check_hex("entry_sha256", self.entry_sha256)

    def text(self) -> str:
        """In lines, what was run again and how far it agrees."""
        return "\n".join(
            [
                f"{self.entry}: {self.standing}",
                f"{self.equal_predictions} of {self.objects} predictions are equal, {self.flipped} of another class; "
                f"the largest difference of a probability is {self.largest_difference:.6f}",
                f"accuracy {100 * self.accuracy:.2f} on the board, {100 * self.accuracy_again:.2f} again "
                f"(McNemar's exact test: p = {self.p_value:.3f})",
                f"run again from {self.recipe[:12]} with {self.code} code on {self.device}",
            ]
        )


def compare_runs(path: Path, board: Path, entry: Result, again: Result, truth: Truth) -> Rerun:
    """How far `again` says what an entry says.

    Args:
        path: the entry's file.
        board: its board, to which the path is relative in the receipt.
        entry: what stands there.
        again: the second run, of the same task.
        truth: the labels.

    Raises:
        CheckError: one of them does not hold, or they are of different tasks.
    """
    if entry.task.slug() != again.task.slug():
        raise CheckError(f"{path}: is of the task {entry.task.slug()}, the second run of {again.task.slug()}")
    ours, theirs = probabilities_of(entry, truth), probabilities_of(again, truth)
    right, right_again = correct_objects(entry, truth), correct_objects(again, truth)
    p_value = mcnemar_p_value(int((right & ~right_again).sum()), int((right_again & ~right).sum()))
    equal = int((ours == theirs).all(1).sum())
    standing: Literal["equal", "agree", "differ"] = "agree" if p_value >= _LEVEL else "differ"
    if equal == len(ours):
        standing = "equal"
    stated, ran = entry.model.code_sha256, again.model.code_sha256
    features = entry.outside.sha256 if entry.outside else None
    return Rerun(
        entry=path.resolve().relative_to(board.resolve()).as_posix(),
        entry_sha256=hashlib.sha256(read_bytes(path, MAX_JSON_BYTES)).hexdigest(),
        standing=standing,
        objects=len(ours),
        equal_predictions=equal,
        flipped=int((ours.argmax(1) != theirs.argmax(1)).sum()),
        largest_difference=float(np.abs(ours - theirs).max()),
        accuracy=entry.metrics["accuracy"],
        accuracy_again=again.metrics["accuracy"],
        p_value=p_value,
        recipe=features or entry.model.recipe_sha256,
        code="unknown" if stated is None or ran is None else "same" if stated == ran else "other",
        device=again.run.device,
        versions=again.run.versions,
        commit=again.run.commit,
    )


def rerun_path(board: Path, entry: Path) -> Path:
    """Where the receipt of an entry stands: `receipts/` mirrors `entries/`."""
    try:
        return board / "receipts" / entry.resolve().relative_to((board / "entries").resolve())
    except ValueError:
        raise InputError(f"{entry}: is no entry of {board} (allowed: files under {board / 'entries'})") from None


def save_rerun(rerun: Rerun, path: Path) -> None:
    """Writes a receipt.

    Raises:
        OSError: the folder cannot be written.
    """
    write_atomic(path, (json.dumps(asdict(rerun), indent=1) + "\n").encode())


def was_rerun(board: Path, entry: Path) -> bool:
    """Whether a receipt says that the entry, as it stands, was run again with the same outcome."""
    path = rerun_path(board, entry)
    if not path.exists():
        return False
    rerun = parse(read_json(path), Rerun, str(path))
    digest = hashlib.sha256(read_bytes(entry, MAX_JSON_BYTES)).hexdigest()
    return rerun.entry_sha256 == digest and rerun.standing != "differ"
