"""Distances to a surface, against every triangle in turn."""

import numpy as np
import pytest

from gsbench.core.types import Mesh
from gsbench.meshes.distance import make_surface
from gsbench.meshes.shapes import make_shape


def to_segments(points, a, b):
    along = b - a
    length = (along**2).sum(-1)
    t = ((points[:, None] - a) * along).sum(-1) / np.where(length > 0, length, 1)
    nearest = a + np.clip(t, 0, 1)[..., None] * along
    return np.linalg.norm(points[:, None] - nearest, axis=-1)


def brute_force(mesh: Mesh, points):
    """Distance to all edges, and to the planes of the triangles that the points stand over."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    points = points.astype(np.float64)
    distances = np.minimum.reduce([to_segments(points, *edge) for edge in ((a, b), (b, c), (c, a))])
    normals = np.cross(b - a, c - a)
    sizes = np.linalg.norm(normals, axis=1)
    units = normals / np.where(sizes > 0, sizes, 1)[:, None]
    over = sizes > 0
    for start, end in ((a, b), (b, c), (c, a)):
        over = over & ((np.cross(end - start, points[:, None] - start) * units).sum(-1) >= 0)
    heights = np.abs(((points[:, None] - a) * units).sum(-1))
    return np.where(over, np.minimum(heights, distances), distances).min(1)


def soup(faces: int, size: float) -> Mesh:
    """Loose triangles; `size` says how much they overlap."""
    rng = np.random.default_rng(faces)
    corners = rng.uniform(-1, 1, (faces, 1, 3)) + size * rng.normal(size=(faces, 3, 3))
    return Mesh(corners.reshape(-1, 3).astype(np.float32), np.arange(3 * faces, dtype=np.int32).reshape(-1, 3))


@pytest.mark.parametrize(
    "mesh",
    [soup(1, 1), soup(4, 1), soup(5, 0.5), soup(300, 0.05), soup(129, 2), make_shape("chair", 3)],
    ids=["one", "a leaf", "two leaves", "small ones", "overlapping ones", "chair"],
)
def test_every_triangle_in_turn_gives_the_same(mesh):
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.uniform(-2, 2, (100, 3)), mesh.vertices[:50], rng.uniform(-40, 40, (20, 3))])
    found = make_surface(mesh).distances(points)
    np.testing.assert_allclose(found, brute_force(mesh, points), rtol=1e-7, atol=1e-9)


def test_a_point_of_the_surface_is_at_no_distance():
    mesh = make_shape("toilet", 2)
    weights = np.random.default_rng(0).dirichlet([1, 1, 1], len(mesh.faces))
    points = (mesh.vertices[mesh.faces].astype(np.float64) * weights[:, :, None]).sum(1)
    assert make_surface(mesh).distances(points).max() < 1e-7


@pytest.mark.parametrize(
    "corners", [[[0, 0, 0]] * 3, [[0, 0, 0], [2, 0, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 0], [2, 0, 0]]]
)
def test_triangles_without_area_are_segments_or_points(corners):
    mesh = Mesh(np.array(corners, np.float32), np.array([[0, 1, 2]], np.int32))
    distances = make_surface(mesh).distances(np.array([[0.0, 3, 4], [3, 0, 0]]))
    end = max(corner[0] for corner in corners)
    np.testing.assert_allclose(distances, [5, 3 - end])


def test_distances_do_not_depend_on_the_order_of_faces():
    mesh = soup(200, 0.2)
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    shuffled = Mesh(mesh.vertices, np.random.default_rng(2).permutation(mesh.faces))
    assert (make_surface(mesh).distances(points) == make_surface(shuffled).distances(points)).all()


def test_a_mesh_without_faces_is_refused():
    with pytest.raises(ValueError, match="the mesh has no faces"):
        make_surface(Mesh(np.zeros((3, 3), np.float32), np.zeros((0, 3), np.int32)))
