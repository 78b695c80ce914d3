"""Features of a split, kept beside the encoder's checkpoint: every regime and every draw of it asks for the same."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64
from torch import nn

from gsbench.checkpoints import weights_sha256
from gsbench.data import Objects
from gsbench.evaluation.job import Job
from gsbench.features import extract
from gsbench.results import write_atomic
from gsbench.types import Array


@dataclass(frozen=True, slots=True)
class Embedded:
    """Features of objects.

    Attributes:
        ids: of the objects.
        labels: `[n]` class indices.
        features: a row an object.
    """

    ids: tuple[str, ...]
    labels: Int64[Array, " n"]
    features: Float32[Array, "n d"]

    def of(self, ids: list[str]) -> "Embedded":
        """Those of some of the objects."""
        row = {object_id: i for i, object_id in enumerate(self.ids)}
        index = np.array([row[object_id] for object_id in ids], np.int64)
        return Embedded(tuple(ids), self.labels[index], self.features[index])


def embed(job: Job, net: nn.Module, objects: Objects) -> Embedded:
    """The features of objects."""
    return Embedded(objects.ids, objects.labels.cpu().numpy(), extract(net, objects, job.watch.extracting))


def embed_once(job: Job, net: nn.Module, objects: Callable[[], Objects], kept: Path | None) -> Embedded:
    """The features of objects, which are not read where their features have been kept.

    Args:
        job: of the objects.
        net: a model.
        objects: reads them.
        kept: the file, whose name says which objects and how they are shown to the model; None to keep nothing.

    Raises:
        ValueError: the file is damaged.
    """
    if kept is None:
        return embed(job, net, objects())
    weights = weights_sha256(net)
    found = _load(kept, weights) if kept.exists() else None
    if found is None:
        found = embed(job, net, objects())
        buffer = io.BytesIO()
        np.savez(buffer, weights=weights, ids=np.array(found.ids), labels=found.labels, features=found.features)
        write_atomic(kept, buffer.getvalue())
    return found


def _load(path: Path, weights: str) -> Embedded | None:
    """None where they are of other weights."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["weights"]) != weights:
                return None
            return Embedded(tuple(file["ids"].tolist()), file["labels"], file["features"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no features ({type(error).__name__}), remove it to make them anew") from None
