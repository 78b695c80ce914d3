"""Reading and writing 100,000 Gaussians of SH degree 3 in every format, beside plyfile property by property."""

from pathlib import Path

import numpy as np
import plyfile
import pytest

from gsbench.core.types import Gaussians
from gsbench.formats import SUFFIXES, load_splats, save_splats
from tests.formats.samples import random_gaussians

pytestmark = pytest.mark.slow

COUNT = 100_000


@pytest.fixture(scope="module")
def gaussians() -> Gaussians:
    return random_gaussians(COUNT, 3)


@pytest.fixture(scope="module")
def files(gaussians: Gaussians, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("formats")
    paths = {suffix: folder / f"a{suffix}" for suffix in SUFFIXES}
    for path in paths.values():
        save_splats(gaussians, path, notify=lambda note: None)
    return paths


def note_speed(benchmark, path: Path) -> None:
    if benchmark.enabled:
        benchmark.extra_info["megabytes"] = path.stat().st_size / 1e6
        benchmark.extra_info["gaussians_per_second"] = COUNT / benchmark.stats["median"]


def read_by_property(path: Path) -> Gaussians:
    """As most 3DGS code does it, with plyfile."""
    vertex = plyfile.PlyData.read(path)["vertex"]

    def stack(*names: str) -> np.ndarray:
        return np.stack([np.asarray(vertex[name]) for name in names], axis=1)

    quats = stack(*(f"rot_{i}" for i in range(4)))
    rest = stack(*(f"f_rest_{i}" for i in range(45))).reshape(-1, 3, 15).transpose(0, 2, 1)
    return Gaussians(
        stack("x", "y", "z"),
        quats / np.linalg.norm(quats, axis=1, keepdims=True),
        np.exp(stack(*(f"scale_{i}" for i in range(3)))),
        (1 / (1 + np.exp(-np.asarray(vertex["opacity"], np.float64)))).astype(np.float32),
        np.concatenate([stack("f_dc_0", "f_dc_1", "f_dc_2")[:, None], rest], axis=1),
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read(benchmark, files: dict[str, Path], gaussians: Gaussians, suffix: str) -> None:
    read = benchmark.pedantic(load_splats, (files[suffix],), rounds=5, warmup_rounds=1)
    np.testing.assert_allclose(read.means, gaussians.means, atol=2**-16)
    note_speed(benchmark, files[suffix])


def test_read_ply_with_plyfile(benchmark, files: dict[str, Path], gaussians: Gaussians) -> None:
    read = benchmark.pedantic(read_by_property, (files[".ply"],), rounds=5, warmup_rounds=1)
    np.testing.assert_array_equal(read.sh, gaussians.sh)
    note_speed(benchmark, files[".ply"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_write(benchmark, gaussians: Gaussians, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    benchmark.pedantic(save_splats, (gaussians, path), {"notify": lambda note: None}, rounds=5, warmup_rounds=1)
    assert len(load_splats(path)) == COUNT
    note_speed(benchmark, path)
