"""glTF with KHR_gaussian_splatting: exact both ways, read by trimesh where it can, and every way to be wrong."""

import copy
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from gsbench.core.geometry import quats_to_matrices
from gsbench.core.types import Gaussians
from gsbench.formats import glb, gltf, load_splats, save_splats
from gsbench.formats.activation import rotate, to_y_up
from tests.formats.samples import DEGREES, assert_same, assert_shapes_close, random_gaussians

EXTENSION = "KHR_gaussian_splatting"
SPLATTING = f"{EXTENSION}:"


def silent(note: str) -> None:
    raise AssertionError(note)


def take_apart(data: bytes) -> tuple[dict[str, Any], bytes]:
    magic, version, size, length, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, size, kind) == (b"glTF", 2, len(data), b"JSON")
    rest, other = struct.unpack_from("<I4s", data, 20 + length)
    assert (other, 28 + length + rest, length % 4, rest % 4) == (b"BIN\0", len(data), 0, 0)
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def put_together(document: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text) + len(binary), len(text), b"JSON")
    return head + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary


def edited(gaussians: Gaussians, change: Callable[[dict[str, Any]], object], path: Path) -> Path:
    """A file of the Gaussians whose JSON was changed."""
    document, binary = take_apart(gltf.encode(gaussians, "z-up"))
    change(document)
    path.write_bytes(put_together(document, binary))
    return path


@pytest.mark.parametrize("axes", ["z-up", "y-down"])
@pytest.mark.parametrize("degree", DEGREES)
def test_round_trip_is_exact(tmp_path: Path, degree: int, axes: str) -> None:
    gaussians = random_gaussians(degree=degree)
    save_splats(gaussians, tmp_path / "a.glb", axes, silent)
    again = load_splats(tmp_path / "a.glb", axes=axes, notify=silent)
    assert_same(again, gaussians)
    save_splats(again, tmp_path / "b.glb", axes)
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


def test_the_json_says_what_the_extension_asks_for() -> None:
    gaussians = random_gaussians(10, 3)
    document, binary = take_apart(gltf.encode(gaussians, "z-up"))
    assert document["extensionsUsed"] == [EXTENSION]
    (primitive,) = document["meshes"][0]["primitives"]
    assert primitive["mode"] == 0
    assert primitive["extensions"] == {EXTENSION: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}}
    sh = [f"{SPLATTING}SH_DEGREE_{d}_COEF_{m}" for d in range(4) for m in range(2 * d + 1)]
    fields = ["POSITION", "COLOR_0", *(SPLATTING + name for name in ("ROTATION", "SCALE", "OPACITY")), *sh]
    assert list(primitive["attributes"]) == fields
    accessors = [document["accessors"][index] for index in primitive["attributes"].values()]
    assert [one["type"] for one in accessors] == ["VEC3", "VEC4", "VEC4", "VEC3", "SCALAR", *["VEC3"] * 16]
    assert [one["componentType"] for one in accessors] == [5126, 5121, *[5126] * 19]
    assert [one.get("normalized", False) for one in accessors] == [False, True, *[False] * 19]
    assert accessors[0]["min"] == gaussians.means.min(axis=0).tolist()
    assert accessors[0]["max"] == gaussians.means.max(axis=0).tolist()

    def values(name: str) -> np.ndarray:
        view = document["bufferViews"][document["accessors"][primitive["attributes"][name]]["bufferView"]]
        return np.frombuffer(binary, "<f4", view["byteLength"] // 4, view["byteOffset"]).reshape(10, -1)

    np.testing.assert_array_equal(values("POSITION"), gaussians.means)
    np.testing.assert_array_equal(values(f"{SPLATTING}ROTATION"), gaussians.quats[:, [1, 2, 3, 0]])
    np.testing.assert_array_equal(values(f"{SPLATTING}SCALE"), gaussians.scales)
    np.testing.assert_array_equal(values(f"{SPLATTING}OPACITY")[:, 0], gaussians.opacities)
    for index, name in enumerate(sh):
        np.testing.assert_array_equal(values(name), gaussians.sh[:, index])


def test_trimesh_reads_the_points_upright(tmp_path: Path) -> None:
    gaussians = random_gaussians(50, 1)
    gaussians.sh[0, 0], gaussians.opacities[0] = (9, 0, -9), 0.5
    save_splats(gaussians, tmp_path / "a.glb")
    scene = trimesh.load_scene(tmp_path / "a.glb")
    (cloud,) = scene.geometry.values()
    np.testing.assert_array_equal(cloud.vertices.astype(np.float32), gaussians.means)
    np.testing.assert_array_equal(cloud.colors[0], [255, 55, 0, 128])  # sRGB .5 is .214 in linear light
    upright = gaussians.means @ to_y_up("z-up").T
    np.testing.assert_allclose(scene.bounds, [upright.min(axis=0), upright.max(axis=0)], atol=1e-6)


def test_nodes_turn_move_and_scale(tmp_path: Path) -> None:
    gaussians = random_gaussians(40, 3)
    q = np.array([0.3, -0.5, 0.7, 0.4])
    q /= np.linalg.norm(q)
    trs = {"rotation": q[[1, 2, 3, 0]].tolist(), "translation": [1, 2, 3], "scale": [2, 2, 2]}

    def nest(document: dict[str, Any]) -> None:
        document["nodes"] = [
            {"children": [1]} | trs,
            {"mesh": 0, "matrix": np.diag([0.5, 0.5, 0.5, 1]).T.ravel().tolist()},
        ]

    path = edited(gaussians, nest, tmp_path / "a.glb")
    again = load_splats(path, notify=silent)
    turn = quats_to_matrices(q[None])[0]
    in_y_up = rotate(gaussians, turn)
    in_y_up = replace(in_y_up, means=in_y_up.means + np.float32([1, 2, 3]))
    expected = rotate(in_y_up, to_y_up("z-up").T)
    np.testing.assert_allclose(again.means, expected.means, atol=1e-6)
    np.testing.assert_allclose(again.scales, expected.scales, rtol=1e-6)
    np.testing.assert_allclose(again.sh, expected.sh, atol=2e-6)
    assert_shapes_close(again, expected, 1e-5)


def test_without_a_scene_all_roots_are_read(tmp_path: Path) -> None:
    gaussians = random_gaussians(12, 1)

    def change(document: dict[str, Any]) -> None:
        del document["scenes"], document["scene"]
        document["nodes"] = [document["nodes"][0], {"children": [0]}]

    assert_same(load_splats(edited(gaussians, change, tmp_path / "a.glb"), notify=silent), gaussians)


def test_several_primitives_and_nodes_are_one(tmp_path: Path) -> None:
    gaussians = random_gaussians(30, 1)

    def again(document: dict[str, Any]) -> None:
        mesh = copy.deepcopy(document["meshes"][0])
        mesh["primitives"][0]["attributes"] = {
            name: index for name, index in mesh["primitives"][0]["attributes"].items() if "DEGREE_1" not in name
        }
        mesh["primitives"].append({"attributes": {"POSITION": 0}, "mode": 0})
        document["meshes"].append(mesh)
        document["nodes"].append(document["nodes"][0] | {"mesh": 1})
        document["scenes"][0]["nodes"] = [0, 1]

    notes: list[str] = []
    both = load_splats(edited(gaussians, again, tmp_path / "a.glb"), notify=notes.append)
    assert notes == [f"{tmp_path / 'a.glb'}: left out a primitive that is no Gaussians"]
    assert_same(both[:30], gaussians)
    assert_same(both[30:], replace(gaussians, sh=gaussians.sh * np.float32([[1], [0], [0], [0]])))


def test_reads_normalized_integers_and_interleaved_views(tmp_path: Path) -> None:
    gaussians = random_gaussians(20, 0)
    xyzw = np.rint(gaussians.quats[:, [1, 2, 3, 0]] * 32767).astype("<i2")
    opacities = np.rint(gaussians.opacities * 255).astype("u1")
    rows = np.zeros(
        20, [("xyz", "<f4", 3), ("xyzw", "<i2", 4), ("scale", "<f4", 3), ("opacity", "u1", 4), ("dc", "<f4", 3)]
    )
    rows["xyz"], rows["xyzw"], rows["scale"], rows["dc"] = gaussians.means, xyzw, gaussians.scales, gaussians.sh[:, 0]
    rows["opacity"][:, 0] = opacities
    document, _ = take_apart(gltf.encode(gaussians, "z-up"))
    size = rows.itemsize
    document["buffers"] = [{"byteLength": rows.nbytes}]
    document["bufferViews"] = [{"buffer": 0, "byteLength": rows.nbytes, "byteStride": size}]
    kinds = ((5126, "VEC3", 0), (5122, "VEC4", 12), (5126, "VEC3", 20), (5121, "SCALAR", 32), (5126, "VEC3", 36))
    document["accessors"] = [
        {"bufferView": 0, "componentType": kind, "type": shape, "count": 20, "byteOffset": offset}
        | ({} if kind == 5126 else {"normalized": True})
        for kind, shape, offset in kinds
    ]
    names = (
        "POSITION",
        f"{SPLATTING}ROTATION",
        f"{SPLATTING}SCALE",
        f"{SPLATTING}OPACITY",
        f"{SPLATTING}SH_DEGREE_0_COEF_0",
    )
    document["meshes"][0]["primitives"][0]["attributes"] = {name: index for index, name in enumerate(names)}
    (tmp_path / "a.glb").write_bytes(put_together(document, rows.tobytes()))
    again = load_splats(tmp_path / "a.glb", notify=silent)
    assert_same(again, gaussians, ("means", "scales", "sh"))
    np.testing.assert_array_equal(again.opacities, opacities.astype(np.float32) / 255)
    np.testing.assert_allclose(again.quats, gaussians.quats, atol=1e-4)


def test_another_color_space_is_pointed_out(tmp_path: Path) -> None:
    notes: list[str] = []
    path = edited(
        random_gaussians(3, 0),
        lambda document: splatting(document).update(colorSpace="lin_rec709_display"),
        tmp_path / "a.glb",
    )
    load_splats(path, notify=notes.append)
    assert notes == [f"{path}: color space 'lin_rec709_display' taken for 'srgb_rec709_display', unchanged"]


def with_scales(gaussians: Gaussians, scales: np.ndarray, path: Path) -> Path:
    document, binary = take_apart(gltf.encode(gaussians, "z-up"))
    view = document["bufferViews"][primitive(document)["attributes"][f"{SPLATTING}SCALE"]]
    start, size = view["byteOffset"], view["byteLength"]
    path.write_bytes(put_together(document, binary[:start] + scales.astype("<f4").tobytes() + binary[start + size :]))
    return path


def test_scales_of_the_draft_are_named_and_read_on_demand(tmp_path: Path) -> None:
    gaussians = random_gaussians(30, 1)
    path = with_scales(gaussians, np.log(gaussians.scales), tmp_path / "draft.glb")
    with pytest.raises(ValueError, match=r"Gaussian 0 are below 0 .30 like it.: a draft of KHR_.* stored logarithms"):
        load_splats(path)
    notes: list[str] = []
    again = load_splats(path, notify=notes.append, scales="log")
    assert notes == [f"{path}: scales taken as logarithms, as a draft of KHR_gaussian_splatting had them"]
    np.testing.assert_allclose(again.scales, gaussians.scales, rtol=2e-6)


def test_a_scale_of_zero_is_a_flat_gaussian(tmp_path: Path) -> None:
    gaussians = random_gaussians(30, 1)
    gaussians.scales[4] = (0, 1e-9, 0)
    path = with_scales(gaussians, gaussians.scales, tmp_path / "flat.glb")
    notes: list[str] = []
    again = load_splats(path, notify=notes.append)
    assert notes == [f"{path}: scales of 0 taken as 1e-09: 1 of 30 (the first: 4)"]
    np.testing.assert_array_equal(again.scales[4], np.full(3, 1e-9, np.float32))
    assert_same(again[:4], gaussians[:4])


def primitive(document: dict[str, Any]) -> dict[str, Any]:
    return document["meshes"][0]["primitives"][0]


def splatting(document: dict[str, Any]) -> dict[str, Any]:
    return primitive(document)["extensions"][EXTENSION]


def accessor(document: dict[str, Any]) -> dict[str, Any]:
    return document["accessors"][0]


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no meshes": (lambda d: d.pop("meshes"), "not valid glTF: IndexError"),
    "mesh out of range": (lambda d: d["nodes"][0].update(mesh=7), "not valid glTF: IndexError"),
    "a dict for a list": (lambda d: d.update(accessors={}), "not valid glTF: KeyError 0"),
    "a word for a number": (lambda d: accessor(d).update(count="many"), "not valid glTF: TypeError 'str' object"),
    "half a rotation": (lambda d: d["nodes"][0].update(rotation=[0, 1]), r"TypeError a node has \[0, 1\] where 4"),
    "a mesh": (lambda d: primitive(d).pop("extensions"), "no Gaussians: no primitive of its scene has KHR_"),
    "an empty scene": (lambda d: d.update(scenes=[{}]), "no Gaussians: no primitive"),
    "another kernel": (lambda d: splatting(d).update(kernel="triangle"), "kernel 'triangle' .allowed: 'ellipse'"),
    "compressed": (
        lambda d: splatting(d).update(extensions={f"{EXTENSION}_compression_spz_2": {}}),
        "compressed or changed by KHR_gaussian_splatting_compression_spz_2",
    ),
    "required": (lambda d: d.update(extensionsRequired=["KHR_draco"]), "needs KHR_draco, which cannot be read"),
    "no opacity": (
        lambda d: primitive(d)["attributes"].pop(f"{SPLATTING}OPACITY"),
        "has no KHR_gaussian_splatting:OPACITY",
    ),
    "a gap in the SH": (
        lambda d: primitive(d)["attributes"].pop(f"{SPLATTING}SH_DEGREE_1_COEF_2"),
        "has no KHR_gaussian_splatting:SH_DEGREE_1_COEF_2",
    ),
    "wrong shape": (
        lambda d: primitive(d)["attributes"].update({f"{SPLATTING}OPACITY": 0}),
        r"OPACITY is \[9, 3\] .must be \[9, 1\]",
    ),
    "ten billion": (lambda d: accessor(d).update(count=10**10), r"its accessors announce 10000000072 values .at most"),
    "a hundred": (lambda d: accessor(d).update(count=100), "accessor 0 announces 100 values, more than its buffer"),
    "a negative index": (lambda d: primitive(d)["attributes"].update(POSITION=-1), "not valid glTF: TypeError -1"),
    "a negative count": (lambda d: accessor(d).update(count=-1), "not valid glTF: TypeError -1 where"),
    "ten billion bytes": (
        lambda d: d["bufferViews"][0].update(byteLength=10**10),
        r"its buffer views announce 10000000756 bytes .at most 80000000 are read",
    ),
    "10,001 nodes on one mesh": (
        lambda d: (d.update(nodes=d["nodes"] * 10_001), d["scenes"][0].update(nodes=list(range(10_001)))),
        r"its nodes draw 10001 meshes .at most 10000 are read",
    ),
    "10,000 nodes on one large mesh": (
        lambda d: (
            d["meshes"][0]["primitives"].extend(d["meshes"][0]["primitives"] * 30),
            d.update(nodes=d["nodes"] * 10_000),
            d["scenes"][0].update(nodes=list(range(10_000))),
        ),
        "its meshes and nodes draw [0-9]+ values .at most 20000000 are read",
    ),
    "none": (lambda d: accessor(d).update(count=0), "accessor 0 announces 0 values"),
    "no stride": (lambda d: d["bufferViews"][0].update(byteStride=0), "accessor 0 announces 9 values"),
    "negative offset": (lambda d: accessor(d).update(byteOffset=-4), "accessor 0 announces 9 values"),
    "beyond the file": (
        lambda d: (d["bufferViews"][0].update(byteLength=10**7), accessor(d).update(count=10**5)),
        "truncated: accessor 0 ends at byte 1200000 of",
    ),
    "sparse": (lambda d: accessor(d).update(sparse={}), "accessor 0 is sparse"),
    "another file": (lambda d: d["buffers"][0].update(uri="a.bin"), "accessor 0 is sparse, empty, of matrices or in"),
    "uneven scale": (lambda d: d["nodes"][0].update(scale=[1, 1, 2]), "a node mirrors, shears or scales unevenly"),
    "mirrored": (lambda d: d["nodes"][0].update(scale=[-1, 1, 1]), "a node mirrors"),
    "flat": (lambda d: d["nodes"][0].update(scale=[0, 0, 0]), "a node mirrors"),
    "a loop": (lambda d: d["nodes"][0].update(children=[0]), "node 0 has two parents"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_refuses_in_one_line_that_names_the_file(tmp_path: Path, name: str) -> None:
    change, message = WRONG[name]
    path = edited(random_gaussians(9, 1), change, tmp_path / "broken.glb")
    with pytest.raises(ValueError, match=message) as caught:
        load_splats(path, notify=lambda note: None)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .glb file"),
        (b"{}", "not a .glb file"),
        (struct.pack("<4sII", b"glTF", 1, 12), "glTF version 1 .allowed: 2"),
        (struct.pack("<4sII", b"glTF", 2, 12), "its JSON chunk: not JSON"),
        (struct.pack("<4sIII4s", b"glTF", 2, 22, 2, b"JSON") + b"[]", "its JSON chunk is no JSON object"),
        (struct.pack("<4sIII4s", b"glTF", 2, 22, 9, b"JSON") + b"{}", "truncated: a chunk of 9 bytes announced, 2"),
    ],
)
def test_refuses_other_containers(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.glb").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        load_splats(tmp_path / "a.glb")


def test_no_prefix_of_a_file_is_taken_for_one(tmp_path: Path) -> None:
    data = gltf.encode(random_gaussians(9, 0), "z-up")
    for cut in range(0, len(data), 11):
        (tmp_path / "cut.glb").write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"cut\.glb: (truncated|not a \.glb file)"):
            load_splats(tmp_path / "cut.glb")


def test_four_gigabytes_are_refused() -> None:
    huge = np.broadcast_to(np.float32(0), (1 << 30,))  # a view: nothing is allocated
    with pytest.raises(ValueError, match=r"a \.glb file holds less than 4294967296"):
        glb.serialize({}, [huge])
