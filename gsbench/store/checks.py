"""What must hold for the values of each config, checked on one table at a time."""

import io
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float32, Int64

from gsbench.store.arrays import ragged, rows_of
from gsbench.store.schema import CAMERAS, MAX_FPS_ORDER, Schema
from gsbench.types import Array

# Stored floats may be rounded to 8 mantissa bits: a relative error of 2^-9.
_UNIT_TOLERANCE = 2e-3
_SPHERE_TOLERANCE = 2e-3
_ORTHONORMAL_TOLERANCE = 1e-4
# Enough of a furthest-point order to tell it from any other; the whole of it would take minutes on a large data set.
_FPS_CHECKED = 32


class Finding(NamedTuple):
    """A row of the table and a column of it that are wrong, and how."""

    row: int
    column: str
    what: str


def check_table(schema: Schema, table: pa.Table) -> Iterator[Finding]:
    """Yields the first bad row of every column whose values break a promise of the schema.

    Args:
        schema: the config's.
        table: rows of it, with exactly the schema's Arrow types.
    """
    broken = list(_check_shapes(schema, table))
    yield from broken
    if broken:
        return  # nothing below can be read as arrays
    labels = table["label"].to_numpy()
    yield from _first_row((labels < 0) | (labels >= len(schema.classes)), "label", "is no index of a class")
    checks = {
        "gaussians": _check_gaussians,
        "points": _check_points,
        "views": _check_views,
        "reconstructions": _check_reconstructions,
    }
    yield from checks[schema.config](table)


def _check_shapes(schema: Schema, table: pa.Table) -> Iterator[Finding]:
    """Finds arrays whose fixed dimensions differ from the schema's, and floats that are not finite."""
    for column in schema.columns:
        shape = schema.shape_of(column)
        if not shape or column.dtype == "string":
            continue
        lists = table[column.name].combine_chunks()
        owners = np.arange(len(lists))
        good = True
        for depth, want in enumerate(shape):
            lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
            if want is not None and (bad := (lengths != want) & lists.is_valid().to_numpy(zero_copy_only=False)).any():
                row = int(owners[bad.argmax()])
                yield Finding(row, column.name, f"has {lengths[bad.argmax()]} values in dimension {depth}, not {want}")
                good = False
                break
            owners = np.repeat(owners, lengths)
            lists = lists.flatten()
        if good and pa.types.is_floating(lists.type) and not (finite := np.isfinite(lists.to_numpy())).all():
            yield Finding(int(owners[finite.argmin()]), column.name, "is not finite")


def _check_gaussians(table: pa.Table) -> Iterator[Finding]:
    counts = table["num_gaussians"].to_numpy()
    yield from _first_row(counts < 1, "num_gaussians", "is below 1")
    for name in ("means", "quats", "scales", "opacities", "sh"):
        lengths = pc.list_value_length(table[name]).to_numpy()
        yield from _first_row(lengths != counts, name, "differs in length from num_gaussians")
    yield from _first_value(ragged(table["quats"], (4,)), _not_unit, "quats", "has a quaternion that is not unit")
    yield from _first_value(ragged(table["scales"], (3,)), _not_positive, "scales", "has a scale <= 0")
    yield from _first_value(ragged(table["opacities"]), _outside_01, "opacities", "leaves 0..1")
    for row, (means, order) in enumerate(zip(rows_of(table["means"], (3,)), rows_of(table["fps_order"]), strict=True)):
        if means is not None and order is not None and (what := _fps_fault(means, order)):
            yield Finding(row, "fps_order", what)
            break
    for name in ("psnr", "ssim"):
        yield from _first_row(~np.isfinite(table[name].to_numpy()), name, "is not finite")
    yield from _first_row(np.abs(table["ssim"].to_numpy()) > 1, "ssim", "leaves -1..1")
    is_digest = pc.match_substring_regex(table["mesh_sha256"], "^[0-9a-f]{64}$").to_numpy()
    yield from _first_row(~is_digest, "mesh_sha256", "is no sha256")


def _check_points(table: pa.Table) -> Iterator[Finding]:
    points, normals = ragged(table["points"], (3,)), ragged(table["normals"], (3,))
    lengths, normal_lengths = np.diff(points[1]), np.diff(normals[1])
    yield from _first_row(lengths < 1, "points", "has no points")
    missing = table["normals"].is_null().to_numpy()
    yield from _first_row(~missing & (lengths != normal_lengths), "normals", "differs in length from points")
    yield from _first_value(normals, _not_unit, "normals", "has a normal that is not unit")
    yield from _first_value(points, _outside_sphere, "points", "leaves the unit sphere")
    for row, cloud in enumerate(rows_of(table["points"], (3,))):
        if cloud is not None and not _is_fps(cloud, np.arange(min(len(cloud), _FPS_CHECKED))):
            yield Finding(row, "points", "is not in furthest-point order")
            break


def _check_views(table: pa.Table, mode: str = "RGBA") -> Iterator[Finding]:
    viewmats = ragged(table["viewmat"], (4,))[0].reshape(-1, 4, 4).astype(np.float64)
    rotations = viewmats[:, :3, :3]
    skew = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max((1, 2)) > _ORTHONORMAL_TOLERANCE
    rigid = ~skew & (np.linalg.det(rotations) > 0) & (viewmats[:, 3] == [0, 0, 0, 1]).all(1)
    yield from _first_row(~rigid, "viewmat", "is not a rotation and a translation")
    K = ragged(table["K"], (3,))[0].reshape(-1, 3, 3)
    sizes = [_image_size(image, mode) for image in table["image"].to_pylist()]
    yield from _first_row(np.array([size is None for size in sizes]), "image", f"is no {mode} WebP that can be decoded")
    # One camera rig takes all pictures of a data set.
    yield from _first_row(np.array([size != sizes[0] for size in sizes]), "image", f"differs in size from {sizes[0]}")
    width, height = np.array([size or (0, 0) for size in sizes]).T
    zeros = (K[:, 0, 1] == 0) & (K[:, 1, 0] == 0) & (K[:, 2] == [0, 0, 1]).all(1)
    inside = (K[:, 0, 2] > 0) & (K[:, 0, 2] < width) & (K[:, 1, 2] > 0) & (K[:, 1, 2] < height)
    sane = zeros & inside & (K[:, 0, 0] > 0) & (K[:, 1, 1] > 0)
    yield from _first_row(~sane, "K", "is no pinhole camera whose centre lies in the image")


def _check_reconstructions(table: pa.Table) -> Iterator[Finding]:
    yield from _check_views(table, "RGB")
    known = pc.is_in(table["cameras"], pa.array(CAMERAS)).to_numpy()
    yield from _first_row(~known, "cameras", f"is none of {', '.join(CAMERAS)}")
    yield from _first_row(~np.isfinite(table["psnr"].to_numpy()), "psnr", "is not finite")


def _image_size(image: dict[str, bytes | None], mode: str) -> tuple[int, int] | None:
    from PIL import Image  # takes .1 s, and most readers need none

    try:
        with Image.open(io.BytesIO(image["bytes"] or b""), formats=["WEBP"]) as decoded:
            decoded.load()
            return decoded.size if decoded.mode == mode else None
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for damaged files
        return None


def _fps_fault(means: Float32[Array, "n 3"], order: Array) -> str | None:
    if len(order) != min(len(means), MAX_FPS_ORDER):
        return f"has {len(order)} entries, not {min(len(means), MAX_FPS_ORDER)}"
    if len(order) and not (order.min() >= 0 and order.max() < len(means)):
        return "leaves the range of the Gaussians"
    if len(np.unique(order)) != len(order):
        return "names a Gaussian twice"
    return None if _is_fps(means, order[:_FPS_CHECKED]) else "is not a furthest-point order of the means"


def _is_fps(points: Float32[Array, "n 3"], order: Array) -> bool:
    """Whether each point of `order` is as far from those before it as any point is, up to rounding."""
    wide = points.astype(np.float64)
    nearest = np.full(len(wide), np.inf)
    for index, following in pairwise(order):
        np.minimum(nearest, ((wide - wide[index]) ** 2).sum(1), out=nearest)
        if nearest[following] < nearest.max() * (1 - 1e-5):
            return False
    return True


def _not_unit(vectors: Float32[Array, "n d"]) -> Bool[Array, " n"]:
    return np.abs(np.linalg.norm(vectors.astype(np.float32), axis=1) - 1) > _UNIT_TOLERANCE


def _not_positive(scales: Float32[Array, "n 3"]) -> Bool[Array, " n"]:
    return (scales <= 0).any(axis=1)


def _outside_01(values: Float32[Array, " n"]) -> Bool[Array, " n"]:
    return (values < 0) | (values > 1)


def _outside_sphere(points: Float32[Array, "n 3"]) -> Bool[Array, " n"]:
    return np.linalg.norm(points, axis=1) > 1 + _SPHERE_TOLERANCE


def _first_row(bad: Bool[Array, " b"], column: str, what: str) -> Iterator[Finding]:
    if bad.any():
        yield Finding(int(bad.argmax()), column, what)


def _first_value(
    values: tuple[Array, Int64[Array, " b_plus_1"]], is_bad: Callable[[Array], Array], column: str, what: str
) -> Iterator[Finding]:
    flat, offsets = values
    bad = is_bad(flat)
    if bad.any():
        yield Finding(int(np.searchsorted(offsets, bad.argmax(), side="right")) - 1, column, what)
