"""Views to Gaussians: one entry for every device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from gsbench.fit import cpu, cuda
from gsbench.fit.hull import hull_gaussians
from gsbench.fit.recipe import FitRecipe
from gsbench.fit.targets import target_planes
from gsbench.geometry import camera_centers
from gsbench.image_metrics import psnr, ssim
from gsbench.render.splats import rasterize
from gsbench.types import Array, Cameras, Gaussians, Views


@dataclass(frozen=True, slots=True)
class Fitted:
    """The Gaussians of one object and how well they show it.

    Attributes:
        gaussians: in the views' world frame.
        psnr: dB on the held-out views, over white, whole images, the mean over views.
        ssim: the same way.
    """

    gaussians: Gaussians
    psnr: float
    ssim: float


def fit(views: Views, recipe: FitRecipe, seed: int, held_out: Views, device: str = "cpu") -> Fitted:
    """Optimises Gaussians until they look like `views`; `held_out` serves to score them and nothing else.

    Nothing but the views is used: Gaussians start on their visual hull. On CPU the result is bit-identical for a seed.

    Raises:
        ValueError: fewer than two views, views without a common point, a stage whose resolution does not divide the
            views', an unknown device, or CUDA where there is none.
    """
    return fit_many([views], recipe, [seed], [held_out], device)[0]


def fit_many(
    views: Sequence[Views], recipe: FitRecipe, seeds: Sequence[int], held_out: Sequence[Views], device: str = "cpu"
) -> list[Fitted]:
    """`fit` of several objects: on CUDA all at once, on CPU one after another.

    Raises:
        ValueError: as `fit`; on CUDA also objects whose views differ in number or size.
    """
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device: {device!r}, allowed 'cpu' or 'cuda'")
    frames = [_unit_frame(each) for each in views]
    unit_views = [_to_frame(each, *frame) for each, frame in zip(views, frames, strict=True)]
    rngs = [np.random.default_rng(seed) for seed in seeds]
    starts = [
        _with_degree(hull_gaussians(each, recipe, rng), recipe.sh_degree)
        for each, rng in zip(unit_views, rngs, strict=True)
    ]
    if device == "cpu":
        objects = zip(starts, unit_views, rngs, strict=True)
        optimised = [cpu.optimise(start, each, recipe, rng) for start, each, rng in objects]
    else:
        optimised = cuda.optimise_many(starts, unit_views, recipe, rngs)
    placed = [_from_frame(gaussians, *frame) for gaussians, frame in zip(optimised, frames, strict=True)]
    return [_score(gaussians, each, recipe, device) for gaussians, each in zip(placed, held_out, strict=True)]


def _unit_frame(views: Views) -> tuple[Float64[Array, "3"], float]:
    """Centre and radius of the ball that all cameras see: learning rates and hull are for a unit ball."""
    cameras = views.cameras
    if len(cameras) < 2:
        raise ValueError(f"views: {len(cameras)} given, a fit needs at least 2")
    eyes, axes = camera_centers(cameras.viewmats.astype(np.float64)), cameras.viewmats[:, 2, :3].astype(np.float64)
    # The point nearest to all optical axes; the eyes' mean decides where parallel axes leave it open.
    projections = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    offsets = np.einsum("vij,vj->i", projections, eyes - eyes.mean(0))
    center = eyes.mean(0) + np.linalg.lstsq(projections.sum(0), offsets, rcond=1e-6)[0]
    tangents = np.minimum(0.5 * cameras.width / cameras.Ks[:, 0, 0], 0.5 * cameras.height / cameras.Ks[:, 1, 1])
    radii = np.linalg.norm(eyes - center, axis=1) * np.sin(np.arctan(tangents))
    return center, float(radii.min())


def _to_frame(views: Views, center: Float64[Array, "3"], radius: float) -> Views:
    viewmats = views.cameras.viewmats.astype(np.float64)
    viewmats[:, :3, 3] = (viewmats[:, :3, :3] @ center + viewmats[:, :3, 3]) / radius
    cameras = Cameras(viewmats.astype(np.float32), views.cameras.Ks, views.cameras.width, views.cameras.height)
    return Views(views.rgba, cameras)


def _from_frame(gaussians: Gaussians, center: Float64[Array, "3"], radius: float) -> Gaussians:
    means = (gaussians.means * radius + center).astype(np.float32)
    scales = (gaussians.scales * radius).astype(np.float32)
    return Gaussians(means, gaussians.quats, scales, gaussians.opacities, gaussians.sh)


def _with_degree(gaussians: Gaussians, degree: int) -> Gaussians:
    sh = np.zeros((len(gaussians), (degree + 1) ** 2, 3), np.float32)
    sh[:, :1] = gaussians.sh
    return Gaussians(gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, sh)


def _score(gaussians: Gaussians, held_out: Views, recipe: FitRecipe, device: str) -> Fitted:
    rendered = rasterize(gaussians, held_out.cameras, antialiased=recipe.antialiased, device=device)
    planes = target_planes(held_out, held_out.cameras.width)
    expected = np.moveaxis(planes[:, :3], 1, -1).astype(np.float32) / 255
    image = np.clip(rendered.rgb, 0, 1)
    return Fitted(gaussians, psnr(image, expected), ssim(image, expected))
