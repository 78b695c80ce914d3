"""PSNR and SSIM against their definitions."""

import numpy as np
import pytest

from gsbench.core.image_metrics import psnr, ssim


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


@pytest.mark.parametrize("box", [(0, 3, 0, 4), (17, 19, 30, 36), (9, 12, 15, 16), (36, 40, 0, 36)])
def test_ssim_of_images_that_differ_in_a_box(images, box):
    """Most of an object's image is background in both: what is equal is left out, and must not change the result."""
    top, bottom, left, right = box
    a, b = images[0][0], images[0][0].copy()
    b[top:bottom, left:right] = images[1][0, top:bottom, left:right]
    assert ssim(a, b) == pytest.approx(np.mean([naive_ssim(a[..., c], b[..., c]) for c in range(3)]), abs=1e-6)
    assert ssim(a, b) < 1


def test_channels_are_scored_apart(images):
    a, b = images
    planes = [np.ascontiguousarray(np.moveaxis(each[0], -1, 0)) for each in images]
    assert ssim(planes[0][..., None], planes[1][..., None]) == pytest.approx(ssim(a[0], b[0]), abs=1e-6)
    assert psnr(planes[0], planes[1]) == pytest.approx(psnr(a[0], b[0]))
    assert ssim(a, b) == pytest.approx((ssim(a[0], b[0]) + ssim(a[1], b[1])) / 2)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_shapes_must_agree(images, metric):
    with pytest.raises(ValueError, match=r"shapes \(2, 40, 36, 3\) and \(40, 36, 3\)"):
        metric(images[0], images[0][0])
