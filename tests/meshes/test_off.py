"""OFF in every form found in the wild, and every way in which a file can be wrong."""

import json
import logging
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from gsbench.core.parsing import InputError
from gsbench.core.types import Mesh
from gsbench.meshes.load import load_mesh
from gsbench.meshes.off import MAX_MESH_BYTES, NotFiniteError, has_glued_header, load_off, save_off

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
ROWS = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"
FAN = [[0, 1, 2], [0, 2, 3]]


def _rows(extra: str) -> str:
    return ROWS.replace("\n", f" {extra}\n")


FORMS = {
    "plain": ("OFF\n4 1 0\n" + ROWS + "4 0 1 2 3\n", FAN),
    "counts glued to the keyword": ("OFF4 1 0\n" + ROWS + "4 0 1 2 3\n", FAN),
    "counts behind the keyword": ("OFF 4 1 0\n" + ROWS + "4 0 1 2 3\n", FAN),
    "no edge count": ("OFF\n4 1\n" + ROWS + "4 0 1 2 3\n", FAN),
    "no edge count, glued": ("OFF4 1\n" + ROWS + "4 0 1 2 3", FAN),
    "counts on lines of their own": ("OFF\n4\n1\n0\n" + ROWS + "4 0 1 2 3", FAN),
    "lower case, byte order mark": ("\ufeffoff\n4 1 0\n" + ROWS + "4 0 1 2 3", FAN),
    "carriage returns": (("OFF\n4 1 0\n" + ROWS + "4 0 1 2 3\n").replace("\n", "\r\n"), FAN),
    "old Mac line ends": (("OFF\n4 1 0\n" + ROWS + "4 0 1 2 3\n").replace("\n", "\r"), FAN),
    "comments and blank lines": ("# a\n\nOFF # b\n4 1 0 # 9 9\n\n# c\n" + _rows("# d\n\n") + "\n4 0 1 2 3 # e\n", FAN),
    "all on one line": (("OFF 4 2 0 " + ROWS + "3 0 1 2 4 0 1 2 3").replace("\n", " "), [[0, 1, 2], *FAN]),
    "triangles": ("OFF\n4 2 0\n" + ROWS + "3 0 1 2\n3 0 2 3\n", FAN),
    "polygons of different size": (
        "OFF\n4 3 0\n" + ROWS + "3 1 2 3\n4 0 1 2 3\n3 0 1 3\n",
        [[1, 2, 3], *FAN, [0, 1, 3]],
    ),
    "points and edges dropped": ("OFF\n4 3 0\n" + ROWS + "1 0\n2 0 1\n3 0 1 2\n", [[0, 1, 2]]),
    "face colors": ("OFF\n4 2 0\n" + ROWS + "3 0 1 2 255 0 0\n3 0 2 3 0 255 0\n", FAN),
    "face colors with alpha": ("OFF\n4 2 0\n" + ROWS + "3 0 1 2 1 0 0 .5\n3 0 2 3 0 1 0 .5\n", FAN),
    "face color map index": ("OFF\n4 2 0\n" + ROWS + "3 0 1 2 7\n3 0 2 3 8\n", FAN),
    "colors on some faces": ("OFF\n4 2 0\n" + ROWS + "3 0 1 2 255 0 0\n3 0 2 3\n", FAN),
    "colors on polygons of different size": (
        "OFF\n4 2 0\n" + ROWS + "3 0 1 2 1 1 1\n4 0 1 2 3 1 1 1\n",
        [[0, 1, 2], *FAN],
    ),
    "COFF": ("COFF\n4 1 0\n" + _rows("255 0 0 255") + "4 0 1 2 3\n", FAN),
    "COFF without alpha": ("COFF\n4 1 0\n" + _rows("255 0 0") + "4 0 1 2 3\n", FAN),
    "vertex colors without the C": ("OFF\n4 1 0\n" + _rows(".1 .2 .3 1") + "4 0 1 2 3\n", FAN),
    "NOFF": ("NOFF\n4 1 0\n" + _rows("0 0 1") + "4 0 1 2 3\n", FAN),
    "CNOFF": ("CNOFF\n4 1 0\n" + _rows("0 0 1 9 9 9 9") + "4 0 1 2 3\n", FAN),
    "STOFF": ("STOFF\n4 1 0\n" + _rows(".5 .5") + "4 0 1 2 3\n", FAN),
    "STCNOFF": ("STCNOFF\n4 1 0\n" + _rows("0 0 1 9 9 9 9 .5 .5") + "4 0 1 2 3\n", FAN),
    "MeshLab's NCOFF": ("NCOFF\n4 1 0\n" + _rows("255 0 0 255 0 0 1 ") + "4 0 1 2 3\n", FAN),
    "MeshLab's NCSTOFF": ("NCSTOFF\n4 1 0\n" + _rows("255 0 0 255 0 0 1 .5 .5") + "4 0 1 2 3\n", FAN),
    "CSTOFF": ("CSTOFF\n4 1 0\n" + _rows("255 0 0 .5 .5") + "4 0 1 2 3\n", FAN),
    "NSTOFF, glued": ("NSTOFF4 1 0\n" + _rows("0 0 1 .5 .5") + "4 0 1 2 3\n", FAN),
    "two vertices a line": ("OFF\n4 1 0\n0 0 0 1 0 0\n1 1 0 0 1 0\n4 0 1 2 3\n", FAN),
    "one vertex, then three": ("OFF\n4 1 0\n0 0 0\n1 0 0 1 1 0 0 1 0\n4 0 1 2 3\n", FAN),
    "two vertices a line with normals": ("NOFF\n4 1 0\n" + _rows("0 0 1").replace("\n1", " 1") + "\n4 0 1 2 3\n", FAN),
    "two faces a line": ("OFF\n4 2 0\n" + ROWS + "3 0 1 2 3 0 2 3\n", FAN),
    "two vertices and two faces a line": ("OFF\n4 2 0\n0 0 0 1 0 0\n1 1 0 0 1 0\n3 0 1 2 3 0 2 3\n", FAN),
    "two vertices a line, hexagons": (
        "OFF\n4 2 0\n0 0 0 1 0 0\n1 1 0 0 1 0\n5 0 1 2 3 0\n5 0 1 2 3 0\n",
        [*FAN, [0, 3, 0], *FAN, [0, 3, 0]],
    ),
    "empty lines": ("OFF\n\n4 1 0\n\n" + ROWS.replace("\n", "\n\n") + "\n4 0 1 2 3\n\n", FAN),
    "comments at the start of a word": ("OFF #\n#1.#QNAN\n4 1 0 #4\n" + ROWS.replace("\n", " #5\n") + "4 0 1 2 3", FAN),
    "tabs and exponents": ("OFF\n4\t1\t0\n" + ROWS.replace(" ", "\t").replace("1", "1.0e+0") + "4\t0 1 2 3\n", FAN),
}

WRONG = {
    "empty": ("", "not an OFF file"),
    "another format": ("ply\nformat ascii 1.0\n", "not an OFF file"),
    "a word that begins with OFF": ("OFFICE 4 1 0\n", "not an OFF file"),
    "binary by name": ("OFF BINARY\n4 1 0\n", "binary"),
    "binary by content": ("OFF\n4 1 0\n\0\0\0\0", "binary"),
    "four dimensions": ("4OFF\n4 1 0\n", "3-D"),
    "n dimensions": ("nOFF\n3\n4 1 0\n", "3-D"),
    "no counts": ("OFF\n", "counts.*end of the file"),
    "counts that are no numbers": ("OFF\n4 x 0\n" + ROWS, "counts.*'4 x 0'"),
    "no vertices": ("OFF\n0 1 0\n3 0 1 2\n", "no vertices"),
    "no faces": ("OFF\n4 0 0\n" + ROWS, "no faces"),
    "negative counts": ("OFF\n-4 1 0\n" + ROWS, "no vertices"),
    "only edges": ("OFF\n4 1 0\n" + ROWS + "2 0 1\n", "no faces with three corners"),
    "vertices missing": ("OFF\n4 1 0\n0 0 0\n1 0 0\n", "truncated: 4 vertices announced, 2 found"),
    "announces the moon": ("OFF\n99999999999999 1 0\n" + ROWS, "truncated: 99999999999999 vertices"),
    "faces missing": ("OFF\n4 2 0\n" + ROWS + "3 0 1 2\n", "truncated: 2 faces announced, 1 found"),
    "all faces missing": ("OFF\n4 2 0\n" + ROWS, "truncated: 2 faces announced, 0 found"),
    "corners missing": ("OFF\n4 2 0\n" + ROWS + "3 0 1 2\n3 0 2\n", "truncated: face 1"),
    "too many faces": ("OFF\n4 2 0\n" + ROWS + "3 0 1 2\n" * 3, "4 numbers follow"),
    "twice the faces": ("OFF\n4 1 0\n" + ROWS + "3 0 1 2\n" * 2, "4 numbers follow"),
    "NaN": ("OFF\n4 1 0\n" + ROWS.replace("1 1 0", "1 nan 0") + "4 0 1 2 3", "vertex 2 is not finite"),
    "infinite": ("OFF\n4 1 0\n" + ROWS.replace("1 1 0", "1 -inf 0") + "4 0 1 2 3", "vertex 2 is not finite"),
    "too large for float32": ("OFF\n4 1 0\n" + ROWS.replace("1 1 0", "1 1e39 0") + "4 0 1 2 3", "vertex 2 is not"),
    "index too large": ("OFF\n4 2 0\n" + ROWS + "3 0 1 2\n3 0 1 4\n", "face 1 uses vertex 4, allowed are 0 to 3"),
    "index negative": ("OFF\n4 2 0\n" + ROWS + "3 0 1 2\n3 0 -1 2\n", "face 1 uses vertex -1"),
    "index that is no integer": ("OFF\n4 1 0\n" + ROWS + "3 0 1 1.5\n", "face 0 uses vertex 1.5"),
    "index NaN": ("OFF\n4 1 0\n" + ROWS + "3 0 1 nan\n", "face 0 uses vertex nan"),
    "no corners": ("OFF\n4 1 0\n" + ROWS + "0 0 1 2\n", "face 0 announces 0 corners"),
    "word among numbers": ("OFF\n4 1 0\n" + ROWS + "3 0 one 2\n", "not a number: 'one'"),
    "a vertex line too short": (
        "OFF\n8 2 0\n" + ROWS + "0 0 1\n1\n1 1 1\n0 1 1\n3 0 1 2\n3 0 2 3\n",
        r"line 8 has 1 numbers .allowed: 3 for a vertex",
    ),
    "the first vertex line too short": ("OFF\n4 1 0\n0 0\n" + ROWS + "4 0 1 2 3", "line 3 has 2 numbers"),
    "a vertex line too long": (
        "OFF # 1\r\n# 2\r\n\r\n4 1 0\r\n" + ROWS.replace("1 1 0\n", "1 1 0 7\r\n") + "4 0 1 2 3",
        "line 7 has 4 numbers .allowed: 3 for a vertex",
    ),
    "a vertex without its color": (
        "COFF\n4 1 0\n" + _rows("255 0 0").replace("1 1 0 255 0 0", "1 1 0") + "4 0 1 2 3",
        "line 5 has 3 numbers .allowed: 6",
    ),
    "a vertex over two lines": ("OFF\n4 1 0\n" + ROWS.replace("1 1 0", "1\n1 0") + "4 0 1 2 3", "line 5 has 1 numbers"),
    "a face too short and one too long": (
        "OFF\n4 3 0\n" + ROWS + "3 0 1 2\n3 0 2\n3 3 1 0 2\n",
        r"face 1 \(line 8\) lists fewer corners",
    ),
    "a face too short, two on the next line": (
        "OFF\n4 4 0\n" + ROWS + "3 0 1 2\n3 0 2\n3 3 1 0 2 3 0 1 2\n",
        "line 8 ends within a face",
    ),
    "a face over two lines": ("OFF\n4 2 0\n" + ROWS + "3 0 1\n2\n3 0 2 3\n", "line 7 ends within a face"),
    "a comment within a word": (
        "OFF\n4 1 0\n" + ROWS.replace("1 1 0", "1 1 0#x") + "4 0 1 2 3",
        "line 5: not a number: '0#x'",
    ),
    "two numbers in a word": (
        "OFF\n4 1 0\n" + ROWS.replace("1 1 0", "1 1.5.0") + "4 0 1 2 3",
        "line 5: not a number: '1.5.0'",
    ),
    "a number and a sign": (
        "OFF\n4 1 0\n" + ROWS.replace("1 1 0", "1 1-0") + "4 0 1 2 3",
        "line 5: not a number: '1-0'",
    ),
    "counts of 400 digits": ("OFF\n" + "9" * 400 + " 1 0\n" + ROWS, "the counts must be whole numbers"),
    "counts as Python writes them": ("OFF\n1_0 1 0\n" + ROWS, "the counts must be whole numbers"),
    "four billion faces": ("OFF\n4 4000000000 0\n" + ROWS + "3 0 1 2\n", "truncated: 4000000000 faces announced, 1"),
    "infinite corners": ("OFF\n4 1 0\n" + ROWS + "-inf 0 1 2\n", "face 0 announces -inf corners"),
    "a prefix twice": ("CCOFF\n4 1 0\n" + ROWS + "4 0 1 2 3", "not an OFF file"),
    "commas": ("OFF\n4 1 0\n" + ROWS.replace(" ", ",") + "3 0 1 2\n", "not a number: '0,0,0'"),
}


@pytest.mark.parametrize(("text", "faces"), FORMS.values(), ids=FORMS)
def test_reads_every_form(tmp_path: Path, text: str, faces: list[list[int]]) -> None:
    path = tmp_path / "mesh.off"
    path.write_bytes(text.encode())
    mesh = load_off(path)
    np.testing.assert_array_equal(mesh.vertices, SQUARE)
    assert mesh.vertices.dtype == np.float32
    assert mesh.faces.tolist() == faces
    assert mesh.faces.dtype == np.int32


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_refuses_in_one_line_that_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.off"
    path.write_bytes(text.encode())
    with pytest.raises(ValueError, match=message) as caught:
        load_off(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cut", range(20, 96, 4))
def test_no_prefix_of_a_file_is_a_mesh(tmp_path: Path, cut: int) -> None:
    rows = "\n".join("10 11 12" for _ in range(6))
    text = "OFF\n6 4 0\n" + rows + "\n" + "3 0 1 2\n" * 4
    path = tmp_path / "mesh.off"
    path.write_text(text[: min(cut, len(text) - 2)])
    with pytest.raises(ValueError, match="truncated"):
        load_off(path)


def test_saves_exactly_what_it_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vertices = (rng.standard_normal((500, 3)) * 10.0 ** rng.integers(-30, 30, (500, 1))).astype(np.float32)
    mesh = Mesh(vertices, rng.integers(0, 500, (900, 3)).astype(np.int32))
    save_off(tmp_path / "mesh.off", mesh)
    again = load_off(tmp_path / "mesh.off")
    np.testing.assert_array_equal(again.vertices, vertices)
    np.testing.assert_array_equal(again.faces, mesh.faces)
    assert [path.name for path in tmp_path.iterdir()] == ["mesh.off"]


def test_a_failed_save_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mesh.off"
    path.write_text("old")

    def full_disk(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_off(path, Mesh(SQUARE, np.array(FAN, np.int32)))
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["mesh.off"]


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".stl"])
def test_other_formats_read_as_trimesh_wrote_them(tmp_path: Path, suffix: str) -> None:
    box = trimesh.creation.box((1, 2, 3))
    box.export(tmp_path / f"box{suffix}")
    mesh = load_mesh(tmp_path / f"box{suffix}")
    np.testing.assert_allclose(np.sort(mesh.vertices[mesh.faces].reshape(-1)), np.sort(box.triangles.reshape(-1)))
    assert mesh.faces.dtype == np.int32


def test_glb_is_flattened_with_its_transforms_and_turned_z_up(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box((1, 1, 1)))
    lifted = np.eye(4)
    lifted[:3, 3] = [0, 5, 2]
    scene.add_geometry(trimesh.creation.box((1, 1, 1)), transform=lifted)
    scene.export(tmp_path / "two.glb")
    mesh = load_mesh(tmp_path / "two.glb")
    assert len(mesh.faces) == 24
    np.testing.assert_allclose(mesh.vertices.min(0), [-0.5, -2.5, -0.5])
    np.testing.assert_allclose(mesh.vertices.max(0), [0.5, 0.5, 5.5])


@pytest.mark.parametrize(("name", "content"), [("a.ply", b"ply\nnonsense"), ("a.glb", b"glTF"), ("a.stl", b"")])
def test_other_formats_fail_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name) as caught:
        load_mesh(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_trimesh_prints_no_traceback(tmp_path: Path, monkeypatch, capfd) -> None:
    text = trimesh.creation.box((1, 2, 3)).export(file_type="stl_ascii").replace("normal 0", "normal x")
    (tmp_path / "a.stl").write_text(text)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a command, where nobody asks for logs
    assert len(load_mesh(tmp_path / "a.stl").faces) == 12
    assert capfd.readouterr() == ("", "")


def glb_with(change: Callable[[dict[str, Any]], object], path: Path) -> Path:
    """A .glb file of a box whose JSON was changed."""
    data = trimesh.creation.box((1, 1, 1)).export(file_type="glb")
    size = int.from_bytes(data[12:16], "little")
    document = json.loads(data[20 : 20 + size])
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    head = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON")
    path.write_bytes(head + text + rest)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["accessors"][0].update(count=4 * 10**9), "its accessors announce 40000000[0-9]+ values"),
        (
            lambda d: d["bufferViews"].extend([d["bufferViews"][0] | {"byteLength": 1000}] * 10**5),
            "its buffer views announce [0-9]+ bytes",
        ),
        (
            lambda d: (
                d.update(nodes=[{"mesh": 0}] * 10_001),
                d["scenes"][0].update(nodes=list(range(10_001))),
            ),
            "its nodes draw 10001 meshes",
        ),
        (
            lambda d: [one.pop("bufferView") for one in d["accessors"]],  # as Draco leaves them, to trimesh all zeros
            "accessor [0-9] is sparse, empty, of matrices or in another file",
        ),
        (lambda d: d["meshes"][0]["primitives"][0]["attributes"].update(POSITION=-1), "not valid glTF: TypeError -1"),
    ],
)
def test_small_glb_files_that_memory_could_not_hold(tmp_path: Path, change: Callable, message: str) -> None:
    path = glb_with(change, tmp_path / "small.glb")
    with pytest.raises(InputError, match=rf"small\.glb: {message}"):
        load_mesh(path)


def test_unknown_suffix_names_the_allowed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'\.xyz'.*\.off, \.obj, \.ply, \.stl, \.glb"):
        load_mesh(tmp_path / "mesh.xyz")


@pytest.mark.parametrize(
    ("head", "glued"),
    [
        ("OFF4 1 0\n", True),
        ("COFF4 1 0\n", True),
        ("\ufeffoff4 1 0\n", True),
        ("OFF\n4 1 0\n", False),
        ("OFF 4 1 0\n", False),
        ("4 1 0\n", False),
        ("", False),
    ],
)
def test_glued_headers_are_told(tmp_path, head, glued):
    path = tmp_path / "a.off"
    path.write_text(head + ROWS, encoding="utf-8")
    assert has_glued_header(path) == glued


@pytest.mark.parametrize(
    "value", ["nan", "-inf", "1e39", "1.#QNAN", "-1.#IND", "1.#INF", "-1.#INF00", "1.#SNAN", "1.#J", "-nan(ind)"]
)
def test_vertices_that_are_not_finite_have_an_error_of_their_own(tmp_path, value):
    path = tmp_path / "a.off"
    path.write_text("OFF\n4 1 0\n" + ROWS.replace("1 1 0", f"1 {value} 0") + "4 0 1 2 3\n")
    with pytest.raises(NotFiniteError, match=r"a\.off: vertex 2 is not finite"):
        load_mesh(path)


def test_a_file_that_memory_could_not_hold_is_not_opened(tmp_path):
    path = tmp_path / "huge.off"
    with path.open("wb") as file:
        file.truncate(MAX_MESH_BYTES + 1)  # takes no room on the disk
    with pytest.raises(ValueError, match=r"huge.off: 1000000001 bytes, files of at most 1000000000 are read"):
        load_mesh(path)


def test_a_machine_too_small_for_a_file_is_told(tmp_path, monkeypatch):
    def full(*args, **options):
        raise MemoryError

    (tmp_path / "a.off").write_text("OFF\n4 1 0\n" + ROWS + "4 0 1 2 3\n")
    monkeypatch.setattr(np, "fromstring", full)
    with pytest.raises(InputError, match=r"a\.off: its 44 bytes take more memory than there is"):
        load_mesh(tmp_path / "a.off")


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.off")
    (tmp_path / "folder.off").mkdir()
    for name, message in (("pipe.off", "is no regular file"), ("folder.off", "is a folder")):
        with pytest.raises(InputError, match=f"{name}: {message}"):
            load_mesh(tmp_path / name)
