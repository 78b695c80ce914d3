"""Files that other tools wrote: those in the folder GSBENCH_SPLATS, and what splat-transform makes of ours."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import plyfile
import pytest

from gsbench.core.geometry import SH_C0
from gsbench.core.types import Gaussians
from gsbench.formats import load_splats, save_splats, spz
from tests.formats.samples import assert_same, assert_shapes_close, random_gaussians

SPLAT_TRANSFORM = "npx --yes @playcanvas/splat-transform@3"
"""How it is started unless GSBENCH_SPLAT_TRANSFORM says otherwise."""


def splats(name: str) -> Path:
    folder = os.environ.get("GSBENCH_SPLATS")
    if not folder:
        pytest.skip("GSBENCH_SPLATS is not set: it names a folder with PLY files of other tools")
    return Path(folder) / name


@pytest.mark.parametrize(
    ("name", "count", "note"),
    [
        ("cvlab-epfl_pc_short.ply", 100, "left out 14029 bytes behind the 100 Gaussians that the header announces"),
        ("supersplat_fruit_drops_minimal.ply", 4721, "left out properties that no Gaussian has: transform"),
    ],
)
def test_reads_what_other_tools_wrote(name: str, count: int, note: str, tmp_path: Path) -> None:
    path = splats(name)
    notes: list[str] = []
    gaussians = load_splats(path, notify=notes.append)
    assert notes == [f"{path}: {note}"]
    assert len(gaussians) == count
    vertex = plyfile.PlyData.read(path)["vertex"]
    np.testing.assert_array_equal(gaussians.means, np.stack([vertex[axis] for axis in "xyz"], axis=1))
    for channel in range(3):
        np.testing.assert_array_equal(gaussians.sh[:, 0, channel], vertex[f"f_dc_{channel}"])
        for k in range(15):
            np.testing.assert_array_equal(gaussians.sh[:, 1 + k, channel], vertex[f"f_rest_{15 * channel + k}"])
        np.testing.assert_allclose(gaussians.scales[:, channel], np.exp(vertex[f"scale_{channel}"]), rtol=1e-6)
    np.testing.assert_allclose(gaussians.opacities, 1 / (1 + np.exp(-vertex["opacity"])), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(gaussians.quats, axis=1), 1, atol=2e-3)
    save_splats(gaussians, tmp_path / "a.ply")
    assert_same(load_splats(tmp_path / "a.ply"), gaussians)


@pytest.fixture(scope="module")
def splat_transform(tmp_path_factory: pytest.TempPathFactory):
    """Runs splat-transform on files of one folder."""
    command = shlex.split(os.environ.get("GSBENCH_SPLAT_TRANSFORM", SPLAT_TRANSFORM))
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not here: splat-transform needs Node.js")
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("splat-transform cannot be fetched within five minutes")
    if done.returncode:
        pytest.skip(f"splat-transform does not start: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")

    def convert(source: Path, target: Path, *options: str) -> Path:
        subprocess.run([*command, "-q", "-w", *options, source, target], check=True, timeout=300, capture_output=True)
        return target

    return convert


@pytest.fixture
def gaussians() -> Gaussians:
    return random_gaussians(400, 3)


@pytest.mark.slow
def test_splat_transform_reads_our_ply(splat_transform, gaussians: Gaussians, tmp_path: Path) -> None:
    save_splats(gaussians, tmp_path / "a.ply")
    splat_transform(tmp_path / "a.ply", tmp_path / "b.ply")
    ours, theirs = (plyfile.PlyData.read(tmp_path / name)["vertex"] for name in ("a.ply", "b.ply"))
    assert {one.name for one in theirs.properties} == {one.name for one in ours.properties}
    for one in ours.properties:
        np.testing.assert_array_equal(ours[one.name], theirs[one.name], err_msg=one.name)
    assert_same(load_splats(tmp_path / "b.ply"), load_splats(tmp_path / "a.ply"))


@pytest.mark.slow
def test_splat_transform_reads_our_splat(splat_transform, gaussians: Gaussians, tmp_path: Path) -> None:
    save_splats(gaussians, tmp_path / "a.splat", notify=lambda note: None)
    theirs = load_splats(splat_transform(tmp_path / "a.splat", tmp_path / "b.ply"))
    ours = load_splats(tmp_path / "a.splat")
    np.testing.assert_array_equal(theirs.means, ours.means)
    np.testing.assert_allclose(theirs.scales, ours.scales, rtol=1e-6)
    np.testing.assert_allclose(theirs.opacities, ours.opacities, atol=2e-6)
    np.testing.assert_allclose(theirs.sh * SH_C0, ours.sh * SH_C0, atol=1e-6)
    assert_shapes_close(theirs, ours, 0.02)  # a quaternion's 0 is 127.5 of a byte to it, 128 to antimatter15's viewer


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3", "4"])
def test_spz_of_splat_transform_and_ours_agree(
    splat_transform, gaussians: Gaussians, tmp_path: Path, version: str
) -> None:
    """It takes the numbers of SPZ files as they stand, and encodes them with Niantic's own library."""
    save_splats(gaussians, tmp_path / "a.ply")
    (tmp_path / "a.spz").write_bytes(spz.encode(load_splats(tmp_path / "a.ply"), lambda note: None))
    decoded = load_splats(splat_transform(tmp_path / "a.spz", tmp_path / "b.ply"))
    ours = spz.read(tmp_path / "a.spz", lambda note: None)
    np.testing.assert_array_equal(decoded.means, ours.means)
    np.testing.assert_allclose(decoded.scales, ours.scales, rtol=1e-6)
    np.testing.assert_allclose(decoded.opacities, ours.opacities, atol=2e-6)
    np.testing.assert_allclose(decoded.sh, ours.sh, atol=1e-6)
    assert_shapes_close(decoded, ours, 1e-5)
    splat_transform(tmp_path / "a.ply", tmp_path / "c.spz", "--spz-version", version)
    theirs = spz.read(tmp_path / "c.spz", lambda note: None)
    assert_same(theirs, ours, ("quats", "scales", "opacities", "sh"))
    np.testing.assert_allclose(theirs.means, ours.means, atol=2**-13 + 2**-17)


@pytest.mark.slow
def test_reads_glb_of_splat_transform(splat_transform, gaussians: Gaussians, tmp_path: Path) -> None:
    """It turns PLY half about z, where we turn y-down half about x: half a turn about the upright axis apart."""
    save_splats(gaussians, tmp_path / "a.ply")
    theirs = load_splats(splat_transform(tmp_path / "a.ply", tmp_path / "a.glb"), axes="y-down")
    np.testing.assert_array_equal(theirs.means, gaussians.means * np.float32([-1, 1, -1]))
    np.testing.assert_allclose(theirs.scales, gaussians.scales, rtol=1e-6)
    np.testing.assert_allclose(theirs.opacities, gaussians.opacities, atol=1e-7)
    np.testing.assert_allclose(np.abs(theirs.sh), np.abs(gaussians.sh), atol=1e-6)
