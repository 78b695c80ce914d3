"""The Result record: one model, one task, one seed, with every prediction, so that its metrics can be recomputed."""

import contextlib
import dataclasses
import errno
import functools
import json
import math
import os
import re
import secrets
import stat
import time
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

SCHEMA_VERSION = 2
"""Of Result files; those of version 1, which are read as well, say nothing of the code."""

PROBABILITY_DIGITS = 6
"""Decimals kept of each probability; the sums below are checked with that rounding in mind."""

TEMPORARY_PREFIX = ".unfinished-"
"""Begins the name of a file that is being written; what a killed process leaves can be told by it and removed."""
_RANDOM_DIGITS = 16
_ABANDONED_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model was scored.

    Attributes:
        name: of its recipe.
        title: in tables.
        recipe_sha256: of what decides a score in the recipe, see `Recipe.sha256`.
        num_params: numbers that it learnt.
        pretrained: the weights it started from, or None.
        code_sha256: of the code that made the score, see `gsbench.baseline.code_sha256`; None where it is unknown.
    """

    name: str
    title: str
    recipe_sha256: str
    num_params: int
    pretrained: str | None = None
    code_sha256: str | None = None

    def __post_init__(self) -> None:
        if self.code_sha256 is not None and not re.fullmatch("[0-9a-f]{64}", self.code_sha256):
            raise InputError(f"code_sha256 is {self.code_sha256!r} (must be 64 digits 0-9a-f, or left out)")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """How the score was made. Times in seconds, memory in MB; `selection` says which checkpoint was scored."""

    seed: int
    device: str
    selection: str
    epochs: int
    train_objects: int
    train_seconds: float
    eval_seconds: float
    peak_memory_mb: float
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
    head = json.dumps(record, indent=1)
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

    A link stays one: the file that it leads to is replaced. A file that is replaced keeps its permissions and, where
    that is allowed, its owner; a new one has those of any new file.

    Raises:
        OSError: the folder cannot be made or written, `path` is read-only or no regular file, or the disk is full; it
            names `path`. Whatever fails, `path` is as it was.
    """
    target = Path(os.path.realpath(path))
    temporary = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(_RANDOM_DIGITS // 2)}{target.suffix}"
    try:
        before = _replaceable(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target.parent)
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666 if before is None else 0o600)
        with os.fdopen(handle, "rb") as file:
            yield temporary
            os.fsync(file.fileno())
        if before is not None:
            _take_after(temporary, before)
        temporary.replace(target)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename in (None, str(temporary), str(target)):
            error.filename, error.filename2 = str(path), None
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _replaceable(path: Path) -> os.stat_result | None:
    """What a file is that is to be replaced, None where there is none; an OSError where it must not be."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EINVAL, "is no regular file (must be one, or a new one)")
    # By the mode too: root may write to every file, and this one was protected on purpose.
    if not found.st_mode & 0o222 or not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "is read-only (make it writable, or name another file)")
    return found


def _take_after(path: Path, other: os.stat_result) -> None:
    """Gives a file the permissions of another and, where that is allowed, its owner."""
    own = path.stat()
    if (own.st_uid, own.st_gid) != (other.st_uid, other.st_gid):
        with contextlib.suppress(PermissionError):
            os.chown(path, other.st_uid, other.st_gid)
    path.chmod(stat.S_IMODE(other.st_mode) & 0o777)


@functools.cache
def _remove_leftovers(folder: Path) -> None:
    """Removes the temporary files of processes that were killed: those that nobody has written to for a day."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}{'[0-9a-f]' * _RANDOM_DIGITS}*"):
        with contextlib.suppress(OSError):
            if path.is_file() and time.time() - path.lstat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()


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
    record = read_versioned(path, "schema_version", SCHEMA_VERSION, oldest=1)
    predictions = record.pop("predictions", None)
    if not isinstance(predictions, dict) or not predictions:
        raise InputError(f"{path}: predictions is missing or empty (must map object_id to class probabilities)")
    probabilities = _probabilities(predictions, str(path))
    header = parse({**record, "predictions": {}}, Result, str(path))
    if header.schema_version == 1 and header.model.code_sha256 is not None:
        raise InputError(f"{path}: model.code_sha256 is set at schema_version 1 (allowed: from 2 on)")
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
