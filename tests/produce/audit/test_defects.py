"""Planted defects are found, counted as they were planted, and a sound mesh has none."""

import numpy as np
import pytest

from gsbench.core.types import Mesh
from gsbench.meshes.shapes import make_shape
from gsbench.meshes.split import MeshFile, mesh_sha256, official_ids
from gsbench.produce.audit import audit
from gsbench.produce.audit.objects import Edges, count_edges, inspect_mesh, reduce_mesh
from gsbench.store.origin import Known
from tests.produce.audit.conftest import moved, permuted, subdivided

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
QUADS = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
FACES = np.array([face for a, b, c, d in QUADS for face in ((a, b, c), (a, c, d))], np.int32)
BOX = Mesh(CUBE, FACES)


def with_faces(*extra, vertices=()) -> Mesh:
    more = np.array(vertices, np.float32).reshape(-1, 3)
    return Mesh(np.concatenate([CUBE, more]), np.concatenate([FACES, np.array(extra, np.int32).reshape(-1, 3)]))


def inspected(put, mesh: Mesh):
    return inspect_mesh(MeshFile("a", "bed", "train", put("bed/train/a", mesh)))


def test_a_box_is_sound(put):
    one = inspected(put, BOX)
    assert (one.unreadable, one.glued_header, one.finite, one.unused) == (None, False, True, (0, 0.0))
    assert (one.repeated_indices, one.zero_area, one.repeated_faces, one.edges) == (0, 0, 0, Edges(0, 0, 0))
    assert len(one.sha256) == len(one.geometry_sha256) == 64


@pytest.mark.parametrize(
    ("mesh", "repeated_indices", "zero_area", "repeated"),
    [
        (with_faces((0, 0, 1), (2, 3, 2), (5, 5, 5)), 3, 0, 0),
        (with_faces((0, 8, 1), vertices=[[0, 0, 0]]), 1, 0, 0),  # another vertex in the same place
        (with_faces((0, 8, 1), vertices=[[-0.0, 0, 0.5]]), 0, 1, 0),  # in the middle of an edge
        (with_faces((0, 8, 1), vertices=[[1e-7, 0, 0.5]]), 0, 1, 0),
        (with_faces(FACES[0], FACES[0, [2, 1, 0]], FACES[4, [1, 2, 0]]), 0, 0, 3),
        (with_faces((8, 1, 3), vertices=[[0, 0, 0]]), 0, 0, 1),
    ],
)
def test_faces_that_add_nothing(put, mesh, repeated_indices, zero_area, repeated):
    one = inspected(put, mesh)
    assert (one.repeated_indices, one.zero_area, one.repeated_faces) == (repeated_indices, zero_area, repeated)
    assert one.edges == Edges(0, 0, 0)
    assert one.geometry_sha256 == reduce_mesh(BOX).sha256()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_thin_faces_count_in_the_scale_of_the_mesh(scale):
    thin = with_faces((0, 8, 1), vertices=[[1e-4, 0, 0.5]])
    degenerate = with_faces((0, 8, 1), vertices=[[1e-7, 0, 0.5]])
    assert reduce_mesh(moved(thin, scale=scale)).zero_area == 0
    assert reduce_mesh(moved(degenerate, scale=scale)).zero_area == 1


@pytest.mark.parametrize(
    ("mesh", "edges"),
    [
        (Mesh(CUBE, FACES[:-1]), Edges(3, 0, 0)),
        (Mesh(CUBE, FACES[:-2]), Edges(4, 0, 0)),
        (Mesh(CUBE, np.concatenate([FACES[:1, ::-1], FACES[1:]])), Edges(0, 0, 3)),
        (Mesh(CUBE, FACES[:, ::-1].copy()), Edges(0, 0, 0)),
        (with_faces((0, 1, 8), vertices=[[-1, -1, 0.5]]), Edges(2, 1, 0)),
        # A face in both windings has no side to be wound against.
        (with_faces(FACES[0, ::-1]), Edges(0, 0, 0)),
        (Mesh(CUBE, np.concatenate([FACES[:1, ::-1], FACES])), Edges(0, 0, 0)),
    ],
)  # fmt: skip
def test_edges(mesh, edges):
    assert count_edges(reduce_mesh(mesh)) == edges
    assert count_edges(reduce_mesh(permuted(mesh))) == edges
    assert count_edges(reduce_mesh(subdivided(BOX))) == Edges(0, 0, 0)


def test_unused_vertices_are_counted_and_measured(put):
    inside = with_faces(vertices=[[0.5, 0.5, 0.5], [0.1, 0.2, 0.3]])
    assert inspected(put, inside).unused == (2, 0.0)
    far = with_faces(vertices=[[0.5, 0.5, 0.5], [-0.25, 1, 1], [0, 0, 1.66], [1.3, 1, 1]])
    count, outside = inspected(put, far).unused
    assert count == 4
    assert outside == pytest.approx(0.66)
    big = with_faces(vertices=[[-3, 0, 0]])
    assert inspected(put, moved(big, scale=5, shift=9)).unused == (1, pytest.approx(3))


BAD_FILES = {
    "empty": (b"", "not an OFF file", "unreadable"),
    "truncated": (b"OFF\n3 1 0\n0 0 0\n1 0 0\n", "truncated", "unreadable"),
    "binary": (b"OFF BINARY\n\0\0", "binary OFF", "unreadable"),
    "corner out of range": (b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "uses vertex 7", "unreadable"),
    "nan": (b"OFF\n3 1 0\n0 0 nan\n1 0 0\n0 1 0\n3 0 1 2\n", "vertex 0 is not finite", "not_finite"),
    "nan by Microsoft": (b"OFF\n3 1 0\n0 0 0\n1 0 0\n1 1 1.#QNAN\n3 0 1 2\n", "vertex 2 is not finite", "not_finite"),
    "infinite": (b"OFF\n3 1 0\n0 0 0\n1 inf 0\n0 1 0\n3 0 1 2\n", "vertex 1 is not finite", "not_finite"),
}


@pytest.mark.parametrize(("data", "reason", "kind"), BAD_FILES.values(), ids=BAD_FILES)
def test_files_that_are_no_mesh_are_told_and_the_rest_goes_on(folder, put, data, reason, kind):
    put("bed/train/a", BOX)
    put("bed/train/bad", BOX).write_bytes(data)
    put("bed/test/c", moved(BOX, scale=2))
    result = audit(folder, workers=1)
    assert list(result.unreadable) == ["bad"]
    assert reason in result.unreadable["bad"]
    assert str(folder) not in result.unreadable["bad"]
    assert result.not_finite == (("bad",) if kind == "not_finite" else ())
    assert result.leaked["surfaces"] == ("c",)
    assert (result.objects, result.watertight) == ({"train": 2, "test": 1}, 2)


def test_a_folder_in_place_of_a_file_is_passed_over(folder, put):
    put("bed/train/a", BOX)
    (folder / "bed/train/b.off").mkdir()
    assert audit(folder, workers=1).objects == {"train": 1, "test": 0}


def test_glued_headers_are_listed(folder, put):
    path = put("bed/train/a", BOX)
    path.write_bytes(path.read_bytes().replace(b"OFF\n", b"OFF"))
    put("bed/train/b", BOX)
    result = audit(folder, workers=1)
    assert result.glued_header == ("a",)
    assert result.unreadable == {}
    assert list(result.identical_geometry.values()) == [("a", "b")]


def test_a_mesh_without_any_area(folder, put):
    put("bed/train/a", Mesh(np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], np.float32), np.array([[0, 1, 2]], np.int32)))
    put("bed/train/b", Mesh(np.ones((3, 3), np.float32), np.array([[0, 1, 2]], np.int32)))
    result = audit(folder, workers=1)
    assert result.no_surface == ("a", "b")
    assert result.zero_area == {"a": 1}
    assert result.repeated_indices == {"b": 1}
    assert result.identical_geometry == {}
    assert result.watertight == 0


def modelnet10s(monkeypatch, folder, *names):
    """Takes the files of that name for ModelNet10's."""
    known = {name: Known("-", "-", (mesh_sha256(next(folder.rglob(f"{name}.off"))),)) for name in names}
    monkeypatch.setattr("gsbench.produce.audit.known_objects", lambda _collection: known)


def test_objects_against_the_official_split(folder, put, monkeypatch):
    """Nine of ten files are ModelNet10's, so the folder is, and the rest is wrong."""
    shapes = [make_shape("bed", seed) for seed in range(22)]
    ids = official_ids("bed", "train")[:18]
    for name, shape in zip(ids, shapes, strict=False):
        put(f"bed/train/{name}", shape)
    put("sofa/train/bed_0019", shapes[18])
    put("bed/train/bed_0516", shapes[19])
    assert audit(folder, workers=1).official is None, "whatever they are called, these are other files"
    modelnet10s(monkeypatch, folder, *ids, "bed_0516")
    result = audit(folder, workers=1)
    assert result.official.wrong_class == ("bed_0019",)
    assert result.official.wrong_split == ("bed_0516",)
    assert result.official.unknown == ()
    assert len(result.official.missing) == 4899 - 20
    assert "bed_0020" in result.official.missing
    assert "bed_0019" not in result.official.missing
    put("bed/train/bed_9999", shapes[20])
    assert audit(folder, workers=1).official.unknown == ("bed_9999",)
    put("bed/train/bed_9998", shapes[21])
    (folder / "bed/train/bed_0001.off").unlink()
    assert audit(folder, workers=1).official is None


def test_pairs_that_are_identical_as_distributed(folder, put, chair, monkeypatch):
    put("desk/train/desk_0011", chair)
    put("table/train/table_0034", permuted(chair))
    put("desk/train/desk_0128", make_shape("desk", 1))
    modelnet10s(monkeypatch, folder, "desk_0011", "table_0034", "desk_0128")
    official = audit(folder, workers=1).official
    assert official.identical_files_found == (("desk_0011", "table_0034"),)
    assert len(official.identical_files_undetectable) == 7
    assert ("desk_0128", "table_0086") in official.identical_files_undetectable
