"""The world frame, on made meshes and on the real ones."""

from pathlib import Path

import numpy as np
import pytest

from gsbench.core.types import Mesh
from gsbench.meshes.load import load_mesh
from gsbench.meshes.split import list_meshes
from gsbench.meshes.surface import normalize


def _radii(mesh: Mesh) -> np.ndarray:
    return np.linalg.norm(mesh.vertices.astype(np.float64), axis=1)


def test_centers_the_box_and_puts_the_furthest_vertex_on_the_unit_sphere() -> None:
    corners = np.array([[0, 0, 0], [4, 0, 0], [0, 2, 0], [0, 0, 6]], np.float32)
    mesh = normalize(Mesh(corners, np.array([[0, 1, 2], [0, 1, 3]], np.int32)))
    expected = (corners - [2, 1, 3]) / np.sqrt(4 + 1 + 9)
    np.testing.assert_allclose(mesh.vertices, expected, atol=2e-7)
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 1, 3]]


def test_unused_vertices_neither_count_nor_stay() -> None:
    used = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    outlier = np.array([[900, 900, 900]], np.float32)
    mixed = np.concatenate([outlier, used[:2], outlier, used[2:], outlier])
    mesh = normalize(Mesh(mixed, np.array([[1, 2, 4]], np.int32)))
    alone = normalize(Mesh(used, np.array([[0, 1, 2]], np.int32)))
    np.testing.assert_array_equal(mesh.vertices, alone.vertices)
    assert mesh.faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("seed", range(20))
def test_shift_and_scale_of_the_file_do_not_matter_and_none_lies_outside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices = rng.standard_normal((60, 3)).astype(np.float32)
    faces = np.arange(60, dtype=np.int32).reshape(20, 3)
    mesh = normalize(Mesh(vertices, faces))
    moved = normalize(Mesh((vertices * 64 + [256, -512, 128]).astype(np.float32), faces))
    np.testing.assert_allclose(moved.vertices, mesh.vertices, atol=1e-5)
    assert 1 - 1e-6 < _radii(mesh).max() <= 1


def test_meshes_of_any_size_have_a_scale() -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    for factor in (1e-30, 1e30):
        assert _radii(normalize(Mesh(corners * np.float32(factor), np.array([[0, 1, 2]], np.int32)))).max() > 0.999


def test_a_mesh_without_extent_or_faces_is_refused() -> None:
    point = np.full((3, 3), 7, np.float32)
    with pytest.raises(ValueError, match="no extent"):
        normalize(Mesh(point, np.array([[0, 1, 2]], np.int32)))
    with pytest.raises(ValueError, match="no faces"):
        normalize(Mesh(point, np.zeros((0, 3), np.int32)))


@pytest.mark.modelnet
def test_every_real_mesh_loads_and_normalizes(modelnet10: Path) -> None:
    meshes = list_meshes(modelnet10)
    assert len({mesh.label for mesh in meshes}) == 10
    for file in meshes:
        mesh = normalize(load_mesh(file.path))
        assert 1 - 1e-6 < _radii(mesh).max() <= 1, file.object_id
        np.testing.assert_allclose(mesh.vertices.min(0), -mesh.vertices.max(0), atol=1e-6, err_msg=file.object_id)
        assert np.array_equal(np.unique(mesh.faces), np.arange(len(mesh.vertices))), file.object_id
