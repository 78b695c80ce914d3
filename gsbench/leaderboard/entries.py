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
from gsbench.tasks import DRAWS
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


def submit(result_path: Path, board: Path, truth: Truth) -> Path:
    """Puts a Result on the board after recomputing its metrics.

    Args:
        result_path: the Result file.
        board: the board's folder; it is made where there is none.
        truth: the labels of the Result's data set; they are written to the board if it lacks them.

    Returns:
        The entry's path. An identical entry that is there already is left as it is.

    Raises:
        InputError: not a Result file, or a name that cannot be part of a path.
        CheckError: the Result does not hold: wrong data, an object missing or unknown, a metric that its predictions do
            not give, another entry in its place, or seeds or draws of its row by another recipe or other code.
        OSError: the board cannot be written.
    """
    data = result_path.read_bytes()
    result, probabilities = load_scored(result_path)
    target = entry_path(board, result)
    verify(result, probabilities, truth, str(result_path))
    if target.exists() and target.read_bytes() != data:
        raise CheckError(f"{target}: another entry of this model, task and seed is on the board already")
    check_one_recipe([*((path, load_result(path)) for path in _same_row(board, result)), (result_path, result)])
    known = truth_path(board, result.task)
    if not known.exists():
        save_truth(truth, known)
    else:
        for key in ("labels", "leaked"):
            if getattr(load_truth(known), key) != getattr(truth, key):
                raise CheckError(f"{known}: {key} differ from those of the data set with the same fingerprint")
    write_atomic(target, data)
    return target


def _same_row(board: Path, result: Result) -> list[Path]:
    """The entries that share a row with a Result: other seeds of it, and those of the regime's other draws."""
    draws = range(DRAWS if result.task.regime < 100 else 1)
    tasks = [dataclasses.replace(result.task, draw=draw) for draw in draws]
    row = [entry_path(board, dataclasses.replace(result, task=task)) for task in tasks]
    name = row[0].stem.rpartition("-s")[0]
    return [
        path for each in row for path in sorted(each.parent.glob("*.json")) if path.stem.rpartition("-s")[0] == name
    ]


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
    code: str | None = None
    for path, result in results:
        code = code or result.model.code_sha256
        made = {
            "model.recipe_sha256": result.model.recipe_sha256,
            "model.pretrained": result.model.pretrained,
            "model.code_sha256": result.model.code_sha256 or code,  # those that do not say are of older Results
            "run.selection": result.run.selection,
            "run.epochs": result.run.epochs,
            "run.train_objects": result.run.train_objects,
            "pretext.epochs": result.pretext and result.pretext.epochs,
            "pretext.objects": result.pretext and result.pretext.objects,
        }
        first = (first or made) | {"model.code_sha256": code}
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
