"""What must hold for the values of each config beyond what every reader checks, one table at a time."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from gsbench.core.types import Array
from gsbench.produce.verification.images import check_reconstructions, check_views
from gsbench.store.arrays import ragged, rows_of
from gsbench.store.schema import Schema
from gsbench.store.values import Finding, check_values, first_row, first_value

_SPHERE_TOLERANCE = 2e-3
_LARGEST_MEAN_SCALE = 0.5


def check_table(schema: Schema, table: pa.Table) -> Iterator[Finding]:
    """Yields the first bad row of every column whose values break a promise of the data set.

    Args:
        schema: the config's.
        table: all columns of some rows of it, with exactly the schema's Arrow types.
    """
    broken = list(check_values(schema, table))
    yield from broken
    if broken:
        return  # orders and cameras are those of sound values
    checks = {
        "gaussians": _check_gaussians,
        "points": _check_points,
        "views": check_views,
        "reconstructions": check_reconstructions,
    }
    yield from checks[schema.config](table)


def _check_gaussians(table: pa.Table) -> Iterator[Finding]:
    yield from _check_mean_scales(*ragged(table["scales"], (3,)))
    for row, (means, order) in enumerate(zip(rows_of(table["means"], (3,)), rows_of(table["fps_order"]), strict=True)):
        if means is not None and order is not None and not _is_furthest_first(means, order):
            yield Finding(row, "fps_order", "is not a furthest-point order of the means")
            break


def _check_mean_scales(scales: Float[Array, "n 3"], offsets: Array) -> Iterator[Finding]:
    sums = np.append(np.cumsum(scales.mean(1, dtype=np.float64)), 0)  # behind the last stands what is before the first
    means = (sums[offsets[1:] - 1] - sums[offsets[:-1] - 1]) / np.maximum(np.diff(offsets), 1)
    what = f"has a mean above {_LARGEST_MEAN_SCALE}, no scales of parts of an object inside the unit sphere"
    yield from first_row(means > _LARGEST_MEAN_SCALE, "scales", what)


def _check_points(table: pa.Table) -> Iterator[Finding]:
    yield from first_value(ragged(table["points"], (3,)), _outside_sphere, "points", "leaves the unit sphere")
    for row, cloud in enumerate(rows_of(table["points"], (3,))):
        if cloud is not None and not _is_furthest_first(cloud, np.arange(len(cloud))):
            yield Finding(row, "points", "is not in furthest-point order")
            break


def _is_furthest_first(points: Float[Array, "n 3"], order: Array) -> bool:
    from gsbench.produce.verification.order_kernels import first_breach  # here, since numba takes .4 s to load

    x, y, z = np.ascontiguousarray(points.T, np.float32)
    return bool(first_breach(x, y, z, order.astype(np.int64)) < 0)


def _outside_sphere(points: Float[Array, "n 3"]) -> Bool[Array, " n"]:
    return np.linalg.norm(points, axis=1) > 1 + _SPHERE_TOLERANCE
