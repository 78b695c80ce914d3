"""Milliseconds of the furthest-point order of 100,000 points to 2,048, beside the loop that most code has for it."""

import numpy as np
import pytest
from jaxtyping import Float32, Int64

from gsbench.core.types import Array
from gsbench.meshes.shapes import make_shape
from gsbench.meshes.surface import fps_order, sample_surface

pytestmark = pytest.mark.slow

POINTS, COUNT = 100_000, 2048


def naive_fps(points: Float32[Array, "n 3"], count: int, start: int) -> Int64[Array, " m"]:
    """One pass over all points for each that is taken."""
    order = np.empty(count, np.int64)
    nearest = np.full(len(points), np.inf, np.float32)
    order[0] = start
    for taken in range(1, count):
        step = points - points[order[taken - 1]]
        np.minimum(nearest, (step**2).sum(1), out=nearest)
        order[taken] = nearest.argmax()
    return order


@pytest.mark.parametrize("method", ["fps_order", "numpy"])
def test_furthest_point_order(benchmark, method):
    size = POINTS if benchmark.enabled else POINTS // 100
    points, _ = sample_surface(make_shape("chair", 1), size, 0)
    count = min(COUNT, size // 4)
    if method == "numpy":
        start = int(fps_order(points, 1)[0])
        order = benchmark.pedantic(naive_fps, (points, count, start), rounds=3)
    else:
        order = benchmark.pedantic(fps_order, (points, count), rounds=10, warmup_rounds=1)
    assert (order == naive_fps(points, count, int(order[0]))).all()
