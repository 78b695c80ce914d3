"""PSNR and SSIM of images in 0..1, in numpy."""

import numpy as np
from jaxtyping import Float

from gsbench.types import Array

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
_SSIM_BLOCK = 24


def psnr(a: Float[Array, "..."], b: Float[Array, "..."]) -> float:
    """Peak signal-to-noise ratio in dB of images `[h w c]` in 0..1; of views `[v h w c]`, the mean of theirs.

    Identical images give infinity.

    Raises:
        ValueError: the shapes differ.
    """
    _require_equal_shapes(a, b)
    errors = np.mean(np.square(np.subtract(a, b)), axis=(-3, -2, -1), dtype=np.float64)
    with np.errstate(divide="ignore"):
        return float(np.mean(-10 * np.log10(errors)))


def ssim(a: Float[Array, "..."], b: Float[Array, "..."]) -> float:
    """Mean structural similarity of images `[h w c]` or `[v h w c]` in 0..1 (Wang 2004).

    The window is an 11x11 Gaussian of sigma 1.5, K1 is .01, K2 is .03. It sees zeros beyond the
    border, as in the 3D Gaussian splatting evaluations.

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
    # The two variances enter as their sum alone.
    moments = np.concatenate([x, y, x * x + y * y, x * y], axis=-1)
    rows = _blur_rows(moments)
    mean_x, mean_y, squares, product = np.split(_blur_rows(np.ascontiguousarray(rows.swapaxes(0, 1))), 4, axis=-1)
    means, means_squared = mean_x * mean_y, mean_x**2 + mean_y**2
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * means + c1) * (2 * (product - means) + c2)
    similarity /= (means_squared + c1) * (squares - means_squared + c2)
    return float(similarity.mean(dtype=np.float64))


def _blur_rows(image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """The Gaussian window along the first axis, zeros beyond the border."""
    height, reach = len(image), SSIM_WINDOW // 2
    flat, blurred = image.reshape(height, -1), np.empty_like(image)
    weights = np.exp(-np.square(np.arange(-reach, reach + 1)) / (2 * SSIM_SIGMA**2))
    window = np.zeros(2 * _SSIM_BLOCK + SSIM_WINDOW, np.float32)
    window[_SSIM_BLOCK : _SSIM_BLOCK + SSIM_WINDOW] = weights / weights.sum()
    # A band of rows is one small matrix product with the band and the rows about it.
    for start in range(0, height, _SSIM_BLOCK):
        stop, low, high = (
            min(start + _SSIM_BLOCK, height),
            max(start - reach, 0),
            min(start + _SSIM_BLOCK + reach, height),
        )
        offsets = np.arange(low, high) - np.arange(start, stop)[:, None] + reach + _SSIM_BLOCK
        np.matmul(window[offsets], flat[low:high], out=blurred.reshape(height, -1)[start:stop])
    return blurred
