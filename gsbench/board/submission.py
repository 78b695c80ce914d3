"""What enters the board: Results that hold, and with which the whole board still does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gsbench.board.csv_table import to_csv
from gsbench.board.entries import (
    TOLERANCE,
    CheckError,
    Entry,
    alone,
    as_text,
    check_one_recipe,
    entry_path,
    load_entries,
    row_of,
    verify,
    without_predictions,
)
from gsbench.board.summary import summary
from gsbench.board.table import make_rows, markdown
from gsbench.board.truth import Truth, check_known, load_truth, truth_json, truth_path
from gsbench.core.files import read_bytes, write_atomic
from gsbench.core.parsing import InputError
from gsbench.core.results import MAX_BYTES, Result, load_result, load_scored

_Groups = dict[Path, tuple[Truth, list[Entry]]]
"""Truth file of a data set -> what it says, and the data set's entries."""


@dataclass(frozen=True, slots=True)
class _Submitted:
    """A Result that holds: where it belongs, as what bytes, and whether the board lacks it."""

    target: Path
    data: bytes
    result: Result
    truth: Truth
    new: bool


def submit(results: Sequence[tuple[Path, Truth]], board: Path) -> list[tuple[Path, bool]]:
    """Puts Results on the board after recomputing their metrics and rendering the board with them; all, or none.

    Others that submit at the same time wait: what they bring is held against what is then there.

    Args:
        results: Result files, each with the labels of its data set, which are written to the board if it lacks them.
        board: the board's folder; it is made where there is none.

    Returns:
        The path of each entry, and whether it is new. One that is there already stays as it is where the Result
        reproduces it: the same predictions, however long they took, on whatever machine and with whatever versions.

    Raises:
        InputError: not a Result file, or a board that does not hold as it is.
        CheckError: a Result that does not hold: wrong data, an object missing or unknown, a metric that its predictions
            do not give, an entry in its place that it does not reproduce, or sibling seeds from another recipe.
        OSError: the board cannot be written.
    """
    with alone(board):
        groups = {truth_path(board, entries[0].result.task): (truth, entries) for truth, entries in load_entries(board)}
        submitted: list[_Submitted] = []
        for path, truth in results:
            submitted.append(_examine(path, truth, board, groups, submitted))
        if any(each.new for each in submitted):
            _render(groups, board)
            _place([each for each in submitted if each.new], board)
    return [(each.target, each.new) for each in submitted]


def _render(groups: _Groups, board: Path) -> None:
    """Renders all that `publish` would write, so that what cannot be rendered is refused."""
    tables = [(truth, make_rows(truth, entries)) for _, (truth, entries) in sorted(groups.items())]
    markdown(tables)
    to_csv(tables)
    summary(tables, board.name)


def _examine(path: Path, truth: Truth, board: Path, groups: _Groups, earlier: Sequence[_Submitted]) -> _Submitted:
    """Checks a Result by itself, and against the board and those submitted with it, to which it is added."""
    data = read_bytes(path, MAX_BYTES)
    result, probabilities = load_scored(path)
    if read_bytes(path, MAX_BYTES) != data:
        raise InputError(f"{path}: was changed while it was read")
    if result.task.split != "test":
        raise CheckError(f"{path}: task.split is {result.task.split!r}: to choose by, not for the board (must be test)")
    correct = verify(result, probabilities, truth, str(path))
    target, known = entry_path(board, result), truth_path(board, result.task)
    if known in groups or known.exists():
        check_same_truth(known, groups[known][0] if known in groups else load_truth(known), truth)
    else:
        check_known(truth, str(path))
    entries = groups.setdefault(known, (truth, []))[1]
    row = [(entry.path, entry.result) for entry in entries if row_of(entry.result) == row_of(result)]
    check_one_recipe([*row, (path, result)])
    there = any(entry.path == target for entry in entries)
    if there:
        same = [each.result for each in earlier if each.target == target]
        check_reproduced(target, same[0] if same else load_result(target), result, path)
    else:
        entries.append(Entry(target, without_predictions(result), correct))
    return _Submitted(target, data, result, truth, not there)


def check_same_truth(path: Path, known: Truth, truth: Truth) -> None:
    """Raises a CheckError where the board's truth file and the data say different things of one data set."""
    for key in ("classes", "labels", "leaked", "train_counts"):
        ours, theirs = getattr(known, key), getattr(truth, key)
        if ours != theirs and not (key == "train_counts" and not (ours and theirs)):
            raise CheckError(f"{path}: {key} differ from those of the data set with the same fingerprint")


def _place(submitted: Sequence[_Submitted], board: Path) -> None:
    """Writes entries, each after its data set's truth where the board lacks it; where that fails, none."""
    made: list[Path] = []
    try:
        for each in submitted:
            known = truth_path(board, each.result.task)
            for path, data in ((known, truth_json(each.truth)), (each.target, each.data)):
                if not path.exists():
                    made.append(path)
                    write_atomic(path, data)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def check_reproduced(target: Path, entry: Result, result: Result, where: Path) -> None:
    """Checks that a verified Result says what the entry in its place says: predictions, and all that follows from them.

    How long it took, where, and with which versions and commit is no part of that.

    Raises:
        CheckError: how far the two are apart, and what can be done.
    """
    differs = _differences(entry, result)
    if differs:
        raise CheckError(
            f"{target}: is on the board already, and {where} does not reproduce it: {'; '.join(differs)} (the same "
            f"seed may round differently on another kind of CPU; another seed is another entry, --board DIR another "
            f"board; to replace the entry, remove it first)"
        )


def _differences(entry: Result, result: Result) -> list[str]:
    """In which respects a verified Result is another one than an entry that stands in its place, in words."""
    ours, theirs = entry.predictions, result.predictions
    other = [object_id for object_id in theirs if ours.get(object_id) != theirs[object_id]]
    if other:
        flipped = sum(_guess(ours.get(object_id)) != _guess(theirs[object_id]) for object_id in other)
        pairs = ((key, entry.metrics.get(key), value) for key, value in result.metrics.items())
        metrics = [f"{key} {as_text(there)} and {as_text(here)}" for key, there, here in pairs]
        used = entry.run.precision, result.run.precision
        arithmetic = [f"run.precision {used[0]} and {used[1]}"] if used[0] != used[1] else []
        return [
            f"{len(other)} of {len(theirs)} predictions differ, {flipped} of them in the class",
            *metrics,
            *arithmetic,
        ]
    pretext = [each.pretext.metrics if each.pretext else {} for each in (entry, result)]
    return [
        f"{table}.{key} is {as_text(a.get(key))} on the board and {as_text(b.get(key))} here"
        for table, (a, b) in (("stated", (entry.stated, result.stated)), ("pretext.metrics", pretext))
        for key in sorted(a.keys() | b.keys())
        if key not in a or key not in b or not abs(a[key] - b[key]) <= TOLERANCE
    ]


def _guess(probabilities: list[float] | None) -> int | None:
    return None if probabilities is None else int(np.argmax(probabilities))
