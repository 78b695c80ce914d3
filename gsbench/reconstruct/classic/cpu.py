"""The published optimization on CPU: one object, one thread, bit-identical for a seed on one kind of processor."""

import numpy as np
from jaxtyping import Float32, UInt8

from gsbench.core.geometry import normalize_quats
from gsbench.core.image_kernels import REACH
from gsbench.core.types import Array, Gaussians, Views
from gsbench.reconstruct import fit_kernels
from gsbench.reconstruct.classic.density import Population
from gsbench.reconstruct.classic.loss_kernels import loss_gradient
from gsbench.reconstruct.classic.recipe import (
    ClassicRecipe,
    densifies_at,
    means_rate_at,
    random_gaussians,
    resets_at,
    scene_extent,
    sh_degree_at,
)
from gsbench.reconstruct.targets import target_planes, view_order
from gsbench.render.simd16_kernels import WIDTH
from gsbench.render.splats import layout
from gsbench.render.splats.cpu import Workspace, aligned_empty, camera_vectors, pack, padded, unpack


class ImageLoss:
    """The loss's derivative by images of one size; owns its buffers and reuses them."""

    def __init__(self, width: int, height: int):
        self._width, self._height = width, height
        framed = (height + 2 * REACH, padded(width) + 2 * WIDTH)
        self._moments, self._slopes = (np.zeros((maps, *framed), np.float32) for maps in (4, 3))
        self._rows = np.zeros((4, framed[1]), np.float32)
        self._d_planes = np.zeros((layout.PLANES, padded(height), padded(width)), np.float32)

    def gradient(
        self, planes: Float32[Array, "5 h w"], target: UInt8[Array, "4 h w"], ssim_weight: float
    ) -> Float32[Array, "5 h w"]:
        """The derivative of (1 - s) L1 + s (1 - SSIM) by the planes' colors; the next call overwrites it.

        Args:
            planes: as `Workspace.composite` fills them, padded to whole tiles.
            target: the colors to reach in 0..255; its alpha is not used.
            ssim_weight: s.
        """
        loss_gradient(
            *(planes, target, self._width, self._height, ssim_weight),
            *(self._moments, self._slopes, self._rows, self._d_planes),
        )
        return self._d_planes


_WHITE = np.ones(3, np.float32)


def optimize(views: Views, recipe: ClassicRecipe, rng: np.random.Generator) -> Gaussians:
    """Gaussians that look like `views`, whose cameras all see the unit ball about the origin.

    Raises:
        InputError: pruning left no Gaussian.
    """
    cameras, extent = views.cameras, scene_extent(views.cameras)
    vectors, targets = camera_vectors(cameras), target_planes(views, cameras.width, layout.TILE)
    loss = ImageLoss(cameras.width, cameras.height)
    planes = aligned_empty(layout.PLANES, padded(cameras.height), padded(cameras.width))
    population = Population(_to_raw(random_gaussians(recipe, rng)))
    params = d_params = np.empty((len(population.raw), 0), np.float32)
    rates = _row_rates(recipe)
    for iteration, view in enumerate(view_order(len(views), recipe.iterations, rng), start=1):
        if params.shape != population.raw.shape:
            params, d_params = np.zeros_like(population.raw), np.zeros_like(population.raw)
            workspace = Workspace(params.shape, cameras.width, cameras.height)
        fit_kernels.activate(population.raw, params)
        workspace.project(params, vectors[view], sh_degree_at(recipe, iteration), recipe.antialiased)
        workspace.composite(_WHITE, planes)
        d_planes = loss.gradient(planes, targets[view], recipe.ssim_weight)
        workspace.backward(params, _WHITE, d_planes, False, d_params)
        if iteration < recipe.densify_until:
            population.observe(workspace.visible, workspace.image_gradients, cameras.width, cameras.height)
        rates[layout.MEAN : layout.QUAT] = means_rate_at(recipe, iteration) * extent
        moments = population.first, population.second
        fit_kernels.adam(population.raw, params, d_params, *moments, rates, recipe.beta_2, iteration)
        if densifies_at(recipe, iteration):
            population.densify(recipe, extent, iteration > recipe.reset_every, rng)
        if resets_at(recipe, iteration):
            population.reset_opacities(recipe.reset_opacity)
    params = np.zeros_like(population.raw)
    fit_kernels.activate(population.raw, params)
    params[layout.QUAT : layout.SCALE] = normalize_quats(params[layout.QUAT : layout.SCALE].T).T
    return unpack(params, population.count)


def _row_rates(recipe: ClassicRecipe) -> Float32[Array, " p"]:
    """Learning rates by row; those of the positions depend on the iteration."""
    rates = (0, recipe.lr_quats, recipe.lr_scales, recipe.lr_opacities, recipe.lr_dc, recipe.lr_sh)
    return np.repeat(np.array(rates, np.float32), [3, 4, 3, 1, 3, 3 * (recipe.sh_degree + 1) ** 2 - 3])


def _to_raw(gaussians: Gaussians) -> Float32[Array, "p n"]:
    raw = pack(gaussians)[:, : len(gaussians)].copy()
    raw[layout.SCALE : layout.OPACITY] = np.log(raw[layout.SCALE : layout.OPACITY])
    raw[layout.OPACITY] = np.log(raw[layout.OPACITY] / (1 - raw[layout.OPACITY]))
    return raw
