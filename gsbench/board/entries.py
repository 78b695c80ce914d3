"""Entries of the board: Result files whose every metric is recomputed from their predictions, and the truth they meet.

What a Result states beside its metrics, predictions do not give: it is carried along, and nothing here vouches for it.

<board>/datasets/<data set>@<fingerprint[:8]>.json     the labels of the test objects
<board>/entries/<task slug>/<model>-s<seed>.json       a Result file
"""

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from gsbench.board.truth import Truth, load_truth, some_of, truth_path
from gsbench.core.files import TEMPORARY_PREFIX
from gsbench.core.metrics import classification_metrics
from gsbench.core.parsing import InputError
from gsbench.core.results import Result, load_scored
from gsbench.core.types import Array

TOLERANCE = 1e-9
"""How far a stated metric may be from the recomputed one: the rounding of a sum, nothing else."""

_LOCK = ".lock"


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
    """Where a Result stands on a board."""
    return board / "entries" / result.task.slug() / result.file_name()


def row_of(result: Result) -> tuple[str, str, str]:
    """What the Results of one row of the board share, whatever their seed and draw: task, model, pretext training."""
    task = dataclasses.replace(result.task, draw=0)
    return task.slug(), result.model.name, result.pretext.slug() if result.pretext else ""


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
    _check_counts(result, truth, where)
    labels = truth.indices()
    probabilities = in_order(result, probabilities, truth, where)
    recomputed = classification_metrics(probabilities, labels)
    for key in sorted(result.metrics.keys() | recomputed.keys()):
        stated, true = result.metrics.get(key), recomputed.get(key)
        if stated is None or true is None or not abs(stated - true) <= TOLERANCE:
            raise CheckError(f"{where}: metrics.{key} is {as_text(stated)}, its predictions give {as_text(true)}")
    correct: Bool[Array, " n"] = probabilities.argmax(axis=1) == labels
    return correct


def _check_counts(result: Result, truth: Truth, where: str) -> None:
    """Checks that a Result was made with as many training objects as its regime has."""
    stated = [("run.train_objects", result.run.train_objects, result.task.regime)]
    if result.pretext:
        stated.append(("pretext.objects", result.pretext.objects, 100))
    for key, count, regime in stated:
        if (true := truth.train_objects(regime)) not in (None, count):
            raise CheckError(f"{where}: {key} is {count}, {regime} % of the training objects are {true}")


def correct_objects(result: Result, truth: Truth) -> Bool[Array, " n"]:
    """`[n]` which objects a Result got right, in the order of the truth's labels; raises as `verify` does."""
    return verify(result, np.array(list(result.predictions.values()), np.float64), truth, result.file_name())


def probabilities_of(result: Result, truth: Truth) -> Float64[Array, "n c"]:
    """`[n c]` the predictions of a verified Result, in the order of the truth's labels."""
    return np.array([result.predictions[object_id] for object_id in truth.labels], np.float64)


def as_text(value: float | None) -> str:
    """A stated value in an error."""
    return "missing" if value is None else f"{value:.10g}"


def in_order(result: Result, probabilities: Float64[Array, "n c"], truth: Truth, where: str) -> Float64[Array, "n c"]:
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


def runs_beside(path: Path) -> list[Result]:
    """The Result of a file and, from its folder, those that are other seeds or draws of the same row, by name.

    Raises:
        InputError: the file is no Result, or one beside it that is named like a run of the same model is not.
    """
    first = load_scored(path)[0]
    stem = first.file_name().rpartition("-s")[0]
    beside = [each for each in sorted(path.parent.glob("*.json")) if stem in each.name and each != path]
    others = [load_scored(each)[0] for each in beside]
    return [first, *(result for result in others if row_of(result) == row_of(first))]


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
            "outside.kind": result.outside and result.outside.kind,
        }
        first = (first or made) | {"model.code_sha256": code}
        for key, value in made.items():
            if value != first[key]:
                raise CheckError(f"{path}: {key} is {value!r}, other seeds of this model and task have {first[key]!r}")


def check_board(board: Path) -> None:
    """Raises an InputError where there is no such board."""
    if not board.is_dir():
        raise InputError(f"{board}: no such folder (must be a board, with entries/ and datasets/)")


Look = Callable[[Path, Result, Float64[Array, "n c"]], None]
"""Is shown an entry's path, its Result, and its probabilities in the order of its predictions."""


def load_entries(board: Path, look: Look | None = None) -> list[tuple[Truth, list[Entry]]]:
    """Loads and verifies every entry of a board: the data sets by name, the entries of each by path.

    Args:
        board: the board's folder.
        look: is shown each verified entry with its predictions, which are not kept.

    Raises:
        InputError: no board, or a file that is no Result or no truth.
        CheckError: an entry that does not hold, or stands where its contents do not belong, or is no file of its own.
    """
    check_board(board)
    truths: dict[Path, Truth] = {}
    entries: dict[Path, list[Entry]] = {}
    for path in entry_files(board):
        result, probabilities = load_scored(path)
        expected = entry_path(board, result)
        if path != expected:
            raise CheckError(f"{path}: stands in the wrong place (its contents belong to {expected})")
        known = truth_path(board, result.task)
        if known not in truths:
            truths[known] = load_truth(known)
        correct = verify(result, probabilities, truths[known], str(path))
        if look:
            look(path, result, probabilities)
        entries.setdefault(known, []).append(Entry(path, without_predictions(result), correct))
    return [(truths[known], entries[known]) for known in sorted(entries)]


def without_predictions(result: Result) -> Result:
    """The predictions of a large board would fill the memory; once they are checked, only right or wrong matters."""
    return dataclasses.replace(result, predictions={})


def entry_files(board: Path) -> list[Path]:
    """The files of a board's entries, sorted; what begins with a dot is passed over, unfinished files among it.

    Raises:
        CheckError: something that is neither a task's folder nor an entry's file, or is a link: it would be left out.
    """
    top = board / "entries"
    folders = _listed(top, "a task's folder", lambda each: each.is_dir(follow_symlinks=False)) if top.exists() else []
    files = [
        path
        for folder in folders
        for path in _listed(
            folder, "a *.json file", lambda each: each.is_file(follow_symlinks=False) and each.name.endswith(".json")
        )
    ]
    return sorted(files)


def _listed(folder: Path, allowed: str, fits: Callable[[os.DirEntry[str]], bool]) -> Iterator[Path]:
    with os.scandir(folder) as found:
        for each in found:
            if each.name.startswith("."):
                continue
            if not fits(each):
                wrong = "is a link" if each.is_symlink() else "is no entry"
                raise CheckError(f"{folder / each.name}: {wrong} (allowed in {folder}: {allowed})")
            yield folder / each.name


def unfinished_files(board: Path) -> list[Path]:
    """What is being written on a board, or was when its writer was killed."""
    return sorted(board.rglob(f"{TEMPORARY_PREFIX}*"))


@contextlib.contextmanager
def alone(board: Path) -> Iterator[None]:
    """Waits until no other process writes to a board, then keeps others waiting; makes the folder, if it gets contents.

    A process that is killed keeps nobody waiting. The lock's file may be removed whenever no gsbench runs.

    Raises:
        OSError: the folder cannot be written, or its file system has no locks.
    """
    path = board / _LOCK
    while True:
        board.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # another has just removed the empty folder
            continue
        with os.fdopen(lock, "rb"):
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_open_as(lock, path):
                continue  # its last owner removed it
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    board.rmdir()  # where it is empty
            return


def _is_open_as(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
