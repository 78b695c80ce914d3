"""What `gsbench.core.image_metrics` does, on a torch device, image by image of a batch."""

import math

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from gsbench.core.image_kernels import REACH, SIGMA


def psnr(a: Float32[Tensor, "v h w 3"], b: Float32[Tensor, "v h w 3"]) -> Float64[Tensor, " v"]:
    """Peak signal-to-noise ratio in dB of each pair of images in 0..1; of identical ones it is infinite."""
    return -10 * (a - b).square().mean((1, 2, 3), dtype=torch.float64).log10()


def ssim(a: Float[Tensor, "v h w 3"], b: Float[Tensor, "v h w 3"]) -> Float64[Tensor, " v"]:
    """Mean structural similarity of each pair of images in 0..1, as `gsbench.core.image_metrics.ssim` defines it.

    Differentiable.
    """
    x, y = a.permute(0, 3, 1, 2), b.permute(0, 3, 1, 2)
    down, across = (_band(size, a) for size in x.shape[2:])
    # Products with band matrices keep all digits; a GPU's convolutions may not.
    mean_x, mean_y, squares, product = (down @ image @ across for image in (x, y, x * x + y * y, x * y))
    means, means_squared = mean_x * mean_y, mean_x.square() + mean_y.square()
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * means + c1) * (2 * (product - means) + c2)
    similarity /= (means_squared + c1) * (squares - means_squared + c2)
    return similarity.mean((1, 2, 3), dtype=torch.float64)


def _band(size: int, like: Tensor) -> Float[Tensor, "n n"]:
    """The matrix that blurs along one axis: row i holds the window about i, cut off at the border."""
    place = torch.arange(size, device=like.device)
    offsets = place[:, None] - place
    taps = torch.exp(-offsets.double().square() / (2 * SIGMA**2))
    total = sum(math.exp(-(i * i) / (2 * SIGMA**2)) for i in range(-REACH, REACH + 1))
    return torch.where(offsets.abs() <= REACH, taps / total, 0).to(like.dtype)
