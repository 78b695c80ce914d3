"""Objects of a task, resident in memory as tensors, from which batches are drawn by index."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from gsbench.store.arrays import ragged
from gsbench.store.folder import Folder, read_labels, read_table
from gsbench.store.schema import MAX_FPS_ORDER
from gsbench.tasks import Task, ids_sha256, regime_ids
from gsbench.types import Array, Batch

_COLUMNS = {
    "points": ("points",),
    "xyz": ("means", "fps_order"),
    "xyz+geo": ("means", "scales", "quats", "fps_order"),
    "xyz+geo+sh": ("means", "scales", "quats", "sh", "fps_order"),
}


@dataclass(frozen=True, slots=True)
class Objects:
    """All objects of a task's split, on one device.

    Attributes:
        ids: `n` object ids, sorted.
        labels: `[n]` int64 class indices.
        points: `[n p c]` float32, channels as in `Batch`; positions are centred and inside the unit sphere.
        mask: `[n p]` bool, False on padding.
    """

    ids: tuple[str, ...]
    labels: Int64[Tensor, " n"]
    points: Float32[Tensor, "n p c"]
    mask: Bool[Tensor, "n p"]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def channels(self) -> int:
        """Channels of a point."""
        return self.points.shape[2]

    def to(self, device: torch.device) -> "Objects":
        """The same objects on `device`."""
        return Objects(self.ids, self.labels.to(device), self.points.to(device), self.mask.to(device))

    def batch(self, index: Int64[Tensor, " b"]) -> Batch:
        """The objects at `index`, which lies on the objects' device."""
        ids = tuple(self.ids[i] for i in index.tolist())
        return Batch(ids, self.labels[index], self.points[index], self.mask[index])


def most_points(folder: Folder, modality: str) -> int:
    """The largest number of points or Gaussians that an object of the data set's test split has."""
    if modality == "gaussians":
        return int(max(read_table(folder, modality, "test", ["num_gaussians"])["num_gaussians"].to_pylist()))
    _, offsets = ragged(read_table(folder, modality, "test", ["points"])["points"], (3,))
    return int(np.diff(offsets).max())


def training_ids(folder: Folder, regime: int, draw: int) -> list[str]:
    """The training objects of a regime, sorted.

    Raises:
        ValueError: they are not those that the data set's manifest freezes; the message names both hashes.
    """
    ids = regime_ids(read_labels(folder, "train"), regime, draw)
    frozen = folder.manifest.regimes.get(f"{regime}/{draw}")
    if frozen and frozen.sha256 != (digest := ids_sha256(ids)):
        raise ValueError(
            f"{folder.path}: regime {regime}/{draw} has ids of sha256 {digest[:12]} "
            f"(must be {frozen.sha256[:12]}, as manifest.json says)"
        )
    return ids


def open_objects(folder: Folder, task: Task, split: str) -> Objects:
    """Reads the objects of a task: of `train` those of its regime, of `test` all.

    An object gives the first `num_points` of its furthest-point order, or as many drawn uniformly without replacement,
    the same ones each time. Those are centred on their mean and scaled into the unit sphere; a Gaussian's log-scales
    move with them, by minus the log of the factor, and its quaternion takes the sign with w >= 0. An object with fewer
    points is padded.

    Raises:
        ValueError: the data set lacks the modality, the split or the regime's objects, or `num_points` is more than any
            object has, or than the stored order is long.
    """
    assert task.num_points is not None, "a task on points or Gaussians has a number of points"
    if task.modality == "gaussians" and task.sampling == "fps" and task.num_points > MAX_FPS_ORDER:
        raise ValueError(f"num_points is {task.num_points} (allowed: up to {MAX_FPS_ORDER} with sampling fps)")
    columns = _COLUMNS["points" if task.modality == "points" else str(task.features)]
    table = read_table(folder, task.modality, split, ["object_id", "label", *columns])
    ids: Sequence[str] = table["object_id"].to_pylist()
    keep = np.arange(len(ids))
    if split == "train":
        chosen = set(training_ids(folder, task.regime, task.draw))
        keep = np.array([i for i, object_id in enumerate(ids) if object_id in chosen])
    shapes = {"opacities": (), "fps_order": (), "quats": (4,), "sh": (folder.manifest.sh_coefficients, 3)}
    arrays = {name: ragged(table[name], shapes.get(name, (3,))) for name in columns}
    clouds = [
        _cloud({name: values[at[i] : at[i + 1]] for name, (values, at) in arrays.items()}, ids[i], task) for i in keep
    ]
    points = np.zeros((len(keep), task.num_points, clouds[0].shape[1]), np.float32)
    mask = np.zeros(points.shape[:2], np.bool_)
    for row, cloud in enumerate(clouds):
        points[row, : len(cloud)], mask[row, : len(cloud)] = cloud, True
    if not mask[:, -1].any():
        most = int(mask.sum(1).max())
        raise ValueError(f"num_points is {task.num_points} (allowed: up to {most}, the most that an object here has)")
    labels = table["label"].to_numpy()[keep]
    return Objects(
        tuple(ids[i] for i in keep), torch.from_numpy(labels), torch.from_numpy(points), torch.from_numpy(mask)
    )


def _cloud(columns: Mapping[str, Array], object_id: str, task: Task) -> Float32[Array, "p c"]:
    """One object's sampled points with the task's channels."""
    assert task.num_points is not None, "a task on points or Gaussians has a number of points"
    positions = columns["points" if task.modality == "points" else "means"]
    if not len(positions):
        raise ValueError(f"{object_id}: no {task.modality} (each object needs at least one)")
    if task.sampling == "uniform":
        index = _uniform(object_id, len(positions), task.num_points)
    elif task.modality == "gaussians":
        index = columns["fps_order"][: task.num_points]
    else:
        index = np.arange(min(len(positions), task.num_points))
    chosen = positions[index].astype(np.float64)
    chosen -= chosen.mean(0)
    radius = max(float(np.linalg.norm(chosen, axis=1).max()), np.finfo(np.float32).tiny)
    channels = [chosen / radius]
    if "scales" in columns:
        quats = columns["quats"][index]
        channels += [np.log(columns["scales"][index]) - np.log(radius), np.where(quats[:, :1] < 0, -quats, quats)]
    if "sh" in columns:
        channels.append(columns["sh"][index].reshape(len(index), -1))
    return np.concatenate(channels, axis=1).astype(np.float32)


def _uniform(object_id: str, available: int, wanted: int) -> Int64[Array, " p"]:
    """A uniform draw without replacement that depends on the object alone, so that every model sees the same points."""
    seed = int.from_bytes(hashlib.sha256(f"uniform/{object_id}".encode()).digest()[:8])
    return np.random.default_rng(seed).permutation(available)[:wanted]
