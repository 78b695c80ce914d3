"""What `gsbench.fit.targets` does, on a torch device and channels last, as gsplat's images are."""

import torch
from jaxtyping import UInt8
from torch import Tensor

# Views at a time: a chunk's integers take 16 bytes a pixel, five times over.
_CHUNK = 8


def target_images(rgba: UInt8[Tensor, "v fh fw 4"], factor: int) -> UInt8[Tensor, "v h w 4"]:
    """Colour over white and alpha, each the mean of `factor`^2 pixels: equal to `target_planes` bit for bit."""
    views, height, width, _ = rgba.shape
    images = torch.empty(views, height // factor, width // factor, 4, dtype=torch.uint8, device=rgba.device)
    for start in range(0, views, _CHUNK):
        images[start : start + _CHUNK] = _box_over_white(rgba[start : start + _CHUNK], factor)
    return images


def _box_over_white(rgba: UInt8[Tensor, "v fh fw 4"], factor: int) -> UInt8[Tensor, "v h w 4"]:
    views, height, width, _ = rgba.shape
    straight = rgba.int()
    alpha = straight[..., 3:]
    sums = torch.cat([straight[..., :3] * alpha, alpha], dim=-1)
    if factor > 1:
        boxes = sums.view(views, height // factor, factor, width // factor, factor, 4)
        sums = boxes.sum((2, 4), dtype=torch.int32)
    # Whole numbers, rounded as the CPU's kernel rounds: a target must not depend on the device that a fit runs on.
    area = factor * factor
    sums[..., :3] += 255 * (255 * area - sums[..., 3:]) + 255 * area // 2
    sums[..., :3] //= 255 * area
    sums[..., 3] = (2 * sums[..., 3] + area) // (2 * area)
    return sums.to(torch.uint8)
