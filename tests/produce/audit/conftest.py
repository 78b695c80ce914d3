"""Folders of meshes with known faults, made from the procedural shapes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gsbench.core.types import Mesh
from gsbench.meshes.off import save_off
from gsbench.meshes.shapes import make_shape

Put = Callable[[str, Mesh], Path]


@pytest.fixture(scope="session")
def chair() -> Mesh:
    """A shape without any symmetry under quarter turns."""
    return make_shape("chair", 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "meshes"


@pytest.fixture
def put(folder: Path) -> Put:
    """Writes a mesh to `<label>/<split>/<object_id>` below the folder."""

    def write(place: str, mesh: Mesh) -> Path:
        path = folder / f"{place}.off"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_off(path, mesh)
        return path

    return write


def permuted(mesh: Mesh) -> Mesh:
    """The same triangles: vertices and faces in another order, faces begun at another corner."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(mesh.vertices))
    rank = np.argsort(order).astype(np.int32)
    shifts = rng.integers(0, 3, (len(mesh.faces), 1))
    faces = np.take_along_axis(rank[mesh.faces], (np.arange(3) + shifts) % 3, axis=1)
    return Mesh(mesh.vertices[order], faces[rng.permutation(len(faces))])


def rewound(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces[:, ::-1].copy())


def moved(mesh: Mesh, quarters: int = 0, scale: float = 1.0, shift: float = 0.0) -> Mesh:
    x, y, z = mesh.vertices.T
    turned = np.stack([[x, y, z], [-y, x, z], [-x, -y, z], [y, -x, z]][quarters], axis=1)
    return Mesh((scale * turned + shift).astype(np.float32), mesh.faces)


def subdivided(mesh: Mesh) -> Mesh:
    """Every triangle cut into four at the middles of its edges, without shared vertices."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    corners = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    return Mesh(corners.reshape(-1, 3).astype(np.float32), np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3))
