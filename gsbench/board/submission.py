"""What enters the board: Results that hold, and with which the whole board still does."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from gsbench.board.entries import (
    TOLERANCE,
    CheckError,
    Entry,
    alone,
    as_text,
    check_one_recipe,
    entry_path,
    in_order,
    load_entries,
    row_of,
    verify,
    without_predictions,
)
from gsbench.board.exports import to_csv
from gsbench.board.review import Predicted, too_good, twins
from gsbench.board.summary import summary
from gsbench.board.table import Row, make_rows, markdown
from gsbench.board.truth import Truth, check_known, load_truth, truth_json, truth_path
from gsbench.core.files import read_bytes, write_atomic
from gsbench.core.parsing import InputError
from gsbench.core.results import MAX_BYTES, Result, load_result, load_scored, result_json
from gsbench.core.types import Array

_Groups = dict[Path, tuple[Truth, list[Entry]]]
"""Truth file of a data set -> what it says, and the data set's entries."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A Result that asks for a place on the board, by the name that errors give it, with its data set's labels."""

    where: str
    data: bytes
    result: Result
    probabilities: Float64[Array, "n c"]
    truth: Truth


@dataclass(frozen=True, slots=True)
class _Submitted:
    """A Result that holds: where it belongs, as what bytes, and whether the board lacks it."""

    target: Path
    data: bytes
    result: Result
    truth: Truth
    new: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of an attempt to put Results on a board.

    Attributes:
        entries: the path of each, and whether it is new. One that is there already stays as it is where the Result
            reproduces it: the same predictions, however long they took, on whatever machine and with what versions.
        findings: what a person should look at first, see `gsbench.board.review`.
        tasks: for each task of the Results its data set's truth and its rows as they would stand with them.
        own: which rows those are: `row_of` of each Result.
        written: whether the board was changed, or held all of it already.
        reviewed: whether nobody looked for findings, because a person has.
    """

    entries: list[tuple[Path, bool]]
    findings: list[str]
    tasks: list[tuple[Truth, list[Row]]]
    own: frozenset[tuple[str, str, str]]
    written: bool
    reviewed: bool


def read_candidate(path: Path, truth: Truth) -> Candidate:
    """Reads a Result file, with the labels of its data set.

    Raises:
        InputError: it is none, or changed while it was read.
    """
    data = read_bytes(path, MAX_BYTES)
    result, probabilities = load_scored(path)
    if read_bytes(path, MAX_BYTES) != data:
        raise InputError(f"{path}: was changed while it was read")
    return Candidate(str(path), data, result, probabilities, truth)


def make_candidate(where: str, result: Result, truth: Truth) -> Candidate:
    """Of a Result that no file has yet."""
    probabilities = np.array(list(result.predictions.values()), np.float64)
    return Candidate(where, result_json(result), result, probabilities, truth)


def submit(results: Sequence[tuple[Path, Truth]], board: Path) -> list[tuple[Path, bool]]:
    """As `enter`, of Result files that somebody has looked at, each with the labels of its data set."""
    return enter([read_candidate(path, truth) for path, truth in results], board, reviewed=True).entries


def enter(candidates: Sequence[Candidate], board: Path, reviewed: bool = False, dry_run: bool = False) -> Receipt:
    """Puts Results on the board after recomputing their metrics and rendering the board with them; all, or none.

    Others that submit at the same time wait: what they bring is held against what is then there.

    Args:
        candidates: the Results; the labels of their data sets are written to the board if it lacks them.
        board: the board's folder; it is made where there is none.
        reviewed: whether a person has looked at what is found; without it, nothing is written where anything is.
        dry_run: whether to write nothing in any case.

    Raises:
        InputError: a board that does not hold as it is.
        CheckError: a Result that does not hold: wrong data, an object missing or unknown, a metric that its predictions
            do not give, an entry in its place that it does not reproduce, or sibling seeds from another recipe.
        OSError: the board cannot be written.
    """
    with contextlib.nullcontext() if dry_run else alone(board):
        told: list[list[str]] = [[] for _ in candidates]
        predicted = [_predicted(each.where, each.result, each.probabilities, each.truth) for each in candidates]

        def look(path: Path, result: Result, probabilities: Float64[Array, "n c"]) -> None:
            for new, candidate, findings in zip(predicted, candidates, told, strict=True):
                if new is not None and result.task.fingerprint == new.result.task.fingerprint:
                    other = _predicted(str(path), result, probabilities, candidate.truth)
                    findings.extend(twins(new, other, candidate.truth) if other is not None else [])

        loaded = load_entries(board, None if reviewed else look) if board.is_dir() else []
        groups = {truth_path(board, entries[0].result.task): (truth, entries) for truth, entries in loaded}
        before = {known: list(entries) for known, (_, entries) in groups.items()}
        submitted: list[_Submitted] = []
        for each in candidates:
            submitted.append(_examine(each, board, groups, submitted))
        if not reviewed:
            _look_at(candidates, predicted, submitted, before, board, told)
        found = [text for each, findings in zip(submitted, told, strict=True) if each.new for text in findings]
        if any(each.new for each in submitted):
            _render(groups, board)
        write = not dry_run and not found
        if write:
            _place([each for each in submitted if each.new], board)
    entries = [(each.target, each.new) for each in submitted]
    return Receipt(entries, found, _tasks(submitted, groups, board), _own(candidates), write, reviewed)


def _predicted(where: str, result: Result, probabilities: Float64[Array, "n c"], truth: Truth) -> Predicted | None:
    """Predictions in the order of the labels; None where they are not of those, which is refused later."""
    if result.predictions.keys() != truth.labels.keys():
        return None
    return Predicted(where, result, in_order(result, probabilities, truth, where))


def _look_at(
    candidates: Sequence[Candidate],
    predicted: Sequence[Predicted | None],
    submitted: Sequence[_Submitted],
    before: dict[Path, list[Entry]],
    board: Path,
    told: list[list[str]],
) -> None:
    """Adds to what is to be told of each candidate: of the others beside it, and whether it may be the labels."""
    for number, (new, candidate) in enumerate(zip(predicted, candidates, strict=True)):
        assert new is not None, "a candidate with other objects was refused"
        for other in predicted[:number]:
            if other is not None and other.result.task.fingerprint == new.result.task.fingerprint:
                told[number] += twins(new, other, candidate.truth)
        if submitted[number].new:
            entries = before.get(truth_path(board, candidate.result.task), [])
            correct = new.probabilities.argmax(1) == candidate.truth.indices()
            told[number] += too_good(candidate.where, candidate.result, correct, candidate.truth, entries)


def _own(candidates: Sequence[Candidate]) -> frozenset[tuple[str, str, str]]:
    return frozenset(row_of(each.result) for each in candidates)


def _tasks(submitted: Sequence[_Submitted], groups: _Groups, board: Path) -> list[tuple[Truth, list[Row]]]:
    """The rows of each task that something was submitted of."""
    tables: dict[tuple[Path, str], tuple[Truth, list[Row]]] = {}
    for each in submitted:
        known = truth_path(board, each.result.task)
        slug = row_of(each.result)[0]
        if (known, slug) not in tables:
            truth, entries = groups[known]
            of_task = [entry for entry in entries if row_of(entry.result)[0] == slug]
            tables[known, slug] = truth, make_rows(truth, of_task)
    return list(tables.values())


def _render(groups: _Groups, board: Path) -> None:
    """Renders all that `publish` would write, so that what cannot be rendered is refused."""
    tables = [(truth, make_rows(truth, entries)) for _, (truth, entries) in sorted(groups.items())]
    markdown(tables)
    to_csv(tables)
    summary(tables, board.name)


def _examine(candidate: Candidate, board: Path, groups: _Groups, earlier: Sequence[_Submitted]) -> _Submitted:
    """Checks a Result by itself, and against the board and those submitted with it, to which it is added."""
    where, result, truth = candidate.where, candidate.result, candidate.truth
    if result.task.split != "test":
        raise CheckError(
            f"{where}: task.split is {result.task.split!r}: to choose by, not for the board (must be test)"
        )
    correct = verify(result, candidate.probabilities, truth, where)
    target, known = entry_path(board, result), truth_path(board, result.task)
    if known in groups or known.exists():
        check_same_truth(known, groups[known][0] if known in groups else load_truth(known), truth)
    else:
        check_known(truth, where)
    entries = groups.setdefault(known, (truth, []))[1]
    row = [(entry.path, entry.result) for entry in entries if row_of(entry.result) == row_of(result)]
    check_one_recipe([*row, (Path(where), result)])
    there = any(entry.path == target for entry in entries)
    if there:
        same = [each.result for each in earlier if each.target == target]
        check_reproduced(target, same[0] if same else load_result(target), result, where)
    else:
        entries.append(Entry(target, without_predictions(result), correct))
    return _Submitted(target, candidate.data, result, truth, not there)


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


def check_reproduced(target: Path, entry: Result, result: Result, where: str) -> None:
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
