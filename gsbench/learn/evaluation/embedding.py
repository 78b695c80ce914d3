"""Features of a split, kept beside the encoder's checkpoint: every regime and every draw of it asks for the same."""

import dataclasses
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import nn

from gsbench.core.files import write_atomic
from gsbench.core.parsing import InputError
from gsbench.core.tasks import Task
from gsbench.core.types import Array
from gsbench.learn.calls import check_finite, features_of
from gsbench.learn.data import Objects, most_inputs
from gsbench.learn.precision import exact_float32
from gsbench.learn.weights import weights_sha256
from gsbench.store.folder import Folder, read_labels

_BATCH = 64


@exact_float32()
@torch.no_grad()
def extract(
    net: nn.Module, objects: Objects, progress: Callable[[int, int], None] | None = None
) -> Float32[Array, "n d"]:
    """What a model makes of each object by `embed`, in evaluation mode and float32 arithmetic.

    Args:
        net: a Baseline or PairBaseline.
        objects: of one modality, on the model's device.
        progress: called with objects done and objects in all.

    Raises:
        InputError: the model raises, or its features are no floats of one width, or not finite.
    """
    net.eval()
    parts: list[Float32[torch.Tensor, "b d"]] = []
    for index in torch.arange(len(objects), device=objects.labels.device).split(_BATCH):
        width = parts[0].shape[1] if parts else None
        parts.append(features_of(net, objects.batch(index), width).float())
        if progress:
            progress(int(index[-1]) + 1, len(objects))
    features = torch.cat(parts).cpu().numpy()
    check_finite(net, "embed", features, objects.ids)
    return features


@dataclass(frozen=True, slots=True)
class Embedded:
    """Features of objects.

    Attributes:
        ids: of the objects.
        labels: `[n]` class indices.
        features: `[n d]`, a row an object; or `[n v d]`, a row a view.
    """

    ids: tuple[str, ...]
    labels: Int64[Array, " n"]
    features: Float32[Array, "n *v d"]

    def of(self, ids: list[str]) -> "Embedded":
        """Those of some of the objects."""
        row = {object_id: i for i, object_id in enumerate(self.ids)}
        index = np.array([row[object_id] for object_id in ids], np.int64)
        return Embedded(tuple(ids), self.labels[index], self.features[index])


def embed(net: nn.Module, objects: Objects, progress: Callable[[int, int], None] | None = None) -> Embedded:
    """The features of objects."""
    return Embedded(objects.ids, objects.labels.cpu().numpy(), extract(net, objects, progress))


def embed_once(
    folder: Folder,
    net: nn.Module,
    kept: Path | None,
    split: str,
    task: Task,
    objects: Callable[[], Objects],
    sampling_draw: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Embedded:
    """The features of a task's objects, which are not read where their features have been kept.

    Those of images are kept view by view: so the features of fewer views, evenly spread among them, come with those of
    more. An object's are the maximum over its views.

    Args:
        folder: the data set.
        net: whose features.
        kept: the folder where features by this encoder are found and left, or None.
        split: of the objects.
        task: how they are shown to the encoder.
        objects: reads them.
        sampling_draw: which of the ways to choose their points.
        progress: called with objects done and objects in all.

    Raises:
        InputError: a file of features is damaged, or of other objects or labels than the data's.
    """
    if kept is None:
        return _pooled(_embed(net, task, objects(), progress), 1)
    weights = weights_sha256(net)
    for wider, every in _wider(folder, task):
        path = _file(kept, split, wider, sampling_draw)
        found = _load(path, weights, folder, split) if path.exists() else None
        if found is not None:
            return _pooled(found, every)
    embedded = _embed(net, task, objects(), progress)
    buffer = io.BytesIO()
    arrays = {"ids": np.array(embedded.ids), "labels": embedded.labels, "features": embedded.features}
    np.savez(buffer, weights=weights, **arrays)
    write_atomic(_file(kept, split, task, sampling_draw), buffer.getvalue())
    return _pooled(embedded, 1)


def _file(kept: Path, split: str, task: Task, sampling_draw: int) -> Path:
    draw = f"-s{sampling_draw}" if sampling_draw else ""
    return kept / f"{split}-{task.slug()}{draw}.npz"


def _embed(net: nn.Module, task: Task, objects: Objects, progress: Callable[[int, int], None] | None) -> Embedded:
    """The features of objects; of images, those of each view, as of an object of its own."""
    if task.modality != "images":
        return embed(net, objects, progress)
    alone = embed(net, objects.split_views(1), progress)
    shape = (len(objects), -1, alone.features.shape[1])
    return Embedded(objects.ids, objects.labels.cpu().numpy(), alone.features.reshape(shape))


def _wider(folder: Folder, task: Task) -> list[tuple[Task, int]]:
    """The task, then those of more views that hold its own as every second, third and so on."""
    if task.num_views is None or task.views_from is None:
        return [(task, 1)]
    assert task.views_from != "unknown", "images that are scored are known"
    assert task.cameras != "unknown", "images that are scored are known"
    times = most_inputs(folder, task.modality, task.views_from, task.cameras) // task.num_views
    return [(dataclasses.replace(task, num_views=task.num_views * every), every) for every in range(1, times + 1)]


def _pooled(embedded: Embedded, every: int) -> Embedded:
    if embedded.features.ndim == 2:
        return embedded
    return dataclasses.replace(embedded, features=embedded.features[:, ::every].max(1))


def _load(path: Path, weights: str, folder: Folder, split: str) -> Embedded | None:
    """None where they are of other weights."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["weights"]) != weights:
                return None
            ids, labels, features = file["ids"], file["labels"], file["features"]
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for a file that is none of their own
        raise InputError(f"{path}: no features ({type(error).__name__}), remove it to make them anew") from None
    kinds = (ids.dtype.kind, labels.dtype.kind, features.dtype) == ("U", "i", np.float32)
    alike = (ids.ndim, labels.ndim) == (1, 1) and features.ndim in (2, 3) and len(ids) == len(labels) == len(features)
    if not kinds or not alike or 0 in features.shape or not np.isfinite(features).all():
        raise InputError(f"{path}: no features (must be finite numbers of each object), remove it to make them anew")
    known = {object_id: folder.manifest.classes.index(label) for object_id, label in read_labels(folder, split).items()}
    if len(ids) != len(known) or dict(zip(ids.tolist(), labels.tolist(), strict=True)) != known:
        raise InputError(f"{path}: of other objects or labels than the data's, remove it to make them anew")
    return Embedded(tuple(ids.tolist()), labels, features)
