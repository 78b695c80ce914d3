"""The fit on CPU: one object, one thread, bit-identical for a seed on one kind of processor."""

import math

import numpy as np
from jaxtyping import Float32, Int64

from gsbench.core.geometry import normalize_quats, quats_to_matrices
from gsbench.core.types import Array, Gaussians, Views
from gsbench.reconstruct import fit_kernels
from gsbench.reconstruct.hull.recipe import FitRecipe
from gsbench.reconstruct.targets import (
    decay_at,
    learning_rates,
    low_pass_of,
    relocates_before,
    scaled_cameras,
    sh_degree_at,
    target_planes,
    view_order,
)
from gsbench.render.splats import layout
from gsbench.render.splats.cpu import Workspace, camera_vectors, pack, unpack

APART = 0.6
"""How far each of two that share a place stands from it, in standard deviations along the longest axis."""

SHRINK = math.log(0.6)
"""What is added to the logarithm of both ones' longest standard deviation."""

_VIEWS = 16


def contribution_views(views: int) -> Int64[Array, " m"]:
    """The views by which Gaussians are compared: 16 evenly spread ones, or all if there are fewer."""
    number = min(views, _VIEWS)
    return np.arange(number) * views // number


def relocate(
    raw: Float32[Array, "p n"],
    params: Float32[Array, "p n"],
    moments: list[Float32[Array, "p n"]],
    contributions: Float32[Array, " m"],
    below: float,
) -> None:
    """Moves those of the first m Gaussians that contribute less than `below` times the mean.

    The weakest goes to the strongest, the next to the next, and at most half of them go. Arrays are changed in place.

    Args:
        raw: parameters as in `gsbench.render.splats.layout`, scales in log, opacities in logit.
        params: the same activated.
        moments: Adam's averages.
        contributions: of each Gaussian, in any unit.
        below: the share of the mean.
    """
    count = len(contributions)
    order = np.argsort(-contributions, kind="stable")
    weak = int(np.sum(contributions < below * contributions.mean(dtype=np.float64)))
    pairs = min(weak, count - weak)
    moved, kept = order[::-1][:pairs], order[:pairs]
    longest = raw[layout.SCALE : layout.OPACITY, kept].argmax(0)
    rotations = quats_to_matrices(params[layout.QUAT : layout.SCALE, kept].T)
    lengths = params[layout.SCALE + longest, kept]
    offsets = np.float32(APART) * lengths * rotations[np.arange(pairs), :, longest].T
    raw[layout.SCALE + longest, kept] += np.float32(SHRINK)
    for array in (raw, *moments):
        array[:, moved] = array[:, kept]
    raw[layout.MEAN : layout.QUAT, moved] += offsets
    raw[layout.MEAN : layout.QUAT, kept] -= offsets
    fit_kernels.activate(raw, params)


def contributions(
    params: Float32[Array, "p n"], count: int, cameras: Float32[Array, "v 25"], size: tuple[int, int], antialiased: bool
) -> Float32[Array, " count"]:
    """What the first `count` Gaussians give to the images: the sums of their weights in all pixels, in some unit.

    Args:
        params: activated.
        count: those after them are padding.
        cameras: as the kernels take them.
        size: width and height of the images.
        antialiased: of the rasterizer.
    """
    width, height = size
    # All of one color, away from black, where a color has no derivative; that by the color is what is looked for.
    plain = np.concatenate([params[: layout.SH], np.zeros((3, params.shape[1]), np.float32)])
    workspace = Workspace(plain.shape, width, height)
    slopes = np.zeros((layout.PLANES, layout.TILE * workspace.tiles_y, layout.TILE * workspace.tiles_x), np.float32)
    slopes[0, :height, :width] = 1
    sums = np.zeros_like(plain)
    for camera in cameras:
        workspace.project(plain, camera, 0, antialiased)
        workspace.backward(plain, np.ones(3, np.float32), slopes, False, sums)
    return sums[layout.SH, :count]


_WHITE = np.ones(3, np.float32)
_BETA_2 = 0.99


def optimize(start: Gaussians, views: Views, recipe: FitRecipe, rng: np.random.Generator) -> Gaussians:
    """Adam from `start` (of the recipe's SH degree) on the views, all stages."""
    raw = _to_raw(pack(start), len(start))
    params, d_params, first, second = (np.zeros_like(raw) for _ in range(4))
    fit_kernels.activate(raw, params)
    rates = _row_rates(recipe)
    step = 0
    for stage in recipe.stages:
        order = view_order(len(views), stage.iterations, rng)
        # A short stage at full resolution sees few of the views: only those are prepared.
        used, places = np.unique(order, return_inverse=True)
        targets = target_planes(views if len(used) == len(views) else views[used], stage.resolution, layout.TILE)
        cameras = scaled_cameras(views.cameras, stage.resolution)
        vectors = camera_vectors(cameras, low_pass_of(stage, views.cameras.width))
        stage_size = (cameras.width, cameras.height)
        workspace = Workspace(raw.shape, *stage_size)
        for view, place in zip(order, places, strict=True):
            if relocates_before(recipe, step):
                compared = vectors[contribution_views(len(views))]
                shown = contributions(params, len(start), compared, stage_size, recipe.antialiased)
                relocate(raw, params, [first, second], shown, recipe.relocate_below)
            degree = sh_degree_at(recipe, step)
            workspace.project(params, vectors[view], degree, recipe.antialiased)
            workspace.fit(params, _WHITE, targets[place], recipe.huber, recipe.alpha_weight, d_params)
            decayed = rates * np.float32(decay_at(recipe, step))
            # Bands that wait have no gradient yet: nothing to step.
            decayed[layout.SH + 3 * (degree + 1) ** 2 :] = 0
            fit_kernels.adam(raw, params, d_params, first, second, decayed, _BETA_2, step + 1)
            step += 1
    params[layout.QUAT : layout.SCALE] = normalize_quats(params[layout.QUAT : layout.SCALE].T).T
    return unpack(params, len(start))


def _row_rates(recipe: FitRecipe) -> Float32[Array, " p"]:
    rows = {"means": 3, "quats": 4, "scales": 3, "opacities": 1, "dc": 3, "sh": 3 * (recipe.sh_degree + 1) ** 2 - 3}
    rates = learning_rates(recipe)
    return np.repeat(np.array([rates[name] for name in rows], np.float32), list(rows.values()))


def _to_raw(params: Float32[Array, "p n"], count: int) -> Float32[Array, "p n"]:
    """Inverse of the activation; padding stays invisible, whatever its step."""
    raw = params.copy()
    raw[layout.SCALE : layout.OPACITY, :count] = np.log(params[layout.SCALE : layout.OPACITY, :count])
    opacities = np.clip(params[layout.OPACITY, :count], 1e-6, 1 - 1e-6)
    raw[layout.OPACITY, :count] = np.log(opacities / (1 - opacities))
    raw[layout.OPACITY, count:] = -50
    return raw
