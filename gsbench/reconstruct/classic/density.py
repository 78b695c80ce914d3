"""Adaptive density control on CPU (Kerbl 2023, section 5.2): Gaussians come and go, and Adam's moments with them."""

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from gsbench.core.geometry import quats_to_matrices
from gsbench.core.parsing import InputError
from gsbench.core.types import Array
from gsbench.reconstruct.classic.density_kernels import add_gradients
from gsbench.reconstruct.classic.recipe import ClassicRecipe
from gsbench.render.simd16_kernels import WIDTH
from gsbench.render.splats import layout

# The logit of an opacity that no gradient step makes visible.
_INVISIBLE = -50
_GROWTH = 1.125


class Population:
    """The raw Gaussians of one object, their moments, and the gradients since the last densification.

    Arrays are `[rows, n]` as in `gsbench.render.splats.layout`, scales in log, opacities in logit. Their first
    `count` columns live, the others are invisible: room, so that the arrays need not be replaced whenever the number
    changes.

    Attributes:
        raw: the parameters.
        first, second: Adam's moments.
        count: how many Gaussians live.
    """

    def __init__(self, raw: Float32[Array, "p n"]):
        self.count = 0
        self.raw = np.empty((len(raw), 0), np.float32)
        self.first, self.second = self.raw, self.raw
        self._keep(np.empty(0, np.int64), raw)

    def observe(
        self, visible: Int32[Array, " m"], image_gradients: Float32[Array, "2 n"], width: int, height: int
    ) -> None:
        """Notes the gradients by image positions, in pixels, of the Gaussians that a view of this size shows."""
        add_gradients(visible, image_gradients, 0.5 * width, 0.5 * height, self._sums, self._views)

    def densify(self, recipe: ClassicRecipe, extent: float, prune_large: bool, rng: np.random.Generator) -> None:
        """Clones and splits where gradients are large, removes what is transparent (or too large), forgets gradients.

        What is born starts with moments of 0. A clone equals its original.

        Raises:
            InputError: no Gaussian is left.
        """
        chosen = self._chosen(recipe)
        large = self._largest(self.raw[:, : self.count]) > recipe.densify_scale * extent
        clones = self.raw[:, : self.count][:, chosen & ~large]
        born = np.concatenate([clones, self._halves(chosen & large, recipe.split_shrink, rng)], axis=1)
        limit = recipe.prune_scale * extent if prune_large else np.inf
        stays = ~(chosen & large) & self._lasts(self.raw[:, : self.count], recipe, limit)
        self._keep(np.flatnonzero(stays), born[:, self._lasts(born, recipe, limit)])
        if not self.count:
            raise InputError("views: pruning left no Gaussian, is there an object in them?")

    def reset_opacities(self, most: float) -> None:
        """Lowers opacities to `most` and zeroes their moments."""
        opacities = self.raw[layout.OPACITY]
        np.minimum(opacities, np.float32(np.log(most / (1 - most))), out=opacities)
        self.first[layout.OPACITY] = 0
        self.second[layout.OPACITY] = 0

    def _chosen(self, recipe: ClassicRecipe) -> Bool[Array, " m"]:
        """Which of the living are cloned or split: of large gradient, the largest ones where there is no room for all.

        Either makes one more of one.
        """
        gradients = (self._sums / np.maximum(self._views, 1))[: self.count]
        chosen = (gradients >= recipe.densify_gradient) & (self._views[: self.count] > 0)
        room = max(recipe.max_gaussians - self.count, 0)
        if chosen.sum() > room:
            candidates = np.flatnonzero(chosen)
            order = np.argsort(-gradients[candidates], kind="stable")
            chosen[candidates[order[room:]]] = False
        return chosen

    def _halves(self, chosen: Bool[Array, " m"], shrink: float, rng: np.random.Generator) -> Float32[Array, "p k"]:
        """Two smaller Gaussians in place of each chosen one, at places drawn from it."""
        halves = np.repeat(self.raw[:, : self.count][:, chosen], 2, axis=1)
        scales = np.exp(halves[layout.SCALE : layout.OPACITY]).T
        offsets = rng.standard_normal(scales.shape, np.float32) * scales
        rotations = quats_to_matrices(np.ascontiguousarray(halves[layout.QUAT : layout.SCALE].T))
        halves[layout.MEAN : layout.QUAT] += np.einsum("nij,nj->in", rotations, offsets)
        halves[layout.SCALE : layout.OPACITY] -= np.float32(np.log(shrink))
        return halves

    def _largest(self, raw: Float32[Array, "p m"]) -> Float32[Array, " m"]:
        return np.exp(raw[layout.SCALE : layout.OPACITY].max(0))

    def _lasts(self, raw: Float32[Array, "p m"], recipe: ClassicRecipe, limit: float) -> Bool[Array, " m"]:
        """Which are neither too transparent nor larger than `limit`."""
        visible = 1 / (1 + np.exp(-raw[layout.OPACITY])) >= recipe.prune_opacity
        return visible & (self._largest(raw) <= limit)

    def _keep(self, kept: Int[Array, " k"], born: Float32[Array, "p b"]) -> None:
        """Leaves the columns `kept`, then `born`; replaces all arrays where their size no longer fits."""
        self.count = len(kept) + born.shape[1]
        needed = -(-self.count // WIDTH) * WIDTH
        size = self.raw.shape[1]
        if not size / _GROWTH**2 <= needed <= size:
            size = -(-int(needed * _GROWTH) // WIDTH) * WIDTH
        empty = np.zeros_like(born)
        self.raw = _columns(self.raw, kept, born, size)
        self.first, self.second = (_columns(moment, kept, empty, size) for moment in (self.first, self.second))
        self.raw[layout.OPACITY, self.count :] = _INVISIBLE
        self._sums, self._views = np.zeros(size, np.float32), np.zeros(size, np.int32)


def _columns(
    array: Float32[Array, "p n"], kept: Int[Array, " k"], born: Float32[Array, "p b"], size: int
) -> Float32[Array, "p size"]:
    """The columns `kept` of `array`, then `born`, then zeros, `size` in all; in place where the size stays."""
    result = array if array.shape[1] == size else np.zeros((len(array), size), np.float32)
    stop = len(kept) + born.shape[1]
    result[:, : len(kept)] = array[:, kept]
    result[:, len(kept) : stop] = born
    result[:, stop:] = 0
    return result
