"""3DGS PLY: against plyfile and gsplat's exporter, every form that other tools write, and every way to be wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import plyfile
import pytest

from gsbench.core.parsing import InputError
from gsbench.core.types import Gaussians
from gsbench.formats import load_splats, save_splats
from gsbench.formats.activation import from_log, from_logit, to_log, to_logit
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


def test_rows_of_zeros_are_left_out_and_rotations_of_zeros_told(tmp_path: Path) -> None:
    gaussians = random_gaussians(8, 0)
    columns = {name: values.copy() for name, values in raw_columns(gaussians).items()}
    for values in columns.values():
        values[3:6] = 0
    path = tmp_path / "postshot.ply"
    for turned in (True, False):
        if not turned:
            for i in range(4):
                columns[f"rot_{i}"][6:] = 0
        plyfile.PlyData([element(columns)]).write(path)
        again, notes = load(path)
        left_out, *more = [note.removeprefix(f"{path}: ") for note in notes]
        assert left_out == "left out rows of zeros, which are no Gaussians: 3 of 8 (the first: 3)"
        assert more == ([] if turned else ["rotations 0 0 0 0 taken as none: 2 of 5 (the first: 3)"])
        np.testing.assert_array_equal(again.means, gaussians.means[[0, 1, 2, 6, 7]])
        np.testing.assert_array_equal(again.quats[:3], gaussians.quats[:3])
        np.testing.assert_array_equal(again.quats[3:], gaussians.quats[6:] if turned else [[1, 0, 0, 0]] * 2)
    plyfile.PlyData([element({name: values[3:5] for name, values in columns.items()})]).write(path)
    with pytest.raises(InputError, match="no Gaussians"):
        load(path)


def test_scales_without_the_logarithm_are_pointed_out_and_mended_on_demand(tmp_path: Path) -> None:
    gaussians = random_gaussians(50)
    columns = raw_columns(gaussians) | {f"scale_{i}": gaussians.scales[:, i].copy() for i in range(3)}
    path = tmp_path / "linear.ply"
    plyfile.PlyData([element(columns)]).write(path)
    as_logs, (note,) = load(path)
    assert "no scale is below 0, as if stored without the logarithm; taken as logarithms all the same" in note
    assert "so that none is below 1.000" in note
    np.testing.assert_array_equal(as_logs.scales, from_log(gaussians.scales))
    mended, (note,) = load(path, scales="linear")
    assert "scales taken as linear" in note
    np.testing.assert_array_equal(mended.scales, gaussians.scales)
    columns["scale_1"][7] = 0
    plyfile.PlyData([element(columns)]).write(path)
    mended, notes = load(path, scales="linear")
    assert notes[1] == f"{path}: scales of 0 taken as 1e-07: 1 of 50 (the first: 7)"
    assert mended.scales[7, 1] == np.float32(1e-7)
    save_splats(gaussians, tmp_path / "sound.ply")
    with pytest.raises(InputError, match="scales are below 0 somewhere, so they are no linear ones"):
        load(tmp_path / "sound.ply", scales="linear")
    with pytest.raises(InputError, match=r"scales: 'logit' \(allowed: log, linear"):
        load(tmp_path / "sound.ply", scales="logit")
    with pytest.raises(InputError, match=r"scales 'log' is a choice for \.ply and \.glb files only"):
        load(tmp_path / "sound.spz", scales="log")


def test_a_log_scale_beyond_float32_is_a_flat_gaussian(tmp_path: Path) -> None:
    columns = raw_columns(random_gaussians(5, 0))
    columns["scale_2"][:2] = -200, -np.inf
    plyfile.PlyData([element(columns)]).write(tmp_path / "a.ply")
    again, (note,) = load(tmp_path / "a.ply")
    assert note.endswith("scales of 0 taken as 1e-07: 2 of 5 (the first: 0)")
    np.testing.assert_array_equal(again.scales[:2, 2], np.float32([1e-7, 1e-7]))


def test_the_filter_of_mip_splatting_is_applied(tmp_path: Path) -> None:
    gaussians = random_gaussians(50)
    sizes = np.random.default_rng(1).uniform(0, 0.1, 50).astype(np.float32)
    sizes[0] = 0
    columns = raw_columns(gaussians) | {"filter_3D": sizes}
    path = tmp_path / "mip.ply"
    plyfile.PlyData([element(columns)]).write(path)
    again, (note,) = load(path)
    assert note.startswith(f"{path}: applied filter_3D, as mip-splatting does")
    before, after = gaussians.scales.astype(np.float64), np.hypot(gaussians.scales, sizes[:, None].astype(np.float64))
    np.testing.assert_allclose(again.scales, after, rtol=1e-6)
    mass = gaussians.opacities * before.prod(axis=1)  # the filter spreads a Gaussian, and keeps its mass
    np.testing.assert_allclose(again.opacities * again.scales.prod(axis=1), mass, rtol=3e-6)
    assert_same(again, gaussians, ("means", "quats", "sh"))
    columns["filter_3D"][4] = np.nan
    plyfile.PlyData([element(columns)]).write(path)
    with pytest.raises(InputError, match="filter_3D is below 0 or not finite"):
        load(path)


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
        ("scale_1", 100, "scales of Gaussian 2: inf .1 like it; must be finite"),
        ("scale_1", 50, "scales of Gaussian 2: 5.18471e.21 .1 like it; must be at most 1e.18"),
        ("y", -3e38, "means of Gaussian 2: -3e.38 .1 like it; must be at most 1e.18"),
        ("f_dc_2", 3e38, "sh of Gaussian 2: 3e.38"),
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
