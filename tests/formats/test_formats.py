"""What holds for every format: suffixes, bad input, files that stay whole, and how much an image loses."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gsbench.formats import SUFFIXES, load_splats, save_splats, suffix_of
from gsbench.render.splats import render_psnr
from tests.formats.samples import random_gaussians

LEAST_PSNR = {".ply": 100.0, ".glb": np.inf, ".spz": 37.0, ".splat": 27.0}
"""dB that a format may cost at worst on the Gaussians below; .splat also loses SH, which are small there."""


def natural(degree: int):
    """Gaussians as fits leave them: opaque, small, SH falling with the degree."""
    gaussians = random_gaussians(1500, degree)
    damping = np.float32([1, *[0.1] * 3, *[0.05] * 5, *[0.03] * 7])[: (degree + 1) ** 2, None]
    return replace(
        gaussians,
        scales=(gaussians.scales.clip(1e-3, 0.08)).astype(np.float32),
        sh=gaussians.sh * damping,
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("degree", [0, 3])
def test_what_a_format_costs_an_image(tmp_path: Path, suffix: str, degree: int) -> None:
    gaussians = natural(degree)
    path = tmp_path / f"a{suffix}"
    save_splats(gaussians, path, notify=lambda note: None)
    assert render_psnr(gaussians, load_splats(path)) >= LEAST_PSNR[suffix]


@pytest.mark.parametrize("name", ["a.ply", "A.PLY", "b.SpZ", "c.d.glb", ".x.splat"])
def test_suffixes(name: str) -> None:
    assert suffix_of(name) in SUFFIXES


@pytest.mark.parametrize("name", ["a", "a.obj", "ply", "a.compressed.ply", "a.gltf", "a.ply.gz"])
def test_other_suffixes_are_refused_with_the_allowed_ones(tmp_path: Path, name: str) -> None:
    for call in (load_splats, lambda path: save_splats(random_gaussians(2), path)):
        with pytest.raises(ValueError, match=r"no format of Gaussians has .* .allowed: \.ply, \.splat, \.spz, \.glb"):
            call(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_file_is_an_os_error(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(FileNotFoundError):
        load_splats(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_options_are_checked_whatever_the_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    save_splats(random_gaussians(5, 0), path)
    with pytest.raises(ValueError, match=r"axes: 'up' .allowed: z-up, y-down"):
        load_splats(path, axes="up")
    with pytest.raises(ValueError, match=r"axes: 'up' .allowed: z-up, y-down"):
        save_splats(random_gaussians(5, 0), path, axes="up")
    with pytest.raises(ValueError, match=r"opacity: 'raw' .allowed: logit, linear"):
        load_splats(path, opacity="raw")
    if suffix != ".ply":
        with pytest.raises(ValueError, match=f"'linear' is a choice for .ply files only, {suffix} says how"):
            load_splats(path, opacity="linear")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("means", np.nan, "means of Gaussian 1: nan"),
        ("quats", np.inf, "quats of Gaussian 1: inf"),
        ("scales", 0, "scales of Gaussian 1: 0 .1 like it; must be above 0"),
        ("scales", -1, "scales of Gaussian 1: -1"),
        ("opacities", 1.5, r"opacities of Gaussian 1: 1.5 .1 like it; must be in 0..1"),
        ("opacities", -0.1, "opacities of Gaussian 1: -0.1"),
        ("sh", np.nan, "sh of Gaussian 1: nan"),
    ],
)
def test_values_that_no_gaussian_has_are_not_written(
    tmp_path: Path, suffix: str, name: str, value: float, message: str
) -> None:
    gaussians = random_gaussians(3, 0)
    getattr(gaussians, name).reshape(3, -1)[1, 0] = value
    with pytest.raises(ValueError, match=message):
        save_splats(gaussians, tmp_path / f"a{suffix}")
    with pytest.raises(ValueError, match=r"no Gaussians .at least one is needed"):
        save_splats(gaussians[:0], tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, suffix: str, monkeypatch) -> None:
    path = tmp_path / f"a{suffix}"
    save_splats(random_gaussians(5, 0), path)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_splats(random_gaussians(9, 0), path)
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [before]
