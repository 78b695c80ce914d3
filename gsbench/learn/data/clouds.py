"""Points and Gaussians of a task's objects: which of them, with which channels, normalized."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float32, Int64

from gsbench.core.parsing import InputError
from gsbench.core.tasks import Modality, Task
from gsbench.core.types import Array
from gsbench.learn.data.objects import Objects
from gsbench.meshes.surface import fps_order
from gsbench.store.arrays import as_numpy, ragged
from gsbench.store.folder import Folder, read_table
from gsbench.store.schema import MAX_FPS_ORDER

_COLUMNS = {
    "points": ("points",),
    "xyz": ("means", "fps_order"),
    "xyz+geo": ("means", "scales", "quats", "fps_order"),
    "xyz+geo+sh": ("means", "scales", "quats", "sh", "fps_order"),
}


def open_points(
    folder: Folder, task: Task, split: str, chosen: set[str] | None, min_opacity: float = 0.0, sampling_draw: int = 0
) -> Objects:
    """The points or Gaussians of a task's objects, as `open_objects` describes them.

    Args:
        folder: the data set.
        task: on points or Gaussians.
        split: `train` or `test`.
        chosen: ids of the objects to read; None for all.
        min_opacity: Gaussians that are less opaque stay out, and the others have a furthest-point order of their own.
        sampling_draw: which of many ways to choose an object's points; 0 is that of every score.
    """
    assert task.num_points is not None, "a task on points or Gaussians has a number of points"
    if task.modality == "gaussians" and task.sampling == "fps" and task.num_points > MAX_FPS_ORDER:
        raise InputError(f"num_points is {task.num_points} (allowed: up to {MAX_FPS_ORDER} with sampling fps)")
    names = columns_of(task, min_opacity)
    table = read_table(folder, task.modality, split, ["object_id", "label", *names])
    ids: list[str] = table["object_id"].to_pylist()
    keep = [i for i, object_id in enumerate(ids) if chosen is None or object_id in chosen]
    if chosen is not None and (lost := chosen.difference(ids)):
        raise InputError(f"{folder.path}: {task.modality} of {split} lack {min(lost)}, and {len(lost)} objects in all")
    schema = folder.manifest.schema(task.modality)
    if not keep:
        raise InputError(f"{folder.path}: {task.modality} of {split}: no objects (must have some)")
    arrays = {name: ragged(table[name], schema.inner_shape(name)) for name in names}
    clouds = [
        _cloud(_opaque(columns, min_opacity), object_id, task, sampling_draw)
        for object_id, columns in (
            (ids[i], {name: values[at[i] : at[i + 1]] for name, (values, at) in arrays.items()}) for i in keep
        )
    ]
    if task.num_points > (most := max(map(len, clouds))):
        raise InputError(f"num_points is {task.num_points} (allowed: up to {most}, the most that an object here has)")
    points = np.zeros((len(keep), task.num_points, clouds[0].shape[1]), np.float32)
    mask = np.zeros(points.shape[:2], np.bool_)
    for row, cloud in enumerate(clouds):
        points[row, : len(cloud)], mask[row, : len(cloud)] = cloud, True
    labels = torch.from_numpy(as_numpy(table["label"])[keep])
    return Objects(tuple(ids[i] for i in keep), labels, torch.from_numpy(points), torch.from_numpy(mask))


def columns_of(task: Task, min_opacity: float = 0.0) -> tuple[str, ...]:
    """The columns of points or Gaussians that a task's objects are made from."""
    names = _COLUMNS["points" if task.modality == "points" else str(task.features)]
    return (*names, "opacities") if task.modality == "gaussians" and min_opacity > 0 else names


def most_points(folder: Folder, modality: Modality, split: str, min_opacity: float = 0.0) -> int:
    """The largest number of points, or of Gaussians at least so opaque, that an object of a split has.

    Raises:
        InputError: the data set lacks the modality or the split.
    """
    if modality == "points":
        return int(np.diff(ragged(read_table(folder, modality, split, ["points"])["points"], (3,))[1]).max())
    if min_opacity == 0:
        # With a column of Gaussians beside it, so that a number that is not theirs is found out.
        table = read_table(folder, modality, split, ["num_gaussians", "opacities"])
        return int(max(table["num_gaussians"].to_pylist()))
    opacities, offsets = ragged(read_table(folder, modality, split, ["opacities"])["opacities"], ())
    return int(np.diff(np.concatenate([[0], np.cumsum(opacities >= min_opacity)])[offsets]).max())


def _opaque(columns: Mapping[str, Array], min_opacity: float) -> Mapping[str, Array]:
    """The Gaussians of opacity `min_opacity` and more, without the furthest-point order, which is that of all."""
    if "opacities" not in columns:
        return columns
    kept = columns["opacities"] >= min_opacity
    return {name: values[kept] for name, values in columns.items() if name not in ("fps_order", "opacities")}


def _cloud(columns: Mapping[str, Array], object_id: str, task: Task, draw: int) -> Float32[Array, "p c"]:
    """One object's sampled points with the task's channels."""
    assert task.num_points is not None, "a task on points or Gaussians has a number of points"
    positions = columns["points" if task.modality == "points" else "means"]
    if not len(positions):
        raise InputError(f"{object_id}: no {task.modality}, or none opaque enough (each object needs at least one)")
    if task.sampling == "uniform":
        index = uniform_draw(object_id, len(positions), task.num_points, draw)
    elif draw > 0:
        index = _fps_from_elsewhere(positions.astype(np.float32), object_id, task.num_points, draw)
    elif "fps_order" in columns:
        index = columns["fps_order"][: task.num_points]
    elif task.modality == "gaussians":
        index = fps_order(positions.astype(np.float32), task.num_points)
    else:
        index = np.arange(min(len(positions), task.num_points))
    chosen = positions[index].astype(np.float64)
    chosen -= chosen.mean(0)
    radius = max(float(np.linalg.norm(chosen, axis=1).max()), 1e-12)
    channels = [chosen / radius]
    if "scales" in columns:
        scales, quats = columns["scales"][index].astype(np.float32), columns["quats"][index]  # float16 has no good log
        channels += [np.log(scales) - np.log(radius), np.where(quats[:, :1] < 0, -quats, quats)]
    if "sh" in columns:
        channels.append(columns["sh"][index].reshape(len(index), -1))
    return np.concatenate(channels, axis=1).astype(np.float32)


def uniform_draw(object_id: str, available: int, wanted: int, draw: int = 0) -> Int64[Array, " p"]:
    """A uniform draw without replacement that depends on the object alone, so that every model sees the same points.

    Args:
        object_id: of the object.
        available: how many points it has.
        wanted: how many are drawn, or all of them if there are fewer.
        draw: which of many; 0 is that of every score.
    """
    return _generator("uniform", object_id, draw).permutation(available)[:wanted]


def _fps_from_elsewhere(positions: Float32[Array, "n 3"], object_id: str, wanted: int, draw: int) -> Int64[Array, " p"]:
    """The furthest-point sample from a start that is drawn; where points coincide, it may have fewer."""
    import fpsample  # here, since the CLI's quick commands do not need it

    start = int(_generator("fps", object_id, draw).integers(len(positions)))
    order = fpsample.fps_sampling(positions, min(wanted, len(positions)), start_idx=start).astype(np.int64)
    return order[np.sort(np.unique(order, return_index=True)[1])]


def _generator(sampling: str, object_id: str, draw: int) -> np.random.Generator:
    name = f"{sampling}/{f'{draw}/' if draw else ''}{object_id}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))
