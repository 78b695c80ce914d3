"""How objects went: each one's rows and outcome are files of their own, written atomically by whoever made them."""

import contextlib
import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gsbench.core.files import atomic_path, write_atomic
from gsbench.core.parsing import parse, parse_json
from gsbench.produce.objects import ObjectRows, load_rows, save_object
from gsbench.store.schema import CONFIGS
from gsbench.store.shards import row_bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one object went: its scores, or the reason why it was set aside.

    Attributes:
        psnr: on the held-out views, dB.
        ssim: on the held-out views.
        file_bytes: size of the file with its rows.
        row_bytes: config to the most that its rows take in a shard.
        reason: why it was set aside, in a line; then the others mean nothing.
        final: whether it would go the same way again; False for what is wrong with the machine, not with the mesh.
    """

    psnr: float = 0.0
    ssim: float = 0.0
    file_bytes: int = 0
    row_bytes: dict[str, int] = field(default_factory=dict)
    reason: str | None = None
    final: bool = True


def rows_path(objects: Path, object_id: str) -> Path:
    """The file with the rows of an object, for `load_rows`."""
    return objects / f"{object_id}.npz"


def _outcome_path(objects: Path, object_id: str) -> Path:
    return objects / f"{object_id}.json"


def keep_rows(objects: Path, object_id: str, rows: ObjectRows) -> Outcome:
    """Writes the file with an object's rows; OSError if the folder `objects` cannot be written or the disk is full."""
    path = rows_path(objects, object_id)
    with atomic_path(path) as temporary:
        save_object(rows, temporary)
        sizes = {config: sum(map(row_bytes, load_rows(temporary, config))) for config in CONFIGS}
    return Outcome(rows.psnr, rows.ssim, path.stat().st_size, sizes)


def keep_outcome(objects: Path, object_id: str, outcome: Outcome) -> None:
    """Writes down how an object went: if that is final, it is not made again. OSError if that fails."""
    write_atomic(_outcome_path(objects, object_id), json.dumps(dataclasses.asdict(outcome)).encode())


def load_outcomes(objects: Path, object_ids: Iterable[str]) -> dict[str, Outcome]:
    """The outcomes of those objects that are finished; one whose file is missing or cut off is not, nor one that is to
    be tried again."""
    outcomes = {}
    for object_id in object_ids:
        path = _outcome_path(objects, object_id)
        try:
            outcome = parse(parse_json(path.read_bytes()), Outcome, str(path))
            whole = outcome.reason or rows_path(objects, object_id).stat().st_size == outcome.file_bytes
        except (OSError, ValueError):
            continue
        if whole and outcome.final:
            outcomes[object_id] = outcome
    return outcomes


def set_aside(objects: Path) -> set[str]:
    """Ids of the objects that were set aside, for good or not."""
    found = set()
    for path in objects.glob("[!.]*.json"):
        with contextlib.suppress(OSError, ValueError):
            if parse(json.loads(path.read_bytes()), Outcome, str(path)).reason:
                found.add(path.stem)
    return found


def forget(objects: Path, object_ids: Iterable[str]) -> None:
    """Removes what is kept of objects, so that they are made anew; OSError if that fails."""
    for object_id in object_ids:
        for path in (_outcome_path(objects, object_id), rows_path(objects, object_id)):
            path.unlink(missing_ok=True)
