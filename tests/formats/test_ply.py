"""3DGS PLY: against plyfile and gsplat's exporter, every form that other tools write, and every way to be wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import plyfile
import pytest

from gsbench.formats import load_splats, save_splats
from gsbench.formats.activation import from_log, from_logit, to_log, to_logit
from gsbench.types import Gaussians
from tests.formats.samples import DEGREES, assert_same, random_gaussians

REST = {0: 0, 1: 9, 2: 24, 3: 45}


def raw_columns(gaussians: Gaussians) -> dict[str, np.ndarray]:
    """The columns of INRIA's layout, made here from its description."""
    g = gaussians
    columns = dict(zip("xyz", g.means.T, strict=True))
    columns |= dict.fromkeys(("nx", "ny", "nz"), np.zeros(len(g), np.float32))
    columns |= {f"f_dc_{c}": g.sh[:, 0, c] for c in range(3)}
    above = g.sh.shape[1] - 1
    columns |= {f"f_rest_{c * above + k}": g.sh[:, 1 + k, c] for c in range(3) for k in range(above)}
    with np.errstate(divide="ignore"):
        odds = g.opacities.astype(np.float64) / (1 - g.opacities.astype(np.float64))
        columns["opacity"] = np.log(odds).clip(-104, 18).astype(np.float32)
    columns |= {f"scale_{i}": np.log(g.scales[:, i].astype(np.float64)).astype(np.float32) for i in range(3)}
    return columns | {f"rot_{i}": g.quats[:, i] for i in range(4)}


def element(columns: dict[str, np.ndarray], kinds: dict[str, str] | None = None) -> plyfile.PlyElement:
    dtype = [(name, (kinds or {}).get(name, "f4")) for name in columns]
    rows = np.empty(len(next(iter(columns.values()))), dtype)
    for name, values in columns.items():
        rows[name] = values
    return plyfile.PlyElement.describe(rows, "vertex")


def load(path: Path, **options: str) -> tuple[Gaussians, list[str]]:
    notes: list[str] = []
    return load_splats(path, notify=notes.append, **options), notes


@pytest.mark.parametrize("degree", DEGREES)
def test_plyfile_reads_what_we_write(tmp_path: Path, degree: int) -> None:
    gaussians = random_gaussians(degree=degree)
    save_splats(gaussians, tmp_path / "a.ply")
    vertex = plyfile.PlyData.read(tmp_path / "a.ply")["vertex"]
    expected = raw_columns(gaussians)
    assert [one.name for one in vertex.properties] == list(expected)
    assert len(expected) == 17 + REST[degree]
    for name, values in expected.items():
        assert vertex[name].dtype == np.dtype("<f4")
        np.testing.assert_allclose(vertex[name], values, rtol=3e-7, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("seed", range(3))
def test_round_trip(tmp_path: Path, degree: int, seed: int) -> None:
    gaussians = random_gaussians(degree=degree, seed=seed)
    save_splats(gaussians, tmp_path / "a.ply")
    again, notes = load(tmp_path / "a.ply")
    assert notes == []
    assert_same(again, gaussians, ("means", "quats", "sh"))
    np.testing.assert_allclose(again.scales, gaussians.scales, rtol=6e-7, atol=0)
    np.testing.assert_allclose(again.opacities, gaussians.opacities, rtol=0, atol=2e-8)
    save_splats(again, tmp_path / "b.ply")
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


def test_stored_values_come_back_bit_for_bit() -> None:
    """What the docstrings say of logs and logits that go through activation and back."""
    logs = np.linspace(-20, 6, 1_000_001, dtype=np.float32)[:, None]
    kept = to_log(from_log(np.repeat(logs, 3, 1)))[:, :1] == logs
    assert kept[np.abs(logs) >= 1].all()
    logits = np.linspace(-80, -2.2, 1_000_001, dtype=np.float32)
    np.testing.assert_array_equal(to_logit(from_logit(logits)), logits)
    once = from_logit(np.linspace(-30, 30, 1_000_001, dtype=np.float32))
    np.testing.assert_array_equal(from_logit(to_logit(once)), once)


def test_opacities_of_0_and_1_are_finite_in_the_file_and_exact_after_it(tmp_path: Path) -> None:
    gaussians = replace(random_gaussians(4), opacities=np.array([0, 1, 1e-30, 1 - 2**-24], np.float32))
    save_splats(gaussians, tmp_path / "a.ply")
    assert np.isfinite(plyfile.PlyData.read(tmp_path / "a.ply")["vertex"]["opacity"]).all()
    again, _ = load(tmp_path / "a.ply")
    np.testing.assert_array_equal(again.opacities[[0, 1]], [0, 1])
    np.testing.assert_allclose(again.opacities, gaussians.opacities, rtol=4e-6)


@pytest.mark.parametrize("degree", DEGREES)
def test_reads_what_gsplat_exports(tmp_path: Path, degree: int) -> None:
    torch = pytest.importorskip("torch")
    exporter = pytest.importorskip("gsplat.exporter")
    g = random_gaussians(degree=degree)
    rest = np.ascontiguousarray(g.sh[:, 1:].transpose(0, 2, 1)).reshape(len(g), -1)
    raw = (g.means, to_log(g.scales), g.quats, to_logit(g.opacities), g.sh[:, 0], rest)
    data = exporter.splat2ply_bytes(*(torch.from_numpy(np.ascontiguousarray(values)) for values in raw))
    assert b"nx" not in data[:1000]
    (tmp_path / "gsplat.ply").write_bytes(data)
    save_splats(g, tmp_path / "ours.ply")
    theirs, notes = load(tmp_path / "gsplat.ply")
    assert notes == []
    assert_same(theirs, load(tmp_path / "ours.ply")[0])


FORMS = {
    "big endian": {"byte_order": ">"},
    "text": {"text": True},
}


@pytest.mark.parametrize("form", FORMS)
def test_reads_other_encodings(tmp_path: Path, form: str) -> None:
    gaussians = random_gaussians(40, 2)
    plyfile.PlyData([element(raw_columns(gaussians))], **FORMS[form]).write(tmp_path / "a.ply")
    save_splats(gaussians, tmp_path / "ours.ply")
    again, notes = load(tmp_path / "a.ply")
    assert notes == []
    assert_same(again, load(tmp_path / "ours.ply")[0], ("means", "quats", "sh"))
    np.testing.assert_allclose(again.scales, gaussians.scales, rtol=1e-6)
    np.testing.assert_allclose(again.opacities, gaussians.opacities, atol=1e-7)


@pytest.mark.parametrize("text", [False, True])
def test_reads_any_order_types_properties_and_elements(tmp_path: Path, text: bool) -> None:
    gaussians = random_gaussians(30, 1)
    columns = raw_columns(gaussians) | {"label": np.arange(30), "time": np.linspace(0, 1, 30)}
    shuffled = {name: columns[name] for name in np.random.default_rng(0).permutation(list(columns))}
    kinds = dict.fromkeys(list(shuffled)[::3], "f8") | {"label": "u2", "nx": "i1"}
    before = plyfile.PlyElement.describe(np.array([(1, 2.5), (3, 4.5)], [("a", "u1"), ("b", "f8")]), "camera")
    faces = np.array(
        [(np.array([0, 1, 2], "i4"), 7), (np.array([3, 4, 5, 6], "i4"), 8)], [("corners", "O"), ("id", "u1")]
    )
    lists = plyfile.PlyElement.describe(faces, "face", val_types={"corners": "i4"})
    vertex = element(shuffled, kinds)
    expected = None
    for elements in ([vertex], [before, vertex], [lists, vertex], [before, vertex, lists]):
        plyfile.PlyData(elements, text=text).write(tmp_path / "a.ply")
        again, notes = load(tmp_path / "a.ply")
        (note,) = notes
        assert note.startswith(f"{tmp_path / 'a.ply'}: left out properties that no Gaussian has: ")
        expected = expected or again
        assert_same(again, expected)
        np.testing.assert_allclose(again.means, gaussians.means, rtol=1e-6)


@pytest.mark.parametrize("text", [False, True])
def test_reads_past_lists_among_the_properties(tmp_path: Path, text: bool) -> None:
    gaussians = random_gaussians(20, 1)
    columns = raw_columns(gaussians)
    names = [*list(columns)[:4], "tags", *list(columns)[4:]]
    rows = np.empty(20, [(name, "O" if name == "tags" else "f4") for name in names])
    for name, values in columns.items():
        rows[name] = values
    rows["tags"] = [np.arange(i % 4, dtype=np.int16) for i in range(20)]
    vertex = plyfile.PlyElement.describe(rows, "vertex", len_types={"tags": "u1"}, val_types={"tags": "i2"})
    plyfile.PlyData([vertex], text=text).write(tmp_path / "a.ply")
    again, _ = load(tmp_path / "a.ply")
    np.testing.assert_allclose(again.means, gaussians.means, rtol=1e-6)
    np.testing.assert_allclose(again.quats, gaussians.quats, rtol=1e-6)


def test_trusts_the_count_of_the_header(tmp_path: Path) -> None:
    gaussians = random_gaussians(50)
    path = tmp_path / "long.ply"
    save_splats(gaussians, tmp_path / "whole.ply")
    path.write_bytes((tmp_path / "whole.ply").read_bytes().replace(b"vertex 50\n", b"vertex 30\n"))
    again, notes = load(path)
    assert_same(again, load(tmp_path / "whole.ply")[0][:30])
    assert notes == [f"{path}: left out {20 * 62 * 4} bytes behind the 30 Gaussians that the header announces"]


def test_quaternions_become_unit_and_unit_ones_stay(tmp_path: Path) -> None:
    gaussians = random_gaussians(50)
    columns = raw_columns(gaussians)
    for i in range(4):
        columns[f"rot_{i}"] = columns[f"rot_{i}"] * np.where(np.arange(50) < 25, 1, 7.5).astype(np.float32)
    columns["rot_0"][49] = columns["rot_1"][49] = columns["rot_2"][49] = columns["rot_3"][49] = 0
    plyfile.PlyData([element(columns)]).write(tmp_path / "a.ply")
    quats = load(tmp_path / "a.ply")[0].quats
    np.testing.assert_array_equal(quats[:25], gaussians.quats[:25])
    np.testing.assert_allclose(quats[:49], gaussians.quats[:49], atol=2e-7)
    np.testing.assert_array_equal(quats[49], [1, 0, 0, 0])


def test_opacities_without_the_logit_are_pointed_out_and_mended_on_demand(tmp_path: Path) -> None:
    gaussians = random_gaussians(50)
    columns = raw_columns(gaussians) | {"opacity": gaussians.opacities}
    path = tmp_path / "pixelsplat.ply"
    plyfile.PlyData([element(columns)]).write(path)
    as_logits, (note,) = load(path)
    assert "as if stored without the logit" in note
    np.testing.assert_array_equal(as_logits.opacities, from_logit(gaussians.opacities))
    mended, (note,) = load(path, opacity="linear")
    assert "opacities taken as linear" in note
    np.testing.assert_array_equal(mended.opacities, gaussians.opacities)
    save_splats(gaussians, tmp_path / "sound.ply")
    with pytest.raises(ValueError, match=r"opacity is not in 0\.\.1 throughout"):
        load(tmp_path / "sound.ply", opacity="linear")


def test_notes_are_warnings_unless_asked_for(tmp_path: Path) -> None:
    plyfile.PlyData([element(raw_columns(random_gaussians(3)) | {"extra": np.zeros(3)})]).write(tmp_path / "a.ply")
    with pytest.warns(UserWarning, match="left out properties that no Gaussian has: extra"):
        load_splats(tmp_path / "a.ply")


HEAD = "ply\nformat binary_little_endian 1.0\n"
NEEDED = ("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2")
NEEDED += ("rot_0", "rot_1", "rot_2", "rot_3")
PROPERTIES = "".join(f"property float {name}\n" for name in NEEDED)
WRONG = {
    "empty": ("", "not a PLY file"),
    "another format": ("OFF\n1 2 3\n", "not a PLY file"),
    "no end": (HEAD + "element vertex 1\n", "the header has no end"),
    "no format": ("ply\nelement vertex 1\nend_header\n", "names no format"),
    "unknown format": ("ply\nformat binary_middle_endian 1.0\nend_header\n", "'format binary_middle_endian 1.0' makes"),
    "unknown type": (HEAD + "element vertex 1\nproperty half x\nend_header\n", "'property half x' makes no sense"),
    "property first": (HEAD + "property float x\nend_header\n", "'property float x' makes no sense"),
    "negative count": (HEAD + "element vertex -1\nend_header\n", "'element vertex -1' makes no sense"),
    "two of a name": (HEAD + "element vertex 0\nproperty float x\nproperty int x\nend_header\n", "two properties 'x'"),
    "no vertices": (HEAD + "element face 0\nproperty float x\nend_header\n", "no element 'vertex' .it has: face"),
    "ten billion": (HEAD + f"element vertex 10000000000\n{PROPERTIES}end_header\n", "truncated: 10000000000 rows"),
    "ten billion lists": (
        HEAD + f"element vertex 10000000000\nproperty list int int a\n{PROPERTIES}end_header\n",
        "truncated: 10000000000 rows",
    ),
    "ten billion in text": (
        f"ply\nformat ascii 1.0\nelement vertex 10000000000\n{PROPERTIES}end_header\n1 2 3\n",
        "truncated: 10000000000 rows",
    ),
    "ten billion before": (
        HEAD + f"element face 10000000000\nproperty int a\nelement vertex 1\n{PROPERTIES}end_header\n",
        "truncated: 10000000000 rows of element 'face'",
    ),
    "text that ends early": (
        f"ply\nformat ascii 1.0\nelement vertex 2\n{PROPERTIES}end_header\n" + "1.5 " * 20,
        "truncated: 2 rows of element 'vertex' announced: 28 values, 20 are there",
    ),
    "text without the numbers": (
        f"ply\nformat ascii 1.0\nelement vertex 2\n{PROPERTIES}end_header\n" + "1 " * 20 + "one two three four five",
        "its text holds something that is no number",
    ),
    "list without an end": (
        HEAD + f"element face 1\nproperty list uchar int a\nelement vertex 0\n{PROPERTIES}end_header\n\xff\0\0\0",
        "the file ends in row 0",
    ),
    "negative list": (
        HEAD + f"element face 1\nproperty list char int a\nelement vertex 0\n{PROPERTIES}end_header\n\xff\0\0\0",
        "a list 'a' announces -1 values",
    ),
    "no Gaussians": (HEAD + f"element vertex 0\n{PROPERTIES}end_header\n", "no Gaussians"),
    "no opacity": (
        HEAD + f"element vertex 0\n{PROPERTIES.replace('opacity', 'alpha')}end_header\n",
        "not 3D Gaussians: element vertex has no opacity",
    ),
    "a point cloud": (
        HEAD + "element vertex 0\nproperty float x\nproperty float y\nproperty float z\nend_header\n",
        "not 3D Gaussians: element vertex has no f_dc_0, f_dc_1, f_dc_2, opacity, scale_0, ...",
    ),
    "compressed": (HEAD + "element vertex 0\nproperty uint packed_position\nend_header\n", "a compressed PLY"),
    "SH of no degree": (
        HEAD + f"element vertex 0\n{PROPERTIES}property float f_rest_0\nend_header\n",
        "1 properties f_rest_.* .allowed: 0, 9, 24, 45",
    ),
    "SH with a gap": (
        HEAD
        + f"element vertex 0\n{PROPERTIES}"
        + "".join(f"property float f_rest_{i}\n" for i in (*range(8), 9))
        + "end_header\n",
        "9 properties f_rest_",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_refuses_in_one_line_that_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.ply"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [False, True])
def test_no_prefix_of_a_file_is_taken_for_one(tmp_path: Path, text: bool) -> None:
    plyfile.PlyData([element(raw_columns(random_gaussians(6, 0)))], text=text).write(tmp_path / "a.ply")
    data = (tmp_path / "a.ply").read_bytes()
    if text:
        data = data[: data.rindex(b" ")]  # a number cut short is a number still
    for cut in range(0, len(data) - 1, 7):
        (tmp_path / "cut.ply").write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"cut\.ply: (truncated|not a PLY|the header|header line|its text)"):
            load(tmp_path / "cut.ply")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", np.nan, "means of Gaussian 2: nan .1 like it; must be finite"),
        ("f_dc_1", np.inf, "sh of Gaussian 2: inf"),
        ("scale_1", 200, "scales of Gaussian 2: inf"),
        ("scale_1", -200, "scales of Gaussian 2: 0 .1 like it; must be above 0"),
        ("rot_3", np.nan, "quats of Gaussian 2: nan"),
        ("opacity", np.nan, "opacity of Gaussian 2 is not a number"),
        ("y", 1e300, "means of Gaussian 2: inf"),
    ],
)
def test_values_that_no_gaussian_has_are_named(tmp_path: Path, name: str, value: float, message: str) -> None:
    columns = {key: values.astype(np.float64) for key, values in raw_columns(random_gaussians(5, 0)).items()}
    columns[name][2] = value
    plyfile.PlyData([element(columns, dict.fromkeys(columns, "f8"))]).write(tmp_path / "a.ply")
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "a.ply")


def test_infinite_logits_are_opacities_of_0_and_1(tmp_path: Path) -> None:
    columns = raw_columns(random_gaussians(5, 0))
    columns["opacity"][:2] = -np.inf, np.inf
    plyfile.PlyData([element(columns)]).write(tmp_path / "a.ply")
    np.testing.assert_array_equal(load(tmp_path / "a.ply")[0].opacities[:2], [0, 1])
