"""Images of a task's objects: decoded once, in parallel, resized, and kept as bytes."""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import UInt8

from gsbench.core.environment import available_cores, free_memory
from gsbench.core.parsing import InputError
from gsbench.core.tasks import CamerasOf, ViewsFrom
from gsbench.core.types import Array
from gsbench.learn.data.objects import Objects
from gsbench.store.arrays import as_numpy
from gsbench.store.folder import Folder, read_shards, read_table
from gsbench.store.webp import decode_over_white


def config_of(views_from: ViewsFrom) -> str:
    """The config that holds images of meshes, or of Gaussians."""
    return "views" if views_from == "meshes" else "reconstructions"


def open_images(
    folder: Folder,
    views_from: ViewsFrom,
    split: str,
    chosen: Sequence[str],
    num_views: int,
    size: int | None = None,
    cameras: CamerasOf = "train",
    progress: Callable[[int, int], None] | None = None,
) -> Objects:
    """Reads images, evenly spaced along each object's rig, over white.

    Threads decode them: libwebp and Pillow work outside the interpreter's lock.

    Args:
        folder: the data set.
        views_from: what the images show.
        split: `train` or `test`.
        chosen: ids of the objects, sorted.
        num_views: images an object.
        size: width and height that images are resized to, by a triangle as wide as a pixel of the smaller image
            (bilinear with antialiasing); None leaves them as they are stored.
        cameras: where they were taken from; meshes are seen from `train` alone.
        progress: called with images read and images in all.

    Raises:
        InputError: an object without images or with fewer than asked for, one that is damaged or of another size than
            the rest, or more of them than memory holds; the message names shard, object and numbers.
    """
    config = config_of(views_from)
    rows = rows_of(folder, views_from, split, chosen, num_views, cameras)
    wanted = {
        row: _Place(position, view, object_id)
        for position, object_id in enumerate(chosen)
        for view, row in enumerate(_evenly_spaced(rows[object_id], num_views))
    }
    pixels = _decode(folder, config, split, wanted, (len(chosen), num_views), size, progress)
    labels = read_table(folder, config, split, ["label"])["label"].to_pylist()
    labels = np.array([labels[rows[object_id][0]] for object_id in chosen], np.int64)
    return Objects(tuple(chosen), torch.from_numpy(labels), images=torch.from_numpy(pixels).permute(0, 1, 4, 2, 3))


def rows_of(
    folder: Folder, views_from: ViewsFrom, split: str, chosen: Sequence[str], num_views: int, cameras: CamerasOf
) -> dict[str, list[int]]:
    """As `views_of`, for objects of which each has `num_views` images and more.

    Raises:
        InputError: one has none, or fewer; the message names it.
    """
    config = config_of(views_from)
    rows = views_of(folder, views_from, split, cameras)
    what = config if cameras == "train" else f"{config} from {cameras} cameras"
    missing = [object_id for object_id in chosen if object_id not in rows]
    if missing:
        raise InputError(
            f"{folder.path}: {len(missing)} objects of {split} have no {what}, the first is {missing[0]} "
            "(each needs some)"
        )
    scarce = min(chosen, key=lambda object_id: len(rows[object_id]))
    if (fewest := len(rows[scarce])) < num_views:
        raise InputError(
            f"{folder.path}: num_views is {num_views} for the {what} of {split} (allowed: up to {fewest}, all that "
            f"{scarce} has)"
        )
    return rows


def mean_psnr(folder: Folder, split: str, chosen: Sequence[str], num_views: int, cameras: CamerasOf) -> float:
    """Mean PSNR, in dB, of the renders of Gaussians that `open_images` would read, against the renders of meshes."""
    rows = rows_of(folder, "gaussians", split, chosen, num_views, cameras)
    psnr = as_numpy(read_table(folder, config_of("gaussians"), split, ["psnr"])["psnr"])
    return float(np.mean([psnr[_evenly_spaced(rows[object_id], num_views)] for object_id in chosen], dtype=np.float64))


def _evenly_spaced(rows: Sequence[int], count: int) -> list[int]:
    return [rows[i * len(rows) // count] for i in range(count)]


def views_of(folder: Folder, views_from: ViewsFrom, split: str, cameras: CamerasOf = "train") -> dict[str, list[int]]:
    """object_id to the rows of its images in their config, both in order."""
    config = config_of(views_from)
    table = read_table(folder, config, split, ["object_id"] if config == "views" else ["object_id", "cameras"])
    kinds = ["train"] * len(table) if config == "views" else table["cameras"].to_pylist()
    rows: dict[str, list[int]] = {}
    for row, (object_id, kind) in enumerate(zip(table["object_id"].to_pylist(), kinds, strict=True)):
        if kind == cameras:
            rows.setdefault(object_id, []).append(row)
    return rows


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an image goes: the object's position and id, and which of its views it is."""

    position: int
    view: int
    object_id: str


def _decode(
    folder: Folder,
    config: str,
    split: str,
    wanted: dict[int, _Place],
    shape: tuple[int, int],
    size: int | None,
    progress: Callable[[int, int], None] | None,
) -> UInt8[Array, "n v h w 3"]:
    """The images at the rows `wanted`, shard by shard, so that only one shard's files are in memory at a time."""
    pixels: Array = None
    stored: tuple[int, int] = (0, 0)
    first = done = 0
    with ThreadPoolExecutor(available_cores()) as pool:
        for shard, table in read_shards(folder, config, split, ["image"]):
            here = [(row - first, wanted[row]) for row in range(first, first + len(table)) if row in wanted]
            first += len(table)
            read = functools.partial(_read, shard, table["image"].combine_chunks().field("bytes"), size)
            if pixels is None and here:
                stored, image = read(here[0])
                pixels = _allocate((*shape, *image.shape), f"{folder.path}: {config} of {split}")
            for _ in pool.map(functools.partial(_fill, shard, read, pixels, stored), here):
                done += 1
                if progress and (done % 64 == 0 or done == len(wanted)):
                    progress(done, len(wanted))
    return pixels


def _read(
    shard: str, files: pa.BinaryArray, size: int | None, item: tuple[int, _Place]
) -> tuple[tuple[int, int], UInt8[Array, "h w 3"]]:
    """Stored height and width of an image, and its pixels."""
    row, place = item
    try:
        return decode_over_white(files[row].as_py() or b"", size)
    except InputError as error:
        raise InputError(f"{shard}: image {place.view} of {place.object_id}: {error}") from None


def _fill(
    shard: str,
    read: Callable[[tuple[int, _Place]], tuple[tuple[int, int], Array]],
    pixels: UInt8[Array, "n v h w 3"],
    stored: tuple[int, int],
    item: tuple[int, _Place],
) -> None:
    shape, image = read(item)
    place = item[1]
    if shape != stored:
        raise InputError(
            f"{shard}: image {place.view} of {place.object_id} has {_by(shape)} pixels "
            f"(must be {_by(stored)}, as the first has)"
        )
    pixels[place.position, place.view] = image


def _by(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


def _allocate(shape: tuple[int, ...], what: str) -> UInt8[Array, "n v h w 3"]:
    """Memory for images, or a message with the numbers where there is too little."""
    needed, free = int(np.prod(shape)), free_memory()
    if free is not None and needed > free:
        raise InputError(
            f"{what}: {shape[0]} objects x {shape[1]} images of {_by(shape[2:])} pixels take {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB of memory are free (allowed: fewer views, or a smaller images.size)"
        )
    return np.empty(shape, np.uint8)
