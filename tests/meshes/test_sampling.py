"""Surface points are uniform by area and lie on the surface; the furthest-point order is the definition's."""

import numpy as np
import pytest

from gsbench.core.types import Mesh
from gsbench.meshes.surface import fps_order, sample_surface

# Two right triangles in different planes: areas 8 and 1/2, the third has none.
VERTICES = np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0], [0, 0, 1], [1, 0, 1], [1, 0, 2]], np.float32)
TRIANGLES = Mesh(VERTICES, np.array([[0, 1, 2], [3, 4, 4], [3, 4, 5]], np.int32))


def _naive_order(points: np.ndarray, start: int, count: int) -> list[int]:
    nearest = np.full(len(points), np.inf, np.float32)
    order = [start]
    while len(order) < count:
        offset = points - points[order[-1]]
        nearest = np.minimum(nearest, (offset * offset).sum(1))
        order.append(int(nearest.argmax()))
    return order


def test_points_lie_on_their_faces_in_proportion_to_area() -> None:
    count = 20_000
    points, normals = sample_surface(TRIANGLES, count, seed=1)
    assert points.shape == normals.shape == (count, 3)
    assert points.dtype == normals.dtype == np.float32
    flat = np.abs(normals[:, 2]) == 1
    assert (points[flat, 2] == 0).all()
    assert (points[flat, :2] >= 0).all()
    assert (points[flat, :2].sum(1) <= 4 + 1e-5).all()
    assert np.allclose(normals[~flat], [0, -1, 0])
    # Binomial with p = 8 / 8.5: five standard deviations.
    assert abs(flat.mean() - 8 / 8.5) < 5 * np.sqrt(8 / 8.5 * 0.5 / 8.5 / count)
    # Uniform in the triangle: mean 4/3, variance 16/18.
    assert np.abs(points[flat, :2].mean(0) - 4 / 3).max() < 5 * np.sqrt(16 / 18 / count)


def test_seeds_decide_the_points() -> None:
    first, again, other = (sample_surface(TRIANGLES, 100, seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_surface_without_area_is_refused() -> None:
    with pytest.raises(ValueError, match="area of all faces is 0"):
        sample_surface(Mesh(VERTICES, np.array([[3, 4, 4]], np.int32)), 10, seed=0)
    with pytest.raises(ValueError, match="count is 0"):
        sample_surface(TRIANGLES, 0, seed=0)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 127, 128, 129, 1500])
def test_order_is_exact(size: int) -> None:
    points = np.random.default_rng(size).standard_normal((size, 3)).astype(np.float32)
    order = fps_order(points, 4096)
    assert order.dtype == np.int32
    assert order.tolist() == _naive_order(points, int(order[0]), size)


def test_a_shorter_order_is_a_prefix_and_repeats() -> None:
    points = np.random.default_rng(0).standard_normal((3000, 3)).astype(np.float32)
    np.testing.assert_array_equal(fps_order(points, 100), fps_order(points, 1000)[:100])
    np.testing.assert_array_equal(fps_order(points, 1000), fps_order(points.copy(), 1000))


@pytest.mark.parametrize("copies", [2, 300])
def test_points_that_coincide_come_last_and_once(copies: int) -> None:
    distinct = np.random.default_rng(0).standard_normal((600 // copies, 3)).astype(np.float32)
    points = np.tile(distinct, (copies, 1))
    order = fps_order(points, 4096)
    assert sorted(order.tolist()) == list(range(600))
    assert len(np.unique(points[order[: len(distinct)]], axis=0)) == len(distinct)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        fps_order(np.array([[0, 0, np.nan], [1, 0, 0]]), 1)
    with pytest.raises(ValueError, match="5 of 0 points"):
        fps_order(np.zeros((0, 3)), 5)
