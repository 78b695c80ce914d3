"""What enters the board: Results that hold, and with which the whole board still does."""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gsbench.leaderboard.csv_table import to_csv
from gsbench.leaderboard.entries import (
    TOLERANCE,
    CheckError,
    Entry,
    as_text,
    check_one_recipe,
    entry_path,
    listing,
    load_entries,
    row_of,
    verify,
    without_predictions,
)
from gsbench.leaderboard.summary import summary
from gsbench.leaderboard.table import make_rows, markdown
from gsbench.leaderboard.truth import Truth, check_known, load_truth, truth_json, truth_path
from gsbench.parsing import InputError, read_bytes
from gsbench.results import MAX_BYTES, TEMPORARY_PREFIX, Result, load_result, load_scored, write_atomic

_Groups = dict[Path, tuple[Truth, list[Entry]]]
"""Truth file of a data set -> what it says, and the data set's entries."""


@dataclass(frozen=True, slots=True)
class _Submitted:
    """A Result that holds: where it belongs, and whether the board lacks it."""

    path: Path
    target: Path
    data: bytes
    result: Result
    truth: Truth
    new: bool


def submit(results: Sequence[tuple[Path, Truth]], board: Path) -> list[tuple[Path, bool]]:
    """Puts Results on the board after recomputing their metrics and rendering the board with them; all, or none.

    Two that submit at once never overwrite each other's entry, and never both leave a board that does not hold.

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
    before = listing(board)
    groups = _load(board)
    submitted: list[_Submitted] = []
    for path, truth in results:
        submitted.append(_examine(path, truth, board, groups, submitted))
    if any(each.new for each in submitted):
        _render(groups, board)
    made: list[Path] = []
    try:
        placed = [(each.target, each.new and _place(each, board, made)) for each in submitted]
        now = listing(board)
        if any(now.get(path) != before.get(path) for path in (now | before).keys() - set(made)):
            _render(_load(board), board)  # another submit came between, which did not know of this one
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return placed


def _load(board: Path) -> _Groups:
    if not board.exists():
        return {}
    return {truth_path(board, entries[0].result.task): (truth, entries) for truth, entries in load_entries(board)}


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
    return _Submitted(path, target, data, result, truth, not there)


def check_same_truth(path: Path, known: Truth, truth: Truth) -> None:
    """Raises a CheckError where the board's truth file and the data say different things of one data set."""
    for key in ("classes", "labels", "leaked", "train_counts"):
        ours, theirs = getattr(known, key), getattr(truth, key)
        if ours != theirs and not (key == "train_counts" and not (ours and theirs)):
            raise CheckError(f"{path}: {key} differ from those of the data set with the same fingerprint")


def _place(submitted: _Submitted, board: Path, made: list[Path]) -> bool:
    """Writes an entry, and its data set's truth where it is the first; whether it is new. `made` gains what is written.

    Raises:
        CheckError: another has written it meanwhile, and other things.
    """
    known = truth_path(board, submitted.result.task)
    if _create(known, truth_json(submitted.truth)):
        made.append(known)
    else:
        check_same_truth(known, load_truth(known), submitted.truth)
    if _create(submitted.target, submitted.data):
        made.append(submitted.target)
        return True
    check_reproduced(submitted.target, load_result(submitted.target), submitted.result, submitted.path)
    return False


def _create(path: Path, data: bytes) -> bool:
    """Writes a file as a whole unless there is one already; whether it did. Of several that try at once, one does."""
    if path.exists():
        return False
    unfinished = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{path.suffix}")
    try:
        write_atomic(unfinished, data)
        os.link(unfinished, path)
    except FileExistsError:
        return False
    finally:
        unfinished.unlink(missing_ok=True)
    return True


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
