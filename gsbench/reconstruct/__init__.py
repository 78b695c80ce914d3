"""Views to Gaussians, from the views alone: from their visual hull, or as published, on CPU or on CUDA (gsplat)."""

from collections.abc import Callable, Sequence

import numpy as np

from gsbench.core.image_metrics import psnr, ssim
from gsbench.core.parsing import InputError
from gsbench.core.types import Gaussians, Views
from gsbench.reconstruct.classic import cpu as classic_cpu
from gsbench.reconstruct.classic.recipe import ClassicRecipe
from gsbench.reconstruct.hull import cpu
from gsbench.reconstruct.hull.recipe import FitRecipe, Stage
from gsbench.reconstruct.hull.visual_hull import hull_gaussians
from gsbench.reconstruct.targets import Fitted, from_frame, target_planes, to_frame, unit_frame
from gsbench.render.splats import color_planes

__all__ = ["ClassicRecipe", "FitRecipe", "Fitted", "Stage", "fit", "fit_many"]


def fit(views: Views, recipe: FitRecipe | ClassicRecipe, seed: int, held_out: Views, device: str = "cpu") -> Fitted:
    """Optimizes Gaussians until they look like `views`; `held_out` serves to score them and nothing else.

    Nothing but the views is used: Gaussians start on their visual hull, or from random points where the recipe is a
    `ClassicRecipe`. On CPU the result is bit-identical for a seed; what holds on CUDA says
    `gsbench.reconstruct.cuda`.

    Raises:
        InputError: fewer than two views, views without a common point, a stage whose resolution does not divide the
            views', pruning that leaves no Gaussian, an unknown device, or CUDA where there is none.
    """
    return fit_many([views], recipe, [seed], [held_out], device)[0]


def fit_many(
    views: Sequence[Views],
    recipe: FitRecipe | ClassicRecipe,
    seeds: Sequence[int],
    held_out: Sequence[Views],
    device: str = "cpu",
) -> list[Fitted]:
    """`fit` of several objects: from hulls on CUDA all at once, else one after another.

    Raises:
        InputError: as `fit`; on CUDA also objects whose views differ in number or size.
    """
    if device not in ("cpu", "cuda"):
        raise InputError(f"device: {device!r}, allowed 'cpu' or 'cuda'")
    if device == "cuda" and isinstance(recipe, FitRecipe):
        from gsbench.reconstruct.cuda.batch import fit_many as fit_on_cuda  # here, since it loads torch

        return fit_on_cuda(views, recipe, seeds, held_out)
    frames = [unit_frame(each) for each in views]
    unit_views = [to_frame(each, *frame) for each, frame in zip(views, frames, strict=True)]
    rngs = [np.random.default_rng(seed) for seed in seeds]
    if isinstance(recipe, FitRecipe):
        optimized = [_from_hull(each, recipe, rng) for each, rng in zip(unit_views, rngs, strict=True)]
    else:
        optimize = _classic_on(device)
        optimized = [optimize(each, recipe, rng) for each, rng in zip(unit_views, rngs, strict=True)]
    placed = [from_frame(gaussians, *frame) for gaussians, frame in zip(optimized, frames, strict=True)]
    return [_score(gaussians, each, recipe, device) for gaussians, each in zip(placed, held_out, strict=True)]


def _from_hull(views: Views, recipe: FitRecipe, rng: np.random.Generator) -> Gaussians:
    return cpu.optimize(hull_gaussians(views, recipe, rng), views, recipe, rng)


def _classic_on(device: str) -> Callable[[Views, ClassicRecipe, np.random.Generator], Gaussians]:
    if device == "cpu":
        return classic_cpu.optimize
    from gsbench.reconstruct.classic import cuda as classic_cuda  # here, since it loads torch

    return classic_cuda.optimize


def _score(gaussians: Gaussians, held_out: Views, recipe: FitRecipe | ClassicRecipe, device: str) -> Fitted:
    """View by view, so that at 800 pixels no more than one image is held as floats."""
    images = color_planes(gaussians, held_out.cameras, recipe.antialiased, device)
    scores = []
    for target, image in zip(target_planes(held_out, held_out.cameras.width), images, strict=True):
        expected, seen = target[:3] * np.float32(1 / 255), np.clip(image, 0, 1)
        # Of planes, each channel counts as a view of one channel: the mean over both is the same.
        scores.append((psnr(seen, expected), ssim(seen[..., None], expected[..., None])))
    return Fitted(gaussians, *np.mean(scores, axis=0).tolist())
