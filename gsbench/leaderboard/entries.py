"""Entries of the board: Result files whose every metric is recomputed from their predictions, and the truth they meet.

What a Result states beside its metrics, predictions do not give: it is carried along, and nothing here vouches for it.

<board>/datasets/<data set>@<fingerprint[:8]>.json     the labels of the test objects
<board>/entries/<task slug>/<model>-s<seed>.json       a Result file
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from gsbench.leaderboard.truth import Truth, load_truth, safe_name, save_truth, some_of, truth_path
from gsbench.metrics import classification_metrics
from gsbench.parsing import InputError
from gsbench.results import Result, load_result, load_scored, write_atomic
from gsbench.types import Array

TOLERANCE = 1e-9
"""How far a stated metric may be from the recomputed one: the rounding of a sum, nothing else."""


class CheckError(InputError):
    """A well-formed Result or board whose contents do not hold; the message names file, key and both values."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A verified entry: its path, the Result without its predictions, and which objects it got right.

    Attributes:
        correct: `[n]` in the order of the truth's labels.
    """

    path: Path
    result: Result
    correct: Bool[Array, " n"]


def entry_path(board: Path, result: Result) -> Path:
    """Where a Result stands on a board.

    Raises:
        InputError: the data set's or the model's name cannot be part of a path.
    """
    safe_name("task.dataset", result.task.dataset)
    safe_name("task.fingerprint", result.task.fingerprint)
    name = safe_name("model.name", result.file_name())
    return board / "entries" / safe_name("task", result.task.slug()) / name


def submit(result_path: Path, board: Path, truth: Truth) -> tuple[Path, bool]:
    """Puts a Result on the board after recomputing its metrics.

    Args:
        result_path: the Result file.
        board: the board's folder; it is made where there is none.
        truth: the labels of the Result's data set; they are written to the board if it lacks them.

    Returns:
        The entry's path, and whether it is new. One that is there already stays as it is where this Result reproduces
        it: the same predictions, however long they took, on whatever machine and with whatever versions.

    Raises:
        InputError: not a Result file, or a name that cannot be part of a path.
        CheckError: the Result does not hold: wrong data, an object missing or unknown, a metric that its predictions do
            not give, an entry in its place that it does not reproduce, or sibling seeds from another recipe.
        OSError: the board cannot be written.
    """
    data = result_path.read_bytes()
    result, probabilities = load_scored(result_path)
    target = entry_path(board, result)
    verify(result, probabilities, truth, str(result_path))
    name = target.stem.rpartition("-s")[0]
    siblings = [path for path in sorted(target.parent.glob("*.json")) if path.stem.rpartition("-s")[0] == name]
    check_one_recipe([*((path, load_result(path)) for path in siblings), (result_path, result)])
    if target.exists():
        check_reproduced(target, result, result_path)
        return target, False
    known = truth_path(board, result.task)
    if not known.exists():
        save_truth(truth, known)
    else:
        for key in ("labels", "leaked"):
            if getattr(load_truth(known), key) != getattr(truth, key):
                raise CheckError(f"{known}: {key} differ from those of the data set with the same fingerprint")
    write_atomic(target, data)
    return target, True


def check_reproduced(target: Path, result: Result, where: Path) -> None:
    """Checks that a verified Result says what the entry in its place says: predictions, and all that follows from them.

    How long it took, where, and with which versions and commit is no part of that.

    Raises:
        CheckError: how far the two are apart, and what can be done.
    """
    entry = load_result(target)
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
        metrics = [f"{key} {_text(entry.metrics.get(key))} and {_text(result.metrics[key])}" for key in result.metrics]
        return [f"{len(other)} of {len(theirs)} predictions differ, {flipped} of them in the class", *metrics]
    pretext = [each.pretext.metrics if each.pretext else {} for each in (entry, result)]
    return [
        f"{table}.{key} is {_text(a.get(key))} on the board and {_text(b.get(key))} here"
        for table, (a, b) in (("stated", (entry.stated, result.stated)), ("pretext.metrics", pretext))
        for key in sorted(a.keys() | b.keys())
        if key not in a or key not in b or not abs(a[key] - b[key]) <= TOLERANCE
    ]


def _guess(probabilities: list[float] | None) -> int | None:
    return None if probabilities is None else int(np.argmax(probabilities))


def verify(result: Result, probabilities: Float64[Array, "n c"], truth: Truth, where: str) -> Bool[Array, " n"]:
    """Recomputes a Result's metrics from its predictions; what it states beside them stays as it is.

    Args:
        result: the first that `load_scored` returned.
        probabilities: the second.
        truth: the labels of its data set.
        where: names the file in errors.

    Returns:
        `[n]` which objects it got right, in the order of the truth's labels.

    Raises:
        CheckError: the first thing that differs, with both values.
    """
    for key in ("dataset", "fingerprint", "split"):
        stated, true = getattr(result.task, key), getattr(truth, key)
        if stated != true:
            raise CheckError(f"{where}: task.{key} is '{stated}', the data's is '{true}'")
    labels = truth.indices()
    probabilities = _in_order(result, probabilities, truth, where)
    recomputed = classification_metrics(probabilities, labels)
    for key in sorted(result.metrics.keys() | recomputed.keys()):
        stated, true = result.metrics.get(key), recomputed.get(key)
        if stated is None or true is None or not abs(stated - true) <= TOLERANCE:
            raise CheckError(f"{where}: metrics.{key} is {_text(stated)}, its predictions give {_text(true)}")
    correct: Bool[Array, " n"] = probabilities.argmax(axis=1) == labels
    return correct


def correct_objects(result: Result, truth: Truth) -> Bool[Array, " n"]:
    """`[n]` which objects a Result got right, in the order of the truth's labels; raises as `verify` does."""
    return verify(result, np.array(list(result.predictions.values()), np.float64), truth, result.file_name())


def _text(value: float | None) -> str:
    return "missing" if value is None else f"{value:.10g}"


def _in_order(result: Result, probabilities: Float64[Array, "n c"], truth: Truth, where: str) -> Float64[Array, "n c"]:
    """The rows of `probabilities` in the order of the truth's labels."""
    predictions, labels = result.predictions, truth.labels
    if predictions.keys() != labels.keys():
        missing, unknown = some_of(labels.keys() - predictions.keys()), some_of(predictions.keys() - labels.keys())
        wrong = "; ".join(
            f"{kind}: {names}" for kind, names in (("missing objects", missing), ("unknown objects", unknown)) if names
        )
        raise CheckError(f"{where}: predictions: {wrong} (must hold the {len(labels)} {truth.split} objects)")
    width = probabilities.shape[1]
    if width != len(truth.classes):
        raise CheckError(f"{where}: predictions have {width} probabilities an object, the data {len(truth.classes)}")
    if list(predictions) == list(labels):  # as `save_result` writes them
        return probabilities
    row = {object_id: number for number, object_id in enumerate(predictions)}
    return probabilities[[row[object_id] for object_id in labels]]


def check_one_recipe(results: Iterable[tuple[Path, Result]]) -> None:
    """Checks that results which share a row of the board were made in the same way, seeds and draws apart.

    Raises:
        CheckError: names the file that differs from the first one, the key and both values.
    """
    first: dict[str, Any] | None = None
    for path, result in results:
        made = {
            "model.recipe_sha256": result.model.recipe_sha256,
            "model.pretrained": result.model.pretrained,
            "run.selection": result.run.selection,
            "run.epochs": result.run.epochs,
            "run.train_objects": result.run.train_objects,
            "pretext.epochs": result.pretext and result.pretext.epochs,
            "pretext.objects": result.pretext and result.pretext.objects,
        }
        first = first or made
        for key, value in made.items():
            if value != first[key]:
                raise CheckError(f"{path}: {key} is {value!r}, other seeds of this model and task have {first[key]!r}")


def load_entries(board: Path) -> list[tuple[Truth, list[Entry]]]:
    """Loads and verifies every entry of a board: the data sets by name, the entries of each by path.

    Raises:
        InputError: no board, or a file that is no Result or no truth.
        CheckError: an entry that does not hold, or stands where its contents do not belong.
    """
    if not board.is_dir():
        raise InputError(f"{board}: no such folder (must be a board, with entries/ and datasets/)")
    truths: dict[Path, Truth] = {}
    entries: dict[Path, list[Entry]] = {}
    for path in sorted((board / "entries").rglob("*.json")):
        result, probabilities = load_scored(path)
        expected = entry_path(board, result)
        if path != expected:
            raise CheckError(f"{path}: stands in the wrong place (its contents belong to {expected})")
        known = truth_path(board, result.task)
        if known not in truths:
            truths[known] = load_truth(known)
        correct = verify(result, probabilities, truths[known], str(path))
        # The predictions of a large board would fill the memory; from here on only right or wrong matters.
        entries.setdefault(known, []).append(Entry(path, dataclasses.replace(result, predictions={}), correct))
    return [(truths[known], entries[known]) for known in sorted(entries)]
