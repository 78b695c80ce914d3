"""What `gsbench lint` finds in files that are wrong in one way each, and what a repair makes of them."""

from pathlib import Path

import numpy as np
import pytest

from gsbench.cli import main
from gsbench.core.types import Gaussians
from gsbench.formats import gltf, load_splats, save_splats
from gsbench.formats.activation import to_log, to_logit
from gsbench.formats.lint import lint
from tests.formats.samples import assert_same, random_gaussians

NAMES = [*"xyz", "nx", "ny", "nz", *(f"f_dc_{i}" for i in range(3)), "opacity"]
NAMES += [*(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]


@pytest.fixture
def gaussians() -> Gaussians:
    return random_gaussians(300, 0)


def columns_of(g: Gaussians) -> dict[str, np.ndarray]:
    zeros = np.zeros((len(g), 3), np.float32)
    table = np.concatenate(
        [g.means, zeros, g.sh[:, 0], to_logit(g.opacities)[:, None], to_log(g.scales), g.quats], axis=1
    )
    return dict(zip(NAMES, table.T.copy(), strict=True))


def write(path: Path, columns: dict[str, np.ndarray], count: int | None = None) -> Path:
    table = np.stack(list(columns.values()), axis=1).astype("<f4")
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table) if count is None else count}"]
    head += [*(f"property float {name}" for name in columns), "end_header", ""]
    path.write_bytes("\n".join(head).encode() + table.tobytes())
    return path


def found(path: Path) -> list[tuple[str, str, bool]]:
    return [(f.level, f.text, bool(f.change)) for f in lint(path).findings]


def only(path: Path, level: str, text: str, repaired: bool = True) -> Gaussians:
    findings = found(path)
    assert len(findings) == 1, findings
    assert findings[0][0] == level
    assert text in findings[0][1]
    assert findings[0][2] is repaired
    gaussians = lint(path).gaussians
    assert gaussians is not None
    return gaussians


@pytest.mark.parametrize("suffix", [".ply", ".splat", ".spz", ".glb"])
def test_nothing_is_found_in_our_own_files(tmp_path, gaussians, suffix):
    save_splats(gaussians, tmp_path / f"a{suffix}", notify=lambda note: None)
    assert found(tmp_path / f"a{suffix}") == []


def test_linear_opacities(tmp_path, gaussians):
    columns = columns_of(gaussians) | {"opacity": gaussians.opacities}
    columns["x"] = columns["x"] + 3  # no export that is centered
    repaired = only(write(tmp_path / "a.ply", columns), "error", "not as logits")
    np.testing.assert_array_equal(repaired.opacities, gaussians.opacities)


def test_mvsplat_and_noposplat(tmp_path, gaussians):
    columns = columns_of(gaussians) | {"opacity": gaussians.opacities}
    only(write(tmp_path / "a.ply", columns), "error", "as MVSplat does it")
    rest = {f"f_rest_{i}": np.full(300, i, np.float32) for i in range(72)}
    path = write(tmp_path / "b.ply", columns | rest)
    assert [("degree 4" in text, "as NoPoSplat does it" in text) for _, text, _ in found(path)] == [
        (True, False),
        (False, True),
    ]
    sh = lint(path).gaussians.sh
    np.testing.assert_array_equal(sh[0, 1:, 1], np.arange(24, 39))


def test_pixelsplat_is_known_and_its_rotations_are_left(tmp_path, gaussians):
    columns = columns_of(gaussians) | {"opacity": gaussians.opacities / 3}
    take = np.concatenate([[2 * i, 2 * i + 1] * 3 for i in range(50)])
    for name in NAMES[6:9] + NAMES[-4:]:
        columns[name] = columns[name][take]
    path = write(tmp_path / "a.ply", columns)
    assert [("pixelSplat" in text, repaired) for _, text, repaired in found(path)] == [(True, True), (True, False)]
    assert main(["lint", str(path), "--repair", str(tmp_path / "b.ply")]) == 1
    np.testing.assert_allclose(load_splats(tmp_path / "b.ply").opacities, gaussians.opacities / 3, atol=1e-6)


def test_linear_scales(tmp_path, gaussians):
    columns = columns_of(gaussians)
    columns |= {f"scale_{i}": gaussians.scales[:, i] for i in range(3)}
    repaired = only(write(tmp_path / "a.ply", columns), "error", "without the logarithm")
    np.testing.assert_array_equal(repaired.scales, gaussians.scales)
    large = {name: columns_of(gaussians)[name] * 5000 for name in "xyz"}  # a scene in millimeters
    large |= {f"scale_{i}": to_log(gaussians.scales)[:, i] + 8.5 for i in range(3)}
    assert found(write(tmp_path / "b.ply", columns_of(gaussians) | large)) == []


def test_rotations(tmp_path, gaussians):
    columns = columns_of(gaussians)
    for i in range(4):
        columns[f"rot_{i}"][7] = 0
        columns[f"rot_{i}"][9] *= 3
    path = write(tmp_path / "a.ply", columns)
    assert [(level, text.split(":")[0]) for level, text, _ in found(path)] == [
        ("note", "rotations not of length 1"),
        ("error", "rotations 0 0 0 0"),
    ]
    np.testing.assert_allclose(np.linalg.norm(lint(path).gaussians.quats, axis=1), 1, atol=2e-3)


def test_rows_of_nan_and_of_zeros_and_two_scales(tmp_path, gaussians):
    columns = columns_of(gaussians)
    columns["y"][4] = np.nan
    assert len(only(write(tmp_path / "a.ply", columns), "error", "rows with NaN or infinity: 1 of 300")) == 299
    columns = {name: np.concatenate([values, [0]]) for name, values in columns_of(gaussians).items()}
    assert len(only(write(tmp_path / "b.ply", columns), "error", "rows of zeros: 1 of 301")) == 300
    columns = columns_of(gaussians)
    del columns["scale_2"]
    only(write(tmp_path / "c.ply", columns), "error", "as 2DGS writes")


def test_headers_that_miscount(tmp_path, gaussians):
    columns = columns_of(gaussians)
    assert len(only(write(tmp_path / "a.ply", columns, 200), "error", "enough for 100.0 others")) == 200
    assert len(only(write(tmp_path / "b.ply", columns, 400), "error", "300 are there")) == 300
    save_splats(gaussians, tmp_path / "c.splat", notify=lambda note: None)
    (tmp_path / "c.splat").write_bytes((tmp_path / "c.splat").read_bytes()[:-5])
    assert len(only(tmp_path / "c.splat", "error", "27 bytes behind")) == 299


def test_the_filter_of_mip_splatting(tmp_path, gaussians):
    path = write(tmp_path / "a.ply", columns_of(gaussians) | {"filter_3D": np.full(300, 0.01, np.float32)})
    assert_same(only(path, "warning", "filter_3D"), load_splats(path, notify=lambda note: None))


def test_logarithms_in_a_glb(tmp_path, gaussians):
    logs = Gaussians(gaussians.means, gaussians.quats, to_log(gaussians.scales), gaussians.opacities, gaussians.sh)
    (tmp_path / "a.glb").write_bytes(gltf.encode(logs, "z-up"))
    repaired = only(tmp_path / "a.glb", "error", "a draft of KHR_gaussian_splatting")
    np.testing.assert_allclose(repaired.scales, gaussians.scales, rtol=1e-6)


def test_floaters_and_huge_ones_are_told_and_left(tmp_path, gaussians):
    gaussians.means[5] = 40
    gaussians.scales[6] = 30
    save_splats(gaussians, tmp_path / "a.ply")
    assert [(level, text[:8], repaired) for level, text, repaired in found(tmp_path / "a.ply")] == [
        ("warning", "floaters", False),
        ("warning", "larger t", False),
    ]


def test_a_folder_is_repaired(tmp_path, gaussians, capsys):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    write(tmp_path / "in" / "sub" / "a.ply", columns_of(gaussians) | {"opacity": gaussians.opacities})
    save_splats(gaussians, tmp_path / "in" / "b.ply")
    assert main(["lint", str(tmp_path / "in")]) == 1
    assert main(["lint", str(tmp_path / "in"), "--repair", str(tmp_path / "out")]) == 0
    assert "[repaired: logits of them]" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").rglob("*.ply")] == ["a.ply"]
    assert main(["lint", str(tmp_path / "out")]) == 0
    (tmp_path / "in" / "c.ply").write_bytes(b"no ply")
    assert main(["lint", str(tmp_path / "in"), "--repair", str(tmp_path / "out")]) == 1
    assert main(["lint", str(tmp_path / "in"), "--repair", str(tmp_path / "in")]) == 2
    assert main(["lint", str(tmp_path / "none.ply")]) == 2
