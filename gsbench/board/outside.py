"""Models that gsbench did not train: their predictions, read from a file, as a Result that claims nothing more."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Float64

from gsbench.board.predictions import MAX_BYTES, Faults, read_predictions
from gsbench.board.truth import Truth
from gsbench.core.files import read_bytes
from gsbench.core.metrics import classification_metrics
from gsbench.core.parsing import InputError, check_choice, shown
from gsbench.core.provenance import ModelInfo, Outside, RunInfo
from gsbench.core.results import SCHEMA_VERSION, Result
from gsbench.core.tasks import UNKNOWN, Features, Modality, Protocol, Sampling, Task, ViewsFrom
from gsbench.core.types import Array

_WORDS = {
    "protocol": get_args(Protocol),
    "features": get_args(Features),
    "sampling": get_args(Sampling),
    "views_from": get_args(ViewsFrom),
}
"""What may be said of a model, key by key; what is not is `unknown`."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What its authors say of a model that they trained; the keys are those of `Task`, `ModelInfo` and `Outside`.

    A word that was not said is `unknown`, a number None. What a modality does not have is left as it is.
    """

    name: str
    modality: str
    title: str | None = None
    protocol: str = UNKNOWN
    regime: int | None = None
    draw: int | None = None
    features: str = UNKNOWN
    sampling: str = UNKNOWN
    num_points: int | None = None
    num_views: int | None = None
    views_from: str = UNKNOWN
    cameras: str | None = None
    pretrained: str = UNKNOWN
    paper: str | None = None
    code: str | None = None

    def task(self, truth: Truth) -> Task:
        """The task on a data set that the claim is of.

        Raises:
            InputError: values that do not go together; the message names the key.
        """
        check_choice("modality", self.modality, get_args(Modality))
        for key, known in _WORDS.items():
            check_choice(key, getattr(self, key), (*known, UNKNOWN))
        images = self.modality == "images"
        of_images = {"num_views": self.num_views, "views_from": _said(self.views_from), "cameras": self.cameras}
        of_points = {"features": _said(self.features), "sampling": _said(self.sampling), "num_points": self.num_points}
        for key, value in (of_points if images else of_images).items():
            if value is not None:
                raise InputError(f"{key} is {shown(value)} (allowed for {self.modality}: leave it out)")
        if self.draw is None and self.regime not in (100, None):
            raise InputError(f"draw is missing: regime {self.regime} has draws 0 to 2 (say which it was trained on)")
        cameras = self.cameras or ("train" if not images or self.views_from == "meshes" else UNKNOWN)
        return Task(
            truth.dataset,
            truth.revision,
            truth.fingerprint,
            truth.split,
            self.modality,  # type: ignore[arg-type]  # what it may be is checked there, as of the others
            self.protocol,  # type: ignore[arg-type]
            self.regime,
            self.draw or 0,
            None if images else self.features,  # type: ignore[arg-type]
            None if images else self.sampling,  # type: ignore[arg-type]
            self.num_points,
            self.num_views,
            self.views_from if images else None,  # type: ignore[arg-type]
            cameras,  # type: ignore[arg-type]
        )


def _said(word: str) -> str | None:
    return None if word == UNKNOWN else word


def results_of(files: Sequence[Path], seeds: Sequence[int] | None, claim: Claim, truth: Truth) -> list[Result]:
    """Files of predictions as Results, one a seed.

    Args:
        files: CSV, Parquet or JSON, see `read_predictions`.
        seeds: of the trainings, in the order of the files; None where they are unknown, of one file alone.
        claim: what is said of the model.
        truth: the labels of the test objects.

    Raises:
        Faults: all that is wrong with the files.
        InputError: a claim that does not hold together, or files and seeds that do not fit each other.
    """
    task = claim.task(truth)
    if seeds is None and len(files) > 1:
        raise InputError(f"seed is missing (must be given for each of {len(files)} files)")
    if seeds is not None and (len(seeds) != len(files) or len(set(seeds)) != len(seeds)):
        raise InputError(f"seed is {', '.join(map(str, seeds))} (must be {len(files)} different numbers, one per file)")
    faults: list[str] = []
    results: list[Result] = []
    for path, seed in zip(files, seeds or (None,), strict=True):
        try:
            results.append(_result(path, seed, claim, task, truth))
        except Faults as error:
            faults += error.faults
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise Faults(faults)
    return results


def _result(path: Path, seed: int | None, claim: Claim, task: Task, truth: Truth) -> Result:
    probabilities = read_predictions(path, truth)
    digest = hashlib.sha256(read_bytes(path, MAX_BYTES)).hexdigest()
    run = RunInfo(
        seed, UNKNOWN, UNKNOWN, None, truth.train_objects(task.regime), None, None, None, UNKNOWN, {}, None, None
    )
    return outside_result(
        claim, task, run, truth, probabilities, Outside("predictions", digest, claim.paper, claim.code)
    )


def features_result(
    claim: Claim,
    seed: int | None,
    truth: Truth,
    predictions: Mapping[str, list[float]],
    train_objects: int,
    stated: dict[str, float],
    sha256: str,
) -> Result:
    """What a probe here makes of features, as a Result.

    Args:
        claim: what is said of the encoder, with the regime of the probe.
        seed: of the encoder's training; None where it is unknown.
        truth: the labels of the test objects.
        predictions: of the probe.
        train_objects: that it was fitted to.
        stated: scores of the features that predictions do not give.
        sha256: of the features.
    """
    run = RunInfo(seed, UNKNOWN, UNKNOWN, None, train_objects, None, None, None, UNKNOWN, {}, None, None)
    ordered = np.array([predictions[object_id] for object_id in truth.labels], np.float64)
    outside = Outside("features", sha256, claim.paper, claim.code)
    return outside_result(claim, claim.task(truth), run, truth, ordered, outside, stated)


def outside_result(
    claim: Claim,
    task: Task,
    run: RunInfo,
    truth: Truth,
    probabilities: Float64[Array, "n c"],
    outside: Outside,
    stated: dict[str, float] | None = None,
) -> Result:
    """A Result whose metrics are those of `probabilities`, which are in the order of the truth's labels."""
    return Result(
        schema_version=SCHEMA_VERSION,
        task=task,
        model=ModelInfo(claim.name, claim.title or claim.name, UNKNOWN, None, claim.pretrained),
        run=run,
        metrics=classification_metrics(probabilities, truth.indices()),
        reported=None,
        predictions=dict(zip(truth.labels, probabilities.tolist(), strict=True)),
        stated=stated or {},
        outside=outside,
    )
