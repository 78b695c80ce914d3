"""Planted twins are found, told apart by how alike they are, and nothing else is."""

import dataclasses

import numpy as np
import pytest

from gsbench.core.types import Mesh
from gsbench.meshes.shapes import make_shape
from gsbench.produce.audit import audit, join
from gsbench.produce.audit.pairs import NEAR_DUPLICATE, SAME_SURFACE
from tests.produce.audit.conftest import moved, permuted, rewound, subdivided


def with_repeats(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices, np.concatenate([mesh.faces, mesh.faces[::3], mesh.faces[::5, ::-1]]))


def with_unused(mesh: Mesh) -> Mesh:
    far = np.array([[9, 9, 9], [0, 0, 0]], np.float32)
    return Mesh(np.concatenate([far, mesh.vertices]), mesh.faces + np.int32(2))


def unwelded(mesh: Mesh) -> Mesh:
    corners = mesh.vertices[mesh.faces].reshape(-1, 3)
    return Mesh(corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3))


def bent(mesh: Mesh, size: float) -> Mesh:
    """A smooth change of the shape by up to `size` radii that leaves its box and its radius nearly alone."""
    x, y, z = mesh.vertices.astype(np.float64).T
    radius = np.linalg.norm(np.ptp(mesh.vertices, axis=0)) / 2
    span = (z - z.min()) / np.ptp(z)
    return Mesh(np.stack([x + size * radius * np.sin(np.pi * span), y, z], 1).astype(np.float32), mesh.faces)


SAME_TRIANGLES = {
    "permuted": permuted,
    "re-wound": rewound,
    "with repeated faces": with_repeats,
    "with unused vertices": with_unused,
    "not welded": unwelded,
    "all of it": lambda mesh: with_unused(with_repeats(permuted(rewound(unwelded(mesh))))),
}
SAME_SURFACE_ONLY = {
    "turned once": lambda mesh: moved(mesh, 1),
    "turned twice": lambda mesh: moved(mesh, 2),
    "turned three times": lambda mesh: moved(mesh, 3),
    "scaled": lambda mesh: moved(mesh, scale=0.0254),
    "moved": lambda mesh: moved(mesh, shift=7.7),
    "remeshed": subdivided,
    "all of it": lambda mesh: moved(rewound(subdivided(mesh)), 3, 39.37, -5),
}


def found(folder):
    """An audit that must not depend on its own defects' lists."""
    return audit(folder, workers=1)


def test_a_renamed_copy_has_the_same_file(folder, put, chair):
    put("chair/train/chair_1", chair)
    put("sofa/test/sofa_7", chair)
    result = found(folder)
    (group,) = result.identical_files.values()
    assert group == ("chair_1", "sofa_7")
    assert list(result.identical_geometry.values()) == [group]
    assert result.same_surface == (group,)
    assert result.near_duplicates == ()
    assert result.across_classes == dict.fromkeys(("files", "surfaces", "near"), (group,))
    assert result.leaked == dict.fromkeys(("files", "surfaces", "near"), ("sofa_7",))


@pytest.mark.parametrize("change", SAME_TRIANGLES.values(), ids=SAME_TRIANGLES)
def test_the_same_triangles_in_other_words(folder, put, chair, change):
    put("chair/train/chair_1", chair)
    put("chair/test/chair_2", change(chair))
    result = found(folder)
    assert result.identical_files == {}
    assert list(result.identical_geometry.values()) == [("chair_1", "chair_2")]
    assert result.same_surface == (("chair_1", "chair_2"),)
    assert result.leaked == {"files": (), "surfaces": ("chair_2",), "near": ("chair_2",)}
    assert set(result.across_classes.values()) == {()}


@pytest.mark.parametrize("change", SAME_SURFACE_ONLY.values(), ids=SAME_SURFACE_ONLY)
def test_the_same_surface_turned_scaled_or_remeshed(folder, put, chair, change):
    put("chair/train/chair_1", chair)
    put("chair/train/chair_2", change(chair))
    result = found(folder)
    assert result.identical_geometry == {}
    (pair,) = result.near_duplicates
    assert (pair.one, pair.other) == ("chair_1", "chair_2")
    assert pair.mean <= pair.distance < 2e-6
    assert result.same_surface == (("chair_1", "chair_2"),)
    assert set(result.leaked.values()) == {()}


@pytest.mark.parametrize("quarters", range(4))
def test_the_turn_brings_the_first_onto_the_other(folder, put, chair, quarters):
    put("chair/train/chair_1", moved(chair, scale=2))
    put("chair/train/chair_2", moved(chair, quarters))
    (pair,) = found(folder).near_duplicates
    assert pair.quarters == quarters


def test_a_small_change_is_a_near_duplicate_of_about_its_size(folder, put, chair):
    put("chair/train/chair_1", chair)
    put("chair/test/chair_2", bent(chair, 0.008))
    result = found(folder)
    (pair,) = result.near_duplicates
    assert SAME_SURFACE < 0.002 < pair.distance < 0.01 < NEAR_DUPLICATE
    assert pair.mean < pair.distance
    assert result.same_surface == ()
    assert result.leaked == {"files": (), "surfaces": (), "near": ("chair_2",)}


@pytest.mark.parametrize(
    "change",
    [lambda mesh: bent(mesh, 0.08), lambda mesh: Mesh(mesh.vertices * np.float32([1, 1.15, 1]), mesh.faces)],
    ids=["bent", "stretched"],
)
def test_a_larger_change_is_another_shape(folder, put, chair, change):
    put("chair/train/chair_1", chair)
    put("chair/test/chair_2", change(chair))
    result = found(folder)
    assert result.near_duplicates == result.same_surface == ()


def test_a_mirror_image_is_another_shape(folder, put):
    """An L-shaped block: no quarter turn brings its mirror image onto it."""
    outline = np.array([[0, 0], [3, 0], [3, 1], [1, 1], [1, 2], [0, 2]], np.float32)
    rings = np.concatenate([np.c_[outline, np.full(6, z)] for z in (0, 1)]).astype(np.float32)
    side = [[i, (i + 1) % 6, i + 6] for i in range(6)] + [[(i + 1) % 6, (i + 1) % 6 + 6, i + 6] for i in range(6)]
    lid = [[0, 1, 3], [1, 2, 3], [0, 3, 5], [3, 4, 5]]
    faces = np.array(side + lid + [[a + 6, b + 6, c + 6] for a, b, c in lid], np.int32)
    put("sofa/train/sofa_1", Mesh(rings, faces))
    put("sofa/train/sofa_2", Mesh(rings * np.float32([-1, 1, 1]), faces))
    put("sofa/train/sofa_3", moved(Mesh(rings, faces), 3))
    assert [(pair.one, pair.other) for pair in found(folder).near_duplicates] == [("sofa_1", "sofa_3")]


def test_twins_of_twins(folder, put, chair):
    """One object stands for its copies in the pairs; groups and leaks name them all."""
    put("chair/train/a", chair)
    put("chair/test/b", chair)
    put("sofa/test/c", permuted(chair))
    put("bed/test/d", subdivided(chair))
    put("bed/test/e", bent(chair, 0.008))
    put("bed/train/f", make_shape("bed", 1))
    result = found(folder)
    assert [set(group) for group in result.identical_files.values()] == [{"a", "b"}]
    assert list(result.identical_geometry.values()) == [("a", "b", "c")]
    assert result.same_surface == (("a", "b", "c", "d"),)
    assert [(pair.one, pair.other) for pair in result.near_duplicates] == [("a", "d"), ("a", "e"), ("d", "e")]
    assert result.leaked == {"files": ("b",), "surfaces": ("b", "c", "d"), "near": ("b", "c", "d", "e")}
    assert result.across_classes == {
        "files": (), "surfaces": (("a", "b", "c", "d"),), "near": (("a", "b", "c", "d", "e"),),
    }  # fmt: skip


def test_twins_within_a_split_do_not_leak(folder, put, chair):
    put("chair/test/a", chair)
    put("chair/test/b", chair)
    put("bed/train/c", make_shape("bed", 1))
    assert set(found(folder).leaked.values()) == {()}


def test_near_is_not_passed_on_to_leaks(folder, put, chair):
    """a - b - c, each near the next: c is no near duplicate of a, and only b has leaked."""
    for name, size in (("train/a", 0.0), ("test/b", 0.024), ("test/c", 0.048)):
        put(f"chair/{name}", bent(chair, size))
    result = found(folder)
    assert [(pair.one, pair.other) for pair in result.near_duplicates] == [("a", "b"), ("b", "c")]
    assert result.leaked["near"] == ("b",)


def test_symmetric_shapes_take_the_first_turn(folder, put):
    table = make_shape("table", 4)
    square = Mesh(np.concatenate([moved(table, k).vertices for k in range(4)]), np.concatenate(
        [table.faces + np.int32(k * len(table.vertices)) for k in range(4)]))  # fmt: skip
    put("table/train/a", square)
    put("table/train/b", moved(square, scale=3))
    (pair,) = found(folder).near_duplicates
    assert pair.quarters == 0


def test_join():
    assert join([]) == []
    assert join([("b",), ("a",)]) == []
    assert join([("d", "c"), ("a", "b"), ("b", "c"), ("x", "y")]) == [("a", "b", "c", "d"), ("x", "y")]


def test_pairs_are_symmetric_in_distance(folder, put, chair):
    put("chair/train/a", chair)
    put("chair/train/b", bent(chair, 0.01))
    (one,) = found(folder).near_duplicates
    (folder / "chair/train/a.off").rename(folder / "chair/train/c.off")
    (other,) = found(folder).near_duplicates
    assert dataclasses.replace(other, one="a", other="b") == dataclasses.replace(one, quarters=other.quarters)
