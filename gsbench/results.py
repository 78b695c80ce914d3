"""The Result record: one model, one task, one seed, with every prediction, so that its metrics can be recomputed."""

import contextlib
import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from gsbench.parsing import InputError, parse, read_versioned
from gsbench.recipe import Reported
from gsbench.tasks import Features, Sampling, Task
from gsbench.types import Array

SCHEMA_VERSION = 1

PROBABILITY_DIGITS = 6
"""Decimals kept of each probability; the sums below are checked with that rounding in mind."""

TEMPORARY_PREFIX = ".unfinished-"
"""Begins the name of a file that is being written; what a killed process leaves can be told by it and removed."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model was scored. `pretrained` names the weights it started from, or is None."""

    name: str
    title: str
    recipe_sha256: str
    num_params: int
    pretrained: str | None = None


@dataclass(frozen=True, slots=True)
class RunInfo:
    """How the score was made. Times in seconds; `selection` says which checkpoint was scored.

    `peak_memory_mb` is that of this seed's training and scoring; None where an earlier one in the same process was
    higher and could not be told from it. Records of schema version 1 have the process's.
    """

    seed: int
    device: str
    selection: str
    epochs: int
    train_objects: int
    train_seconds: float
    eval_seconds: float
    peak_memory_mb: float | None
    precision: str
    versions: dict[str, str]
    commit: str | None
    dirty: bool | None


@dataclass(frozen=True, slots=True)
class Pretext:
    """What an encoder learnt from without labels before it was probed or fine-tuned.

    Attributes:
        features: channels of a Gaussian.
        sampling: how an object's Gaussians were chosen.
        num_points: Gaussians an object.
        num_views: images an object.
        objects: training objects.
        epochs: passes over them.
        train_seconds: that they took.
        precision: of the training's products.
        metrics: scores of the pretext tasks on the test objects; predictions do not give them.
    """

    features: Features
    sampling: Sampling
    num_points: int
    num_views: int
    objects: int
    epochs: int
    train_seconds: float
    precision: str
    metrics: dict[str, float] = field(default_factory=dict)

    def slug(self) -> str:
        """A name of what it saw."""
        return f"{self.features}-{self.sampling}-n{self.num_points}-v{self.num_views}"


@dataclass(frozen=True, slots=True)
class Result:
    """A Result file.

    Attributes:
        schema_version: of this record.
        task: what was scored.
        model: which model.
        run: how.
        metrics: that `predictions` give.
        reported: the published figure beside it.
        predictions: object_id -> class probabilities in the data set's class order.
        pretext: how the encoder was trained before, or None.
        stated: further metrics, which `predictions` do not give, so that nobody can recompute them from this file.
    """

    schema_version: int
    task: Task
    model: ModelInfo
    run: RunInfo
    metrics: dict[str, float]
    reported: Reported | None
    predictions: dict[str, list[float]]
    pretext: Pretext | None = None
    stated: dict[str, float] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """Of the products in training: `fp32`, unless that by labels, or without them, was in another."""
        used = (self.pretext.precision if self.pretext else "fp32", self.run.precision)
        return next((precision for precision in used if precision != "fp32"), "fp32")

    def file_name(self) -> str:
        """`<model>-s<seed>.json`, or `<model>-<pretext>-s<seed>.json`, with what file systems dislike replaced."""
        name = self.model.name.replace(":", "-").replace("/", "-")
        return f"{name}{f'-{self.pretext.slug()}' if self.pretext else ''}-s{self.run.seed}.json"


def save_result(result: Result, path: Path) -> None:
    """Writes a Result file atomically: a failure leaves neither a half-written file nor a changed old one.

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    record = asdict(result)
    predictions = record.pop("predictions")
    lines = [
        f"  {json.dumps(object_id)}: [{', '.join(_number(p) for p in predictions[object_id])}]"
        for object_id in sorted(predictions)
    ]
    head = json.dumps(record, indent=1, allow_nan=False)
    text = f'{head[:-2]},\n "predictions": {{\n' + ",\n".join(lines) + "\n }\n}\n"
    write_atomic(path, text.encode())


def _number(probability: float) -> str:
    return repr(round(float(probability), PROBABILITY_DIGITS) + 0.0)  # a float also where it is whole, and no -0.0


def write_atomic(path: Path, data: bytes) -> None:
    """Writes `data` to `path` as `atomic_path` does.

    Raises:
        OSError: the folder cannot be made or written, or the disk is full; `path` is then as it was.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary file in the folder of `path`, with its suffix, that takes its place once it is safe on the disk.

    Raises:
        OSError: the folder cannot be made or written, or the disk is full. Whatever fails, `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY_PREFIX, suffix=path.suffix)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "rb") as file:
            yield temporary
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_result(path: Path) -> Result:
    """Reads and validates a Result file: schema, types, the task's values, and each prediction's probabilities.

    Raises:
        InputError: names the file, the key, what is wrong and what is allowed.
    """
    return load_scored(path)[0]


def load_scored(path: Path) -> tuple[Result, Float64[Array, "n c"]]:
    """As `load_result`, and the probabilities as a matrix, a row an object in the order of `predictions`.

    Raises:
        InputError: names the file, the key, what is wrong and what is allowed.
    """
    record = read_versioned(path, "schema_version", SCHEMA_VERSION)
    predictions = record.pop("predictions", None)
    if not isinstance(predictions, dict) or not predictions:
        raise InputError(f"{path}: predictions is missing or empty (must map object_id to class probabilities)")
    probabilities = _probabilities(predictions, str(path))
    header = parse({**record, "predictions": {}}, Result, str(path))
    _check_finite(header, str(path))
    return dataclasses.replace(header, predictions=predictions), probabilities


def _check_finite(result: Result, where: str) -> None:
    tables = {"metrics": result.metrics, "stated": result.stated}
    if result.pretext:
        tables["pretext.metrics"] = result.pretext.metrics
    for name, table in tables.items():
        for key, value in table.items():
            if not math.isfinite(value):
                raise InputError(f"{where}: {name}.{key} is {value} (must be finite)")


def _probabilities(predictions: Mapping[str, Any], where: str) -> Float64[Array, "n c"]:
    """The predictions as a matrix; an InputError names the object whose numbers are not in 0..1 or do not sum to 1."""
    lists = set(map(type, predictions.values())) == {list}
    widths = set(map(len, predictions.values())) if lists else set()
    if len(widths) != 1 or 0 in widths:
        raise InputError(
            f"{where}: predictions must map each object_id to one list of class probabilities, all as long"
        )
    width = widths.pop()
    try:  # one flat pass: numpy takes half as long again for a list of lists
        flat = np.fromiter(chain.from_iterable(predictions.values()), np.float64, len(predictions) * width)
    except (TypeError, ValueError):
        raise InputError(f"{where}: predictions holds something that is no number") from None
    rows = flat.reshape(len(predictions), width)
    valid = (rows >= 0).all(axis=1) & (np.abs(rows.sum(axis=1) - 1) <= width * 10.0**-PROBABILITY_DIGITS)
    if not valid.all():
        bad = int(np.argmin(valid))
        object_id = list(predictions)[bad]
        raise InputError(
            f"{where}: predictions.{object_id} is {predictions[object_id]} "
            f"(must be finite, in 0..1, and sum to 1; sums to {rows[bad].sum():.6g})"
        )
    return rows
