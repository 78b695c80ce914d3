"""Many objects fitted at once on a GPU, as many as its memory holds."""

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from gsbench.core.image_kernels import REACH, SIGMA
from gsbench.core.parsing import InputError
from gsbench.core.types import Gaussians, Views
from gsbench.reconstruct.cuda.hull import DeviceObject, prepare
from gsbench.reconstruct.cuda.optimize import Rasterize, activated, optimize, to_raw
from gsbench.reconstruct.hull.recipe import FitRecipe
from gsbench.reconstruct.targets import Fitted, from_frame
from gsbench.render.splats.cuda import rasterize_tensors, require_gsplat


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


MOST_OBJECTS = 64
"""Beyond as many, gsplat's own figures show no gain a scene."""

# What a step keeps of a pixel, 4 bytes each: image, alpha, last Gaussian, the derivatives by the first two, the target;
# and as much again for gsplat's intermediate results and what the allocator rounds up.
_STEP_BYTES = 2 * 4 * (3 + 1 + 1 + 3 + 1 + 1)
# Of each parameter: itself raw and activated, both derivatives, Adam's two averages; and twice as much while it steps.
_PARAMETER_BYTES = 2 * 4 * 6
# Of a Gaussian's intersections with tiles, some 50, and of their sorting.
_INTERSECTION_BYTES = 24 * 50
# Of a pixel while views are averaged or carved (8 at a time, as integers), and of a held-out one while it is scored.
_PREPARING_BYTES, _SCORING_BYTES = 8 * 60, 4 * 40


def objects_at_once(views: Views, held_out: Views, recipe: FitRecipe, free_bytes: int) -> int:
    """How many objects with such views fit into `free_bytes` of device memory, 1 to `MOST_OBJECTS`.

    One object takes its targets of all stages (4 bytes a pixel) and those of the largest stage once more, joined with
    the other objects'; its held-out views; the images of a step; its parameters. At 64 views of 800x800 in stages of
    200, 400 and 800 pixels that is .5 GB. A tenth of the memory stays free.
    """
    area = views.cameras.width * views.cameras.height
    stages = [area * (stage.resolution / views.cameras.width) ** 2 for stage in recipe.stages]
    pixels = 4 * len(views) * (sum(stages) + max(stages)) + 4 * len(held_out) * area + _STEP_BYTES * max(stages)
    parameters = 11 + 3 * (recipe.sh_degree + 1) ** 2
    gaussians = recipe.num_gaussians * (parameters * _PARAMETER_BYTES + _INTERSECTION_BYTES)
    shared = area * (4 * len(views) + _PREPARING_BYTES + len(held_out) * _SCORING_BYTES)
    return int(min(max((0.9 * free_bytes - shared) // (pixels + gaussians), 1), MOST_OBJECTS))


def free_bytes() -> int:
    """Memory of the current CUDA device that torch can still use: what is free, and what it holds but does not use."""
    free, _ = torch.cuda.mem_get_info()
    return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


_LOGGER = logging.getLogger(__name__)


def fit_batch(objects: Sequence[DeviceObject], recipe: FitRecipe, rasterize: Rasterize) -> list[Fitted]:
    """Fits objects at once, or in halves and halves of halves where the device's memory does not hold them.

    Halving changes no object's result: it depends neither on the others nor on what a failed attempt did.

    Raises:
        torch.OutOfMemoryError: the device does not hold a single one.
    """
    try:
        optimized = optimize(objects, recipe, rasterize)
    except torch.OutOfMemoryError:
        if len(objects) == 1:
            raise
    else:
        return [_score(each, gaussians, recipe, rasterize) for each, gaussians in zip(objects, optimized, strict=True)]
    # Only here has the exception let go of the failed attempt's tensors.
    torch.cuda.empty_cache()
    half = len(objects) // 2
    _LOGGER.warning("the GPU's memory does not hold %d objects at once, going on with %d", len(objects), half)
    return [*fit_batch(objects[:half], recipe, rasterize), *fit_batch(objects[half:], recipe, rasterize)]


@torch.no_grad()
def _score(prepared: DeviceObject, gaussians: Gaussians, recipe: FitRecipe, rasterize: Rasterize) -> Fitted:
    """Scores on the held-out views and goes back to the views' frame."""
    device, cameras = prepared.held_out.device, prepared.held_out_cameras
    raw, _ = to_raw([gaussians], device)
    viewmats, Ks = (torch.from_numpy(array).to(device)[None] for array in (cameras.viewmats, cameras.Ks))
    images, _ = rasterize(
        *(*activated(raw), viewmats, Ks, cameras.width, cameras.height, torch.ones(3, device=device)),
        *(recipe.antialiased, recipe.sh_degree),
    )
    seen, expected = images[0].clamp_(0, 1), prepared.held_out[..., :3] / 255
    scores = torch.stack([psnr(seen, expected).mean(), ssim(seen, expected).mean()]).tolist()
    return Fitted(from_frame(gaussians, np.asarray(prepared.center), prepared.radius), *scores)


def fit_many(
    views: Sequence[Views],
    recipe: FitRecipe,
    seeds: Sequence[int],
    held_out: Sequence[Views],
    at_once: int | None = None,
) -> list[Fitted]:
    """Fits objects in batches of `at_once`; None is as many as the GPU's memory holds.

    Raises:
        InputError: as `gsbench.reconstruct.fit_many`, or `at_once` below 1.
        torch.OutOfMemoryError: the GPU does not hold a single object.
    """
    require_gsplat()
    if at_once is not None and at_once < 1:
        raise InputError(f"at_once: {at_once}, it must be at least 1")
    shapes = {each.rgba.shape for each in views}
    if len(shapes) > 1:
        raise InputError(f"views: a batch on CUDA needs equal numbers and sizes, it holds {sorted(shapes)}")
    if not views:
        return []
    device = torch.device("cuda")
    size = at_once or objects_at_once(views[0], held_out[0], recipe, free_bytes())
    objects = list(zip(views, held_out, seeds, strict=True))
    fitted = []
    for start in range(0, len(objects), size):
        batch = [prepare(each, kept, recipe, seed, device) for each, kept, seed in objects[start : start + size]]
        fitted += fit_batch(batch, recipe, rasterize_tensors)
    return fitted
