"""What a fit is given and what it returns: target images, the frame in which it works, fitted Gaussians."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32, UInt8

from gsbench.core.geometry import camera_centers
from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Cameras, Gaussians, Views
from gsbench.reconstruct.fit_kernels import fill_targets
from gsbench.reconstruct.hull.recipe import FitRecipe, Stage
from gsbench.render.splats.cpu import LOW_PASS


def target_planes(views: Views, width: int, multiple: int = 1) -> UInt8[Array, "v 4 h w"]:
    """Color over white and alpha, plane by plane, box-averaged down to `width` pixels in width.

    Height and width are then padded with zeros to a multiple of `multiple`.

    Raises:
        InputError: the box is not a whole number of pixels, or does not divide the height.
    """
    factor = _box(views.cameras, width)
    height = views.cameras.height // factor
    planes = np.zeros((len(views), 4, -(-height // multiple) * multiple, -(-width // multiple) * multiple), np.uint8)
    fill_targets(pixel_words(views), factor, planes)
    return planes


def pixel_words(views: Views) -> Int32[Array, "v h w"]:
    """The pixels as the kernels take them: alpha in the highest byte of a word, red in the lowest."""
    return np.ascontiguousarray(views.rgba).view("<i4")[..., 0]


def scaled_cameras(cameras: Cameras, width: int) -> Cameras:
    """The cameras of the views box-averaged down to `width` pixels in width; InputError as `target_planes`."""
    factor = _box(cameras, width)
    Ks = (cameras.Ks / np.array([[factor], [factor], [1]])).astype(np.float32)
    return Cameras(cameras.viewmats, Ks, width, cameras.height // factor)


def _box(cameras: Cameras, width: int) -> int:
    factor, remainder = divmod(cameras.width, width)
    if remainder or not factor or cameras.height % factor:
        size = f"{cameras.width}x{cameras.height}"
        raise InputError(f"stages: resolution {width} does not divide views of {size} into whole pixels")
    return factor


def unit_frame(views: Views) -> tuple[Float64[Array, "3"], float]:
    """Center and radius of the ball that all cameras see.

    Raises:
        InputError: fewer than two views.
    """
    cameras = views.cameras
    if len(cameras) < 2:
        raise InputError(f"views: {len(cameras)} given, a fit needs at least 2")
    eyes, axes = camera_centers(cameras.viewmats.astype(np.float64)), cameras.viewmats[:, 2, :3].astype(np.float64)
    # The point nearest to all optical axes; the eyes' mean decides where parallel axes leave it open.
    projections = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    offsets = np.einsum("vij,vj->i", projections, eyes - eyes.mean(0))
    center = eyes.mean(0) + np.linalg.lstsq(projections.sum(0), offsets, rcond=1e-6)[0]
    tangents = np.minimum(0.5 * cameras.width / cameras.Ks[:, 0, 0], 0.5 * cameras.height / cameras.Ks[:, 1, 1])
    radii = np.linalg.norm(eyes - center, axis=1) * np.sin(np.arctan(tangents))
    return center, float(radii.min())


def to_frame(views: Views, center: Float64[Array, "3"], radius: float) -> Views:
    """The views as taken in the frame whose origin is `center` and whose unit is `radius`."""
    viewmats = views.cameras.viewmats.astype(np.float64)
    viewmats[:, :3, 3] = (viewmats[:, :3, :3] @ center + viewmats[:, :3, 3]) / radius
    cameras = Cameras(viewmats.astype(np.float32), views.cameras.Ks, views.cameras.width, views.cameras.height)
    return Views(views.rgba, cameras)


def from_frame(gaussians: Gaussians, center: Float64[Array, "3"], radius: float) -> Gaussians:
    """Inverse of `to_frame`, for what was fitted there."""
    means = (gaussians.means * radius + center).astype(np.float32)
    scales = (gaussians.scales * radius).astype(np.float32)
    return Gaussians(means, gaussians.quats, scales, gaussians.opacities, gaussians.sh)


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


def learning_rates(recipe: FitRecipe) -> dict[str, float]:
    """Learning rates at the first step by group of raw parameters."""
    return {
        "means": recipe.lr_means,
        "quats": recipe.lr_quats,
        "scales": recipe.lr_scales,
        "opacities": recipe.lr_opacities,
        "dc": recipe.lr_dc,
        "sh": recipe.lr_sh,
    }


def decay_at(recipe: FitRecipe, step: int) -> float:
    """What the learning rates are multiplied by at `step`, counted from 0."""
    return 1 - (1 - recipe.lr_decay) * step / max(recipe.iterations - 1, 1)


def low_pass_of(stage: Stage, width: int) -> float:
    """Variance in its pixels^2 that a stage adds to Gaussians in the image, fitted to views of `width` pixels.

    That of the rasterizer at the views' resolution and of the box that averages them from there: so Gaussians that fit
    the stage's smaller views fit the views. The rasterizer's .3 would make them too small, by 4.8 pixels^2 at 1/4.
    """
    factor = width / stage.resolution
    return (LOW_PASS + (factor**2 - 1) / 12) / factor**2


def sh_degree_at(recipe: FitRecipe, step: int) -> int:
    """The degree in use at `step`, counted from 0: none until the recipe's start, then all."""
    return recipe.sh_degree if step >= recipe.sh_start * recipe.iterations else 0


def relocates_before(recipe: FitRecipe, step: int) -> bool:
    """Whether Gaussians that hardly show move before `step`, counted from 0."""
    return step > 0 and step in {int(share * recipe.iterations) for share in recipe.relocate_at}


def view_order(count: int, steps: int, rng: np.random.Generator) -> list[int]:
    """The view of each step: every view once in random order, again and again."""
    rounds = [rng.permutation(count) for _ in range(-(-steps // count))]
    return np.concatenate(rounds)[:steps].tolist()
