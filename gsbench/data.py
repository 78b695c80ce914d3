"""Objects of a task, resident in memory as tensors, from which batches are drawn by index."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image
from torch import Tensor

from gsbench.store.arrays import ragged
from gsbench.store.folder import Folder, read_labels, read_table
from gsbench.store.schema import MAX_FPS_ORDER
from gsbench.tasks import Modality, Task, ViewsFrom, ids_sha256, regime_ids
from gsbench.types import Array, Batch

_COLUMNS = {
    "points": ("points",),
    "xyz": ("means", "fps_order"),
    "xyz+geo": ("means", "scales", "quats", "fps_order"),
    "xyz+geo+sh": ("means", "scales", "quats", "sh", "fps_order"),
}


_VIEWS_CONFIG = {"meshes": "views", "gaussians": "reconstructions"}


@dataclass(frozen=True, slots=True)
class Objects:
    """All objects of a task's split, on one device; a modality that the task does not use is None.

    Attributes:
        ids: `n` object ids, sorted.
        labels: `[n]` int64 class indices.
        points: `[n p c]` float32, channels as in `Batch`; positions are centred and inside the unit sphere.
        mask: `[n p]` bool, False on padding.
        images: `[n v 3 h w]` uint8, sRGB over white.
    """

    ids: tuple[str, ...]
    labels: Int64[Tensor, " n"]
    points: Float32[Tensor, "n p c"] | None = None
    mask: Bool[Tensor, "n p"] | None = None
    images: UInt8[Tensor, "n v 3 h w"] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def input(self) -> Tensor:
        """What the model sees: `points` or `images`."""
        chosen = self.images if self.points is None else self.points
        assert chosen is not None, "objects have points or images"
        return chosen

    @property
    def channels(self) -> int:
        """Channels of a point, or of an image."""
        return self.input.shape[2]

    def to(self, device: torch.device) -> "Objects":
        """The same objects on `device`."""
        points, mask, images = (None if t is None else t.to(device) for t in (self.points, self.mask, self.images))
        return Objects(self.ids, self.labels.to(device), points, mask, images)

    def split_views(self, count: int) -> "Objects":
        """Each object's views in runs of `count`, each an object of its own, with no copy of the images.

        Raises:
            ValueError: the objects have points, or `count` does not divide the number of views.
        """
        if self.images is None or self.points is not None:
            raise ValueError(f"views_per_sample is {count} (allowed: leave it out, unless the model sees images alone)")
        views = self.images.shape[1]
        if views % count:
            raise ValueError(f"views_per_sample is {count} (must divide the {views} views of an object)")
        runs = views // count
        ids = tuple(object_id for object_id in self.ids for _ in range(runs))
        images = self.images.unflatten(1, (runs, count)).flatten(0, 1)
        return Objects(ids, self.labels.repeat_interleave(runs), images=images)

    def batch(self, index: Int64[Tensor, " b"]) -> Batch:
        """The objects at `index`, which lies on the objects' device."""
        ids = tuple(self.ids[i] for i in index.tolist())
        inputs = (None if tensor is None else tensor[index] for tensor in (self.points, self.mask, self.images))
        return Batch(ids, self.labels[index], *inputs)


def most_inputs(folder: Folder, modality: Modality, views_from: ViewsFrom) -> int:
    """The largest number of points, Gaussians or views that an object of the data set's test split has.

    Raises:
        ValueError: the data set lacks the modality.
    """
    if modality == "gaussians":
        return int(max(read_table(folder, modality, "test", ["num_gaussians"])["num_gaussians"].to_pylist()))
    if modality == "points":
        _, offsets = ragged(read_table(folder, modality, "test", ["points"])["points"], (3,))
        return int(np.diff(offsets).max())
    return max(map(len, _image_rows(folder, _VIEWS_CONFIG[views_from], "test").values()))


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
    move with them, by minus the log of the radius, and its quaternion takes the sign with w >= 0. An object with fewer
    points is padded. Of images it gives `num_views`, evenly spaced along the rig.

    Raises:
        ValueError: the data set lacks the modality, the split or the regime's objects; or the task asks for more points
            or views than there are, or than the stored order is long.
    """
    chosen = set(training_ids(folder, task.regime, task.draw)) if split == "train" else None
    return (
        _open_images(folder, task, split, chosen)
        if task.modality == "images"
        else _open_points(folder, task, split, chosen)
    )


def _open_points(folder: Folder, task: Task, split: str, chosen: set[str] | None) -> Objects:
    assert task.num_points is not None, "a task on points or Gaussians has a number of points"
    if task.modality == "gaussians" and task.sampling == "fps" and task.num_points > MAX_FPS_ORDER:
        raise ValueError(f"num_points is {task.num_points} (allowed: up to {MAX_FPS_ORDER} with sampling fps)")
    names = _COLUMNS["points" if task.modality == "points" else str(task.features)]
    table = read_table(folder, task.modality, split, ["object_id", "label", *names])
    ids: list[str] = table["object_id"].to_pylist()
    keep = [i for i, object_id in enumerate(ids) if chosen is None or object_id in chosen]
    inner: dict[str, tuple[int, ...]] = {"fps_order": (), "quats": (4,), "sh": (folder.manifest.sh_coefficients, 3)}
    arrays = {name: ragged(table[name], inner.get(name, (3,))) for name in names}
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
    labels = torch.from_numpy(table["label"].to_numpy()[keep])
    return Objects(tuple(ids[i] for i in keep), labels, torch.from_numpy(points), torch.from_numpy(mask))


def _open_images(folder: Folder, task: Task, split: str, chosen: set[str] | None) -> Objects:
    assert task.num_views is not None, "a task on images has a number of views"
    config = _VIEWS_CONFIG[str(task.views_from)]
    rows = _image_rows(folder, config, split)
    if chosen is not None:
        rows = {object_id: own for object_id, own in rows.items() if object_id in chosen}
    if (fewest := min(map(len, rows.values()))) < task.num_views:
        raise ValueError(f"num_views is {task.num_views} (allowed: up to {fewest}, which each object here has)")
    picked = [[own[i * len(own) // task.num_views] for i in range(task.num_views)] for own in rows.values()]
    table = read_table(folder, config, split, ["label", "image"])
    encoded = table["image"]
    images = np.stack([np.stack([_over_white(encoded[row].as_py()["bytes"]) for row in own]) for own in picked])
    labels = table["label"].to_numpy()[[own[0] for own in picked]]
    return Objects(tuple(rows), torch.from_numpy(labels), images=torch.from_numpy(images))


def _image_rows(folder: Folder, config: str, split: str) -> dict[str, list[int]]:
    """object_id to its rows, both in order; of reconstructions those from the cameras of the rig, as in `views`."""
    columns = ["object_id"] if config == "views" else ["object_id", "cameras"]
    table = read_table(folder, config, split, columns)
    cameras = ["train"] * len(table) if config == "views" else table["cameras"].to_pylist()
    rows: dict[str, list[int]] = {}
    for row, (object_id, kind) in enumerate(zip(table["object_id"].to_pylist(), cameras, strict=True)):
        if kind == "train":
            rows.setdefault(object_id, []).append(row)
    return rows


def _over_white(png: bytes) -> UInt8[Array, "3 h w"]:
    """A stored view without its alpha channel."""
    rgba = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"), np.uint16)
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8).transpose(2, 0, 1)


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
    radius = max(float(np.linalg.norm(chosen, axis=1).max()), 1e-12)
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
