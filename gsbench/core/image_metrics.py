"""PSNR and SSIM of images in 0..1."""

import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8

from gsbench.core import image_kernels
from gsbench.core.parsing import InputError
from gsbench.core.types import Array


def psnr(a: Float[Array, "..."], b: Float[Array, "..."]) -> float:
    """Peak signal-to-noise ratio in dB of images `[h w c]` in 0..1; of views `[v h w c]`, the mean of theirs.

    Identical images give infinity.

    Raises:
        InputError: the shapes differ.
    """
    _require_equal_shapes(a, b)
    x, y = _rows(a), _rows(b)
    errors = np.array([image_kernels.squared_error(u, v) for u, v in zip(x, y, strict=True)]) / x[0].size
    with np.errstate(divide="ignore"):
        return float(np.mean(-10 * np.log10(errors)))


def psnr_of_bytes(a: UInt8[Array, "h w c"], b: UInt8[Array, "h w c"]) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit images.

    It is finite: identical images count as if one channel of one pixel were a gray level off.

    Raises:
        InputError: the shapes differ.
    """
    _require_equal_shapes(a, b)
    error = float(np.square(a.astype(np.int32) - b).sum(dtype=np.int64))
    return psnr_of_error(error, a.size)


def psnr_of_error(squared_error: float, samples: int) -> float:
    """As `psnr_of_bytes`, of the sum of the squared differences and the number of pixels times channels."""
    return float(10 * np.log10(255**2 * samples / max(squared_error, 1)))


def ssim(a: Float[Array, "..."], b: Float[Array, "..."]) -> float:
    """Mean structural similarity of images `[h w c]` or `[v h w c]` in 0..1 (Wang 2004).

    The window is an 11x11 Gaussian of sigma 1.5, K1 is .01, K2 is .03. It sees zeros beyond the
    border, as in the 3D Gaussian splatting evaluations.

    Raises:
        InputError: the shapes differ.
    """
    _require_equal_shapes(a, b)
    x, y = _rows(a), _rows(b)
    return float(np.mean([image_kernels.similarity(u, v, a.shape[-1]) for u, v in zip(x, y, strict=True)]))


def _require_equal_shapes(a: Shaped[Array, "..."], b: Shaped[Array, "..."]) -> None:
    if a.shape != b.shape:
        raise InputError(f"images: shapes {a.shape} and {b.shape}, they must be equal")


def _rows(images: Float[Array, "..."]) -> Float32[Array, "v h wc"]:
    """Each image's pixel rows, the channels side by side."""
    height, width, channels = images.shape[-3:]
    return np.ascontiguousarray(images, np.float32).reshape(-1, height, width * channels)
