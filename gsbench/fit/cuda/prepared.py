"""One object's views, brought to the device as the fit uses them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from gsbench.fit.cuda.hull import hull_gaussians
from gsbench.fit.cuda.targets import target_images
from gsbench.fit.frame import to_frame, unit_frame
from gsbench.fit.recipe import FitRecipe
from gsbench.fit.schedule import low_pass_of, view_order
from gsbench.fit.targets import scaled_cameras
from gsbench.types import Array, Cameras, Gaussians, Views


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
        InputError: as `gsbench.fit.fit`.
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
