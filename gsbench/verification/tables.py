"""What must hold for the values of each config, checked on one table at a time."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float

from gsbench.store.arrays import ragged, rows_of
from gsbench.store.schema import MAX_FPS_ORDER, Schema
from gsbench.types import Array
from gsbench.verification.findings import Finding, first_row, first_value
from gsbench.verification.images import check_reconstructions, check_views

# Stored floats may be rounded to 8 mantissa bits: a relative error of 2^-9.
_UNIT_TOLERANCE = 2e-3
_SPHERE_TOLERANCE = 2e-3
_LARGEST_MEAN_SCALE = 0.5


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
    yield from first_row((labels < 0) | (labels >= len(schema.classes)), "label", "is no index of a class")
    checks = {
        "gaussians": _check_gaussians,
        "points": _check_points,
        "views": check_views,
        "reconstructions": check_reconstructions,
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
    yield from first_row(counts < 1, "num_gaussians", "is below 1")
    for name in ("means", "quats", "scales", "opacities", "sh"):
        lengths = pc.list_value_length(table[name]).to_numpy()
        yield from first_row(lengths != counts, name, "differs in length from num_gaussians")
    scales = ragged(table["scales"], (3,))
    yield from first_value(ragged(table["quats"], (4,)), _not_unit, "quats", "has a quaternion that is not unit")
    yield from first_value(scales, _not_positive, "scales", "has a scale <= 0 (scales are linear, no logarithms)")
    yield from _check_mean_scales(*scales)
    opacities = ragged(table["opacities"])
    yield from first_value(opacities, _outside_01, "opacities", "leaves 0..1 (opacities are linear, no logits)")
    for row, (means, order) in enumerate(zip(rows_of(table["means"], (3,)), rows_of(table["fps_order"]), strict=True)):
        if means is not None and order is not None and (what := _order_fault(means, order)):
            yield Finding(row, "fps_order", what)
            break
    for name in ("psnr", "ssim"):
        yield from first_row(~np.isfinite(table[name].to_numpy()), name, "is not finite")
    yield from first_row(np.abs(table["ssim"].to_numpy()) > 1, "ssim", "leaves -1..1")
    is_digest = pc.match_substring_regex(table["mesh_sha256"], "^[0-9a-f]{64}$").to_numpy()
    yield from first_row(~is_digest, "mesh_sha256", "is no sha256")


def _check_mean_scales(scales: Float[Array, "n 3"], offsets: Array) -> Iterator[Finding]:
    sums = np.append(np.cumsum(scales.mean(1, dtype=np.float64)), 0)  # behind the last stands what is before the first
    means = (sums[offsets[1:] - 1] - sums[offsets[:-1] - 1]) / np.maximum(np.diff(offsets), 1)
    what = f"has a mean above {_LARGEST_MEAN_SCALE}, no scales of parts of an object inside the unit sphere"
    yield from first_row(means > _LARGEST_MEAN_SCALE, "scales", what)


def _check_points(table: pa.Table) -> Iterator[Finding]:
    points, normals = ragged(table["points"], (3,)), ragged(table["normals"], (3,))
    lengths, normal_lengths = np.diff(points[1]), np.diff(normals[1])
    yield from first_row(lengths < 1, "points", "has no points")
    missing = table["normals"].is_null().to_numpy()
    yield from first_row(~missing & (lengths != normal_lengths), "normals", "differs in length from points")
    yield from first_value(normals, _not_unit, "normals", "has a normal that is not unit")
    yield from first_value(points, _outside_sphere, "points", "leaves the unit sphere")
    for row, cloud in enumerate(rows_of(table["points"], (3,))):
        if cloud is not None and not _is_furthest_first(cloud, np.arange(len(cloud))):
            yield Finding(row, "points", "is not in furthest-point order")
            break


def _order_fault(means: Float[Array, "n 3"], order: Array) -> str | None:
    if len(order) != min(len(means), MAX_FPS_ORDER):
        return f"has {len(order)} entries, not {min(len(means), MAX_FPS_ORDER)}"
    if len(order) and not (order.min() >= 0 and order.max() < len(means)):
        return "leaves the range of the Gaussians"
    if len(np.unique(order)) != len(order):
        return "names a Gaussian twice"
    return None if _is_furthest_first(means, order) else "is not a furthest-point order of the means"


def _is_furthest_first(points: Float[Array, "n 3"], order: Array) -> bool:
    from gsbench.verification.order_kernels import first_breach  # here, since numba takes .4 s to load

    x, y, z = np.ascontiguousarray(points.T, np.float32)
    return bool(first_breach(x, y, z, order.astype(np.int64)) < 0)


def _not_unit(vectors: Float[Array, "n d"]) -> Bool[Array, " n"]:
    return np.abs(np.linalg.norm(vectors.astype(np.float32), axis=1) - 1) > _UNIT_TOLERANCE


def _not_positive(scales: Float[Array, "n 3"]) -> Bool[Array, " n"]:
    return (scales <= 0).any(axis=1)


def _outside_01(values: Float[Array, " n"]) -> Bool[Array, " n"]:
    return (values < 0) | (values > 1)


def _outside_sphere(points: Float[Array, "n 3"]) -> Bool[Array, " n"]:
    return np.linalg.norm(points, axis=1) > 1 + _SPHERE_TOLERANCE
