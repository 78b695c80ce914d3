"""Objects made ready on the GPU for the fit: targets, hull, start."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from gsbench.core.types import Array, Cameras, Gaussians, Views
from gsbench.reconstruct.cuda.hull import hull_gaussians
from gsbench.reconstruct.hull.recipe import FitRecipe
from gsbench.reconstruct.schedule import low_pass_of, view_order
from gsbench.reconstruct.targets import scaled_cameras, to_frame, unit_frame

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


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the fit of one object starts from; tensors lie on the device.

    Attributes:
        start: Gaussians on the visual hull, in the fit's frame.
        targets: of each stage `[v h w 4]`, colour over white and alpha.
        cameras: of each stage, in the fit's frame.
        orders: of each stage, the view of each step.
        low_passes: of each stage, what is added to variances in the image.
        held_out: `[u h w 4]`, colour over white and alpha.
        held_out_cameras: in the fit's frame.
        center: of the fit's frame, in the views'.
        radius: its unit, in the views'.
    """

    start: Gaussians
    targets: tuple[UInt8[Tensor, "v _ _ 4"], ...]
    cameras: tuple[Cameras, ...]
    orders: tuple[Int64[Array, "_"], ...]
    low_passes: tuple[float, ...]
    held_out: UInt8[Tensor, "u _ _ 4"]
    held_out_cameras: Cameras
    center: Array
    radius: float


def prepare(views: Views, held_out: Views, recipe: FitRecipe, seed: int, device: torch.device) -> Prepared:
    """Uploads the views once and makes everything of them there; the random numbers are those of the fit on CPU.

    Raises:
        InputError: as `gsbench.reconstruct.fit`.
        torch.OutOfMemoryError: the device is full.
    """
    center, radius = unit_frame(views)
    cameras = to_frame(views, center, radius).cameras
    scaled = tuple(scaled_cameras(cameras, stage.resolution) for stage in recipe.stages)
    rng = np.random.default_rng(seed)
    rgba = torch.from_numpy(np.ascontiguousarray(views.rgba)).to(device)
    start = hull_gaussians(rgba, cameras, recipe, rng)
    orders = tuple(np.array(view_order(len(views), stage.iterations, rng)) for stage in recipe.stages)
    targets = tuple(target_images(rgba, cameras.width // each.width) for each in scaled)
    kept = target_images(torch.from_numpy(np.ascontiguousarray(held_out.rgba)).to(device), 1)
    held_out_cameras = to_frame(held_out, center, radius).cameras
    low_passes = tuple(low_pass_of(stage, cameras.width) for stage in recipe.stages)
    return Prepared(start, targets, scaled, orders, low_passes, kept, held_out_cameras, center, radius)
