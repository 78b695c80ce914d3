"""The fit on CPU: one object, one thread, bit-identical for a seed on one kind of processor."""

import numpy as np
from jaxtyping import Float32

from gsbench.core.geometry import normalize_quats
from gsbench.core.types import Array, Gaussians, Views
from gsbench.reconstruct import adam_kernels
from gsbench.reconstruct.hull.recipe import FitRecipe
from gsbench.reconstruct.hull.relocation import contribution_views, contributions, relocate
from gsbench.reconstruct.schedule import (
    decay_at,
    learning_rates,
    low_pass_of,
    relocates_before,
    sh_degree_at,
    view_order,
)
from gsbench.reconstruct.targets import scaled_cameras, target_planes
from gsbench.render.splats import layout
from gsbench.render.splats.cpu import Workspace, camera_vectors, pack, unpack

_WHITE = np.ones(3, np.float32)
_BETA_2 = 0.99


def optimise(start: Gaussians, views: Views, recipe: FitRecipe, rng: np.random.Generator) -> Gaussians:
    """Adam from `start` (of the recipe's SH degree) on the views, all stages."""
    raw = _to_raw(pack(start), len(start))
    params, d_params, first, second = (np.zeros_like(raw) for _ in range(4))
    adam_kernels.activate(raw, params)
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
            adam_kernels.adam(raw, params, d_params, first, second, decayed, _BETA_2, step + 1)
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
