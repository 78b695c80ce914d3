"""PSNR and SSIM of images in 0..1, in numpy."""

import numpy as np
from jaxtyping import Float

from gsbench.types import Array

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5


def psnr(a: Float[Array, "*v h w c"], b: Float[Array, "*v h w c"]) -> float:
    """Peak signal-to-noise ratio in dB of images in 0..1; over several views, the mean of the views' PSNRs.

    Identical images give infinity.

    Raises:
        ValueError: the shapes differ.
    """
    _require_equal_shapes(a, b)
    errors = np.mean(np.square(np.subtract(a, b, dtype=np.float64)), axis=(-3, -2, -1))
    with np.errstate(divide="ignore"):
        return float(np.mean(-10 * np.log10(errors)))


def ssim(a: Float[Array, "*v h w c"], b: Float[Array, "*v h w c"]) -> float:
    """Mean structural similarity of images in 0..1 (Wang 2004: 11x11 Gaussian window of sigma 1.5, K1 .01, K2 .03).

    The window sees zeros beyond the border, as in the 3D Gaussian splatting evaluations.

    Raises:
        ValueError: the shapes differ.
    """
    _require_equal_shapes(a, b)
    x, y = (np.asarray(image, np.float32).reshape(-1, *image.shape[-3:]) for image in (a, b))
    return float(np.mean([_ssim_of_view(u, v) for u, v in zip(x, y, strict=True)]))


def _require_equal_shapes(a: Float[Array, "..."], b: Float[Array, "..."]) -> None:
    if a.shape != b.shape:
        raise ValueError(f"images: shapes {a.shape} and {b.shape}, they must be equal")


def _ssim_of_view(x: Float[Array, "h w c"], y: Float[Array, "h w c"]) -> float:
    # One blur of the five moments together: the window is separable, so it costs two banded matrix products.
    moments = np.concatenate([x, y, x * x, y * y, x * y], axis=-1)
    height, width, _ = moments.shape
    rows = (_window_matrix(height) @ moments.reshape(height, -1)).reshape(moments.shape)
    blurred = _window_matrix(width) @ rows
    mean_x, mean_y, square_x, square_y, product = np.split(blurred, 5, axis=-1)
    variance_x, variance_y, covariance = square_x - mean_x**2, square_y - mean_y**2, product - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return float(similarity.mean(dtype=np.float64))


def _window_matrix(size: int) -> Float[Array, "n n"]:
    """The `[size size]` matrix that blurs along one axis with zeros beyond the border."""
    offsets = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-np.square(np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2) / (2 * SSIM_SIGMA**2))
    kernel = np.exp(-np.square(offsets) / (2 * SSIM_SIGMA**2)) / weights.sum()
    return np.where(np.abs(offsets) <= SSIM_WINDOW // 2, kernel, 0).astype(np.float32)
