"""PSNR and SSIM against their definitions."""

import numpy as np
import pytest

from gsbench.image_metrics import psnr, ssim


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a = rng.random((2, 40, 36, 3)).astype(np.float32)
    return a, np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1).astype(np.float32)


def naive_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of one channel, pixel by pixel, from the definition."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    a, b = np.pad(a.astype(np.float64), 5), np.pad(b.astype(np.float64), 5)
    values = []
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            u, v = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mu, mv = (window * u).sum(), (window * v).sum()
            su, sv = (window * u * u).sum() - mu**2, (window * v * v).sum() - mv**2
            suv = (window * u * v).sum() - mu * mv
            values.append((2 * mu * mv + 1e-4) * (2 * suv + 9e-4) / ((mu**2 + mv**2 + 1e-4) * (su + sv + 9e-4)))
    return float(np.mean(values))


def test_psnr_is_the_mean_over_views(images):
    a, b = images
    expected = [-10 * np.log10(np.mean((a[i].astype(float) - b[i]) ** 2)) for i in range(2)]
    assert psnr(a, b) == pytest.approx(np.mean(expected))
    assert psnr(a[0], b[0]) == pytest.approx(expected[0])
    assert psnr(a, a) == np.inf


def test_ssim_matches_the_definition(images):
    a, b = images
    expected = np.mean([naive_ssim(a[v, ..., c], b[v, ..., c]) for v in range(2) for c in range(3)])
    assert ssim(a, b) == pytest.approx(expected, abs=1e-5)
    assert ssim(a, a) == pytest.approx(1)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_shapes_must_agree(images, metric):
    with pytest.raises(ValueError, match=r"shapes \(2, 40, 36, 3\) and \(40, 36, 3\)"):
        metric(images[0], images[0][0])
