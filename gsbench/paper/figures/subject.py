"""The object that a figure shows, with all that is said of it in the caption."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Int, UInt8

from gsbench.core.geometry import sh_degree_of
from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Cameras, Gaussians
from gsbench.store.arrays import as_numpy, ragged
from gsbench.store.folder import Folder, find_rows, load_object, read_labels, read_table
from gsbench.store.webp import decode_over_white


@dataclass(frozen=True, slots=True)
class Subject:
    """One object of a data folder.

    Attributes:
        object_id: its id.
        split: that it is in.
        gaussians: as they are stored.
        order: their stored furthest-point order.
        psnr: of the Gaussians on held-out views, dB, as stored.
        provenance: data set, version, object, Gaussians and PSNR in words.
    """

    object_id: str
    split: str
    gaussians: Gaussians
    order: Int[Array, " m"]
    psnr: float
    provenance: str


@dataclass(frozen=True, slots=True)
class Shots:
    """The stored views of an object.

    Attributes:
        images: `[v h w 3]` over white.
        cameras: that took them.
        positions: `[v]` places on the rig.
    """

    images: UInt8[Array, "v h w 3"]
    cameras: Cameras
    positions: Int[Array, " v"]


def open_subject(folder: Folder, object_id: str, why: str = "") -> Subject:
    """Reads an object's Gaussians and what the data set says of them.

    Args:
        folder: an open data folder.
        object_id: of either split.
        why: this one, in words for the caption; empty where it was asked for.

    Raises:
        InputError: the folder has no Gaussians or no such object, or a shard is missing or damaged.
    """
    manifest = folder.manifest
    gaussians = load_object(folder, object_id)
    split, row = _rows_of(folder, "gaussians", object_id, ["fps_order", "psnr"])
    psnr, degree = float(row["psnr"][0].as_py()), sh_degree_of(gaussians.sh.shape[1])
    chosen = f", {why}" if why else ""
    provenance = (
        f"{manifest.name} {manifest.version} ({manifest.fingerprint()[:8]}), {object_id} of the {split} split{chosen}: "
        f"{len(gaussians):,} Gaussians, SH degree {degree}, {psnr:.1f} dB PSNR on held-out views."
    )
    return Subject(object_id, split, gaussians, np.array(ragged(row["fps_order"])[0]), psnr, provenance)


def choose_subject(folder: Folder, object_id: str | None, like: str) -> Subject:
    """The object that was asked for, or a typical one of the class `like`."""
    return open_subject(folder, *(typical_object(folder, like) if object_id is None else (object_id,)))


def typical_object(folder: Folder, like: str) -> tuple[str, str]:
    """The test object whose PSNR is the median of its class, and that in words: nothing is picked by eye.

    Args:
        folder: an open data folder with Gaussians.
        like: a class; where the data set lacks it, the first class stands in.
    """
    label, ids = objects_like(folder, like)
    table = read_table(folder, "gaussians", "test", ["object_id", "psnr"])
    psnr = dict(zip(table["object_id"].to_pylist(), table["psnr"].to_pylist(), strict=True))
    ranked = sorted(ids, key=lambda object_id: (psnr[object_id], object_id))
    return ranked[(len(ranked) - 1) // 2], f"the {label} of median PSNR"


def objects_like(folder: Folder, like: str) -> tuple[str, list[str]]:
    """A class and its test objects, sorted: `like`, or the first class where the data set lacks that."""
    labels = read_labels(folder, "test")
    wanted = like if like in labels.values() else min(labels.values())
    return wanted, [object_id for object_id, label in labels.items() if label == wanted]


def open_shots(folder: Folder, object_id: str) -> Shots:
    """Reads the stored views of an object.

    Raises:
        InputError: the folder has no views of it, or a shard or an image is damaged.
    """
    _, table = _rows_of(folder, "views", object_id, ["view", "image", "viewmat", "K"])
    table = table.sort_by("view")
    images = []
    for number, image in zip(table["view"].to_pylist(), table["image"].to_pylist(), strict=True):
        try:
            images.append(decode_over_white(image["bytes"] or b"")[1])
        except InputError as error:
            raise InputError(f"{folder.path}: view {number} of {object_id}: {error}") from None
    height, width = images[0].shape[:2]
    matrices = (np.array(ragged(table[name], inner)[0], np.float32) for name, inner in (("viewmat", (4,)), ("K", (3,))))
    viewmats, Ks = (values.reshape(len(images), -1, values.shape[-1]) for values in matrices)
    return Shots(np.stack(images), Cameras(viewmats, Ks, width, height), as_numpy(table["view"]))


def _rows_of(folder: Folder, config: str, object_id: str, columns: Sequence[str]) -> tuple[str, pa.Table]:
    """The split of an object and its rows of a config."""
    found = find_rows(folder, config, object_id, ["object_id", *columns])
    if found is None:
        raise InputError(f"{folder.path}: config {config} has nothing of '{object_id}'")
    return found
