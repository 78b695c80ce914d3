"""The Result record: one model, one task, one seed, with every prediction, so that its metrics can be recomputed."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from gsbench.core.files import file_size, read_versioned, write_atomic
from gsbench.core.parsing import (
    MAX_TEXT,
    InputError,
    check_choice,
    check_id,
    check_range,
    check_text,
    parse,
)
from gsbench.core.provenance import MOST, PRECISIONS, ModelInfo, Outside, RunInfo
from gsbench.core.recipe import Reported
from gsbench.core.tasks import UNKNOWN, Features, Sampling, Task
from gsbench.core.types import Array

SCHEMA_VERSION = 3
"""Of Result files; those of version 1 say nothing of the code, those below 3 nothing of models trained elsewhere."""

PROBABILITY_DIGITS = 6
"""Decimals kept of each probability; the sums below are checked with that rounding in mind."""

MAX_BYTES = 8_000_000
"""Of a Result file: of 10,000 objects of 50 classes it has less."""

_SCORES = ("accuracy", "knn_accuracy", "retrieval_map")
_OF_DRAWS = ("_over_draws", "_over_draws_std")
_STATED = {
    **dict.fromkeys(_SCORES[1:], 1.0),
    **{f"{key}{end}": 1.0 for key in _SCORES for end in _OF_DRAWS},
    "sampling_draws": 1000.0,
    "psnr": 1000.0,
}
"""What a Result may state beside its metrics, and the most that it can be; each is at least 0."""

_OF_PAIRS = {
    "cross_modality_accuracy": 1.0,
    "cross_modality_balanced": 1.0,
    "mpd_auc": 1.0,
    "mpd_positive": math.inf,
    "mpd_negative": math.inf,
    "mpd_ratio": math.inf,
}
"""The scores of pretext tasks, each with `_low` and `_high` of its interval, and the most that they can be."""


@dataclass(frozen=True, slots=True)
class Pretext:
    """What an encoder learned from without labels before it was probed or fine-tuned.

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

    def __post_init__(self) -> None:
        for key in ("num_points", "num_views", "objects", "epochs", "train_seconds"):
            check_range(key, getattr(self, key), int(key not in ("epochs", "train_seconds")), MOST[key])
        check_choice("precision", self.precision, PRECISIONS)
        known = {"cross_modality_floor": 1.0, **_OF_PAIRS}
        ends = [f"{key}_{end}" for key in _OF_PAIRS for end in ("low", "high")]
        for key, value in self.metrics.items():
            check_choice("a key of metrics", key, (*known, *ends))
            # An interval about a mean may reach beyond what the mean can be.
            check_range(f"metrics.{key}", value, 0 if key in known else -math.inf, known.get(key, math.inf))
        for key in _OF_PAIRS:
            stated = [self.metrics.get(name) for name in (f"{key}_low", key, f"{key}_high")]
            found = [value for value in stated if value is not None]
            if found != sorted(found) or len(found) == 2 or (len(found) == 1 and stated[1] is None):
                raise InputError(
                    f"metrics.{key} is {stated[1]}, its interval {stated[0]} to {stated[2]} (must hold it)"
                )

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
        outside: what is known of a model that gsbench did not train; None of one that it did.
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
    outside: Outside | None = None

    @property
    def precision(self) -> str:
        """Of the products in training: `fp32`, unless that by labels, or without them, was in another."""
        used = (self.pretext.precision if self.pretext else "fp32", self.run.precision)
        return next((precision for precision in used if precision != "fp32"), "fp32")

    def __post_init__(self) -> None:
        for key, value in self.metrics.items():
            check_text("a key of metrics", key)
            check_range(f"metrics.{key}", value, 0, 1)
        for key, value in self.stated.items():
            check_choice("a key of stated", key, _STATED)
            check_range(f"stated.{key}", value, 0, _STATED[key])
        _check_draws(self.stated)
        if self.task.protocol == "supervised" and self.pretext is not None:
            raise InputError("pretext is a table (allowed where task.protocol is supervised: null)")
        if self.task.protocol == "finetune" and self.pretext is None and self.outside is None:
            raise InputError("pretext is null (must say what was learned before where task.protocol is finetune)")
        self._check_origin()

    def _check_origin(self) -> None:
        """Checks that only a model trained elsewhere leaves things unknown, and that such a one claims no recipe."""
        if self.outside is None:
            if unknown := self._unknown():
                raise InputError(f"{unknown[0]} is unknown (allowed where outside is a table)")
            return
        if self.schema_version < SCHEMA_VERSION:
            raise InputError(f"outside is set at schema_version {self.schema_version} (allowed: from 3 on)")
        claims = {
            "model.recipe_sha256": None if self.model.recipe_sha256 == UNKNOWN else self.model.recipe_sha256,
            "model.code_sha256": self.model.code_sha256,
            "run.commit": self.run.commit,
            "pretext": self.pretext,
            "reported": self.reported,
            "stated": self.stated if self.outside.kind == "predictions" else None,
        }
        for key, value in claims.items():
            if value:
                raise InputError(f"{key} is set, and outside is a table (allowed of models that gsbench trained)")
        if self.outside.kind == "features" and self.task.protocol != "probe":
            raise InputError(f"task.protocol is {self.task.protocol!r} (allowed where outside.kind is features: probe)")

    def _unknown(self) -> list[str]:
        words = {"model.recipe_sha256": self.model.recipe_sha256, "run.selection": self.run.selection}
        words |= {"run.precision": self.run.precision}
        numbers = {"model.num_params": self.model.num_params}
        counts = ("seed", "epochs", "train_objects", "train_seconds", "eval_seconds")
        numbers |= {f"run.{key}": getattr(self.run, key) for key in counts}
        return [
            *(f"task.{key}" for key in self.task.unknown()),
            *(key for key, word in words.items() if word == UNKNOWN),
            *(key for key, number in numbers.items() if number is None),
        ]

    def file_name(self) -> str:
        """`<model>-s<seed>.json`, or `<model>-<pretext>-s<seed>.json`, with what file systems dislike replaced."""
        name = self.model.name.replace(":", "-").replace("/", "-")
        seed = UNKNOWN if self.run.seed is None else self.run.seed
        return f"{name}{f'-{self.pretext.slug()}' if self.pretext else ''}-s{seed}.json"


def _check_draws(stated: Mapping[str, float]) -> None:
    """What is stated of draws of the test points is whole: how many there were, and of each score mean and spread."""
    draws = stated.get("sampling_draws")
    if draws is not None and (draws < 2 or draws != int(draws)):
        raise InputError(f"stated.sampling_draws is {draws:g} (must be a whole number of at least 2)")
    scores = [key for key in _SCORES if any(f"{key}{end}" in stated for end in _OF_DRAWS)]
    needed = {f"{key}{end}" for key in scores or _SCORES[:1] for end in _OF_DRAWS} | {"sampling_draws"}
    if (scores or draws is not None) and (missing := sorted(needed - stated.keys())):
        raise InputError(
            f"stated.{missing[0]} is missing (must stand beside {', '.join(sorted(needed & stated.keys()))})"
        )


def save_result(result: Result, path: Path) -> None:
    """Writes a Result file atomically: a failure leaves neither a half-written file nor a changed old one.

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    write_atomic(path, result_json(result))


def result_json(result: Result) -> bytes:
    """A Result file: an object a line, sorted by id."""
    record = asdict(result)
    predictions = record.pop("predictions")
    lines = [
        f"  {json.dumps(object_id)}: [{', '.join(_number(p) for p in predictions[object_id])}]"
        for object_id in sorted(predictions)
    ]
    head = json.dumps(record, indent=1, allow_nan=False)
    text = f'{head[:-2]},\n "predictions": {{\n' + ",\n".join(lines) + "\n }\n}\n"
    return text.encode()


def _number(probability: float) -> str:
    return repr(round(float(probability), PROBABILITY_DIGITS) + 0.0)  # a float also where it is whole, and no -0.0


def as_predictions(probabilities: Float64[Array, "n c"]) -> Float64[Array, "n c"]:
    """Probabilities rounded as a Result file rounds them; each row still sums to 1 and has its largest where it was."""
    rows, largest = np.arange(len(probabilities)), probabilities.argmax(1)
    rounded = probabilities.round(PROBABILITY_DIGITS)
    # What rounding took from the sum goes to the largest; what would then be its equal gives way to it.
    rounded[rows, largest] += 1 - rounded.sum(1)
    equals = rounded >= rounded[rows, largest][:, None]
    equals[rows, largest] = False
    rounded -= equals * 10.0**-PROBABILITY_DIGITS
    rounded[rows, largest] += equals.sum(1) * 10.0**-PROBABILITY_DIGITS
    return np.asarray(rounded.round(PROBABILITY_DIGITS))


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
    try:
        file_size(path, MAX_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    record = read_versioned(path, "schema_version", SCHEMA_VERSION, oldest=1)
    predictions = record.pop("predictions", None)
    if not isinstance(predictions, dict) or not predictions:
        raise InputError(f"{path}: predictions is missing or empty (must map object_id to class probabilities)")
    probabilities = _probabilities(predictions, str(path))
    header = parse({**record, "predictions": {}}, Result, str(path))
    if header.schema_version == 1 and header.model.code_sha256 is not None:
        raise InputError(f"{path}: model.code_sha256 is set at schema_version 1 (allowed: from 2 on)")
    return dataclasses.replace(header, predictions=predictions), probabilities


def _probabilities(predictions: Mapping[str, Any], where: str) -> Float64[Array, "n c"]:
    """The predictions as a matrix; an InputError names the object whose numbers are not in 0..1 or do not sum to 1."""
    lists = set(map(type, predictions.values())) == {list}
    widths = set(map(len, predictions.values())) if lists else set()
    if len(widths) != 1 or 0 in widths:
        raise InputError(
            f"{where}: predictions must map each object_id to one list of class probabilities, all as long"
        )
    for object_id in predictions:
        check_id(f"{where}: an object_id of predictions", object_id)
    if not set(map(type, chain.from_iterable(predictions.values()))) <= {float, int}:
        raise InputError(f"{where}: predictions holds something that is no number")
    width = widths.pop()
    try:  # one flat pass: numpy takes half as long again for a list of lists
        flat = np.fromiter(chain.from_iterable(predictions.values()), np.float64, len(predictions) * width)
    except OverflowError:
        raise InputError(f"{where}: predictions holds a number that is too large (must be in 0..1)") from None
    rows = flat.reshape(len(predictions), width)
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers that are far too large
        sums = rows.sum(axis=1)
    valid = (rows >= 0).all(axis=1) & (np.abs(sums - 1) <= width * 10.0**-PROBABILITY_DIGITS)
    if not valid.all():
        bad = int(np.argmin(valid))
        object_id = list(predictions)[bad]
        raise InputError(
            f"{where}: predictions.{object_id} is {str(predictions[object_id])[:MAX_TEXT]} "
            f"(must be finite, in 0..1, and sum to 1; sums to {sums[bad]:.6g})"
        )
    return rows
