"""antimatter15's .splat: its bytes, what they lose, and against gsplat's exporter."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gsbench.core.geometry import dc_to_rgb
from gsbench.core.types import Gaussians
from gsbench.formats import load_splats, save_splats
from gsbench.formats.activation import to_log, to_logit
from tests.formats.samples import DEGREES, assert_same, assert_shapes_close, random_gaussians


def save(gaussians: Gaussians, path: Path) -> list[str]:
    notes: list[str] = []
    save_splats(gaussians, path, notify=notes.append)
    return notes


def colored(count: int, degree: int = 0) -> Gaussians:
    """Random Gaussians whose colors lie in 0..1."""
    gaussians = random_gaussians(count, degree)
    return replace(gaussians, sh=gaussians.sh.clip(-1.7, 1.7))


def test_a_record_has_the_bytes_of_the_format(tmp_path: Path) -> None:
    gray = Gaussians(
        np.array([[1, 2, 3]], np.float32),
        np.array([[0.5, -0.5, 0.5, 0.5]], np.float32),
        np.array([[0.25, 0.5, 1]], np.float32),
        np.array([0.5], np.float32),
        np.zeros((1, 1, 3), np.float32),
    )
    assert save(gray, tmp_path / "a.splat") == []
    expected = np.array([1, 2, 3, 0.25, 0.5, 1], "<f4").tobytes() + bytes([128, 128, 128, 128, 192, 64, 192, 192])
    assert (tmp_path / "a.splat").read_bytes() == expected


@pytest.mark.parametrize("degree", DEGREES)
def test_what_it_keeps_and_what_it_loses(tmp_path: Path, degree: int) -> None:
    gaussians = colored(500, degree)
    notes = save(gaussians, tmp_path / "a.splat")
    left_out = (
        f"{tmp_path / 'a.splat'}: .splat holds SH of degree 0 only: {(degree + 1) ** 2 - 1} coefficients a channel"
    )
    assert [note.startswith(left_out) for note in notes] == [True] * (degree > 0)
    again = load_splats(tmp_path / "a.splat")
    assert_same(again, gaussians, ("means", "scales"))
    assert again.sh.shape == (500, 1, 3)
    np.testing.assert_allclose(dc_to_rgb(again.sh), dc_to_rgb(gaussians.sh[:, :1]), atol=0.501 / 255)
    np.testing.assert_allclose(again.opacities, gaussians.opacities, atol=0.501 / 255)
    np.testing.assert_allclose(np.linalg.norm(again.quats, axis=1), 1, atol=1e-6)
    assert_shapes_close(again, gaussians, 0.03)


def test_colors_beyond_its_range_are_counted(tmp_path: Path) -> None:
    gaussians = colored(10)
    gaussians.sh[3, 0, 1] = 4
    assert save(gaussians, tmp_path / "a.splat") == [
        f"{tmp_path / 'a.splat'}: .splat holds colors in 0..1: cut in 1 of 10 Gaussians"
    ]
    np.testing.assert_allclose(dc_to_rgb(load_splats(tmp_path / "a.splat").sh)[3, 0, 1], 1)


def test_reads_what_gsplat_exports(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    exporter = pytest.importorskip("gsplat.exporter")
    g = colored(64)
    raw = (g.means, to_log(g.scales), g.quats, to_logit(g.opacities), g.sh[:, 0])
    data = exporter.splat2splat_bytes(*(torch.from_numpy(np.ascontiguousarray(values)) for values in raw))
    (tmp_path / "a.splat").write_bytes(data)
    theirs = load_splats(tmp_path / "a.splat")
    place = {tuple(mean): index for index, mean in enumerate(g.means.tolist())}
    ours = g[[place[tuple(mean)] for mean in theirs.means.tolist()]]  # gsplat sorts them
    np.testing.assert_allclose(theirs.scales, ours.scales, rtol=1e-6)
    np.testing.assert_allclose(theirs.opacities, ours.opacities, atol=1.01 / 255)  # gsplat rounds down
    np.testing.assert_allclose(dc_to_rgb(theirs.sh), dc_to_rgb(ours.sh), atol=1.01 / 255)
    assert_shapes_close(theirs, ours, 0.05)


@pytest.mark.parametrize(("size", "message"), [(0, "no Gaussians"), (31, "31 bytes"), (70, "70 bytes .* 32 for each")])
def test_refuses_what_is_none(tmp_path: Path, size: int, message: str) -> None:
    (tmp_path / "a.splat").write_bytes(bytes(size))
    with pytest.raises(ValueError, match=message) as caught:
        load_splats(tmp_path / "a.splat")
    assert str(caught.value).startswith(f"{tmp_path / 'a.splat'}: ")


def test_a_machine_too_small_for_a_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise MemoryError

    (tmp_path / "a.splat").write_bytes(bytes(64))
    monkeypatch.setattr(np, "fromfile", full)
    with pytest.raises(ValueError, match=r"a\.splat: its 64 bytes take more memory than there is"):
        load_splats(tmp_path / "a.splat")


def test_zeros_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.splat"
    record = np.array([1, 2, 3, 1, 0, 1], "<f4").tobytes() + bytes([9, 9, 9, 9, 128, 128, 128, 128])
    path.write_bytes(bytes(32) + record)
    notes: list[str] = []
    gaussians = load_splats(path, notify=notes.append)
    np.testing.assert_array_equal(gaussians.quats, [[1, 0, 0, 0]])
    np.testing.assert_array_equal(gaussians.scales, np.array([[1, 1e-7, 1]], np.float32))
    assert [note.removeprefix(f"{path}: ") for note in notes] == [
        "left out rows of zeros, which are no Gaussians: 1 of 2 (the first: 0)",
        "rotations 0 0 0 0 taken as none: 1 of 1 (the first: 0)",
        "scales of 0 taken as 1e-07: 1 of 1 (the first: 0)",
    ]
    path.write_bytes(bytes(32))
    with pytest.raises(ValueError, match="no Gaussians"):
        load_splats(path, notify=lambda note: None)
