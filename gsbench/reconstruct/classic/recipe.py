"""The published optimization as values."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

from gsbench.core.geometry import MAX_SH_DEGREE, camera_centers
from gsbench.core.parsing import check_range
from gsbench.core.types import Array, Cameras, Gaussians
from gsbench.reconstruct.classic.density_kernels import mean_square_distances
from gsbench.reconstruct.hull.recipe import MAX_GAUSSIANS, MAX_ITERATIONS

_MOST = 1000
"""Of rates, lengths and factors: beyond it nothing is fitted."""


@dataclass(frozen=True, slots=True)
class ClassicRecipe:
    """Kerbl's optimization: random initial points, Adam (eps 1e-15), adaptive density control; one view a step.

    The defaults are the published ones. Iterations count from 1. Views are taken at their full resolution, over white.
    The extent is 1.1 times the largest distance of a camera from all cameras' mean. A Gaussian's gradient is the norm
    of the loss's derivative by its position in the image, in halves of the image's width and height (as in the public
    code and in gsplat; the loss is a mean over pixels and channels), the mean over the views since the last
    densification that show it.

    Attributes:
        method: tells this recipe from the others.
        iterations: of Adam, each on one view.
        init_points: how many points at first, uniform in a cube.
        init_cube: half the edge of that cube, in radii of the ball that all cameras see (the public Blender loader:
            1.3, where that ball measures 1.37).
        init_dc: DC coefficients at first are uniform from 0 to this. (The loader takes its random colors for
            coefficients: all come out mid gray.)
        init_opacity: of every Gaussian at first.
        sh_degree: of the result, 0 to 3; training starts at 0.
        sh_every: the degree in use rises by one every so many iterations.
        ssim_weight: of 1 - SSIM in the loss, beside 1 minus it for the mean absolute difference.
        lr_means, lr_means_final: first and last learning rate of positions, over the extent; exponential in between.
        lr_scales, lr_quats, lr_opacities, lr_dc, lr_sh: constant; scales are in log, opacities in logit, `lr_sh` is for
            bands above 0.
        beta_2: Adam's second beta; the first is .9.
        densify_from, densify_until, densify_every: clone, split and prune at multiples of `densify_every` that lie
            between the other two.
        densify_gradient: Gaussians of at least this gradient are cloned or split.
        densify_scale: cloned up to this largest standard deviation, over the extent; split in two above it.
        split_shrink: standard deviations of the two over those of the one that they replace are 1 / this.
        prune_opacity: Gaussians below it are removed.
        prune_scale: Gaussians with a larger standard deviation, over the extent, are removed after the first regular
            reset. (The public code's limit on the radius in the image never acts: it is compared with zeros.)
        reset_every: opacities come down to `reset_opacity` at its multiples, up to `densify_until`.
        reset_opacity: the most that a reset leaves.
        reset_first: one more reset at `densify_from`, as in the public code over a white background.
        max_gaussians: densification stops here, largest gradients first. There is no such limit in the paper.
        antialiased: fit for the antialiased rasterizer.
    """

    method: Literal["classic"] = "classic"
    iterations: int = 30_000
    init_points: int = 100_000
    init_cube: float = 1.0
    init_dc: float = 1 / 255
    init_opacity: float = 0.1
    sh_degree: int = 3
    sh_every: int = 1000
    ssim_weight: float = 0.2
    lr_means: float = 1.6e-4
    lr_means_final: float = 1.6e-6
    lr_scales: float = 5e-3
    lr_quats: float = 1e-3
    lr_opacities: float = 0.05
    lr_dc: float = 2.5e-3
    lr_sh: float = 2.5e-3 / 20
    beta_2: float = 0.999
    densify_from: int = 500
    densify_until: int = 15_000
    densify_every: int = 100
    densify_gradient: float = 2e-4
    densify_scale: float = 0.01
    split_shrink: float = 1.6
    prune_opacity: float = 0.005
    prune_scale: float = 0.1
    reset_every: int = 3000
    reset_opacity: float = 0.01
    reset_first: bool = True
    max_gaussians: int = 1_000_000
    antialiased: bool = False

    def __post_init__(self) -> None:
        check_range("sh_degree", self.sh_degree, 0, MAX_SH_DEGREE)
        # Scales at first come from the distances to three neighbors.
        check_range("max_gaussians", self.max_gaussians, 4, MAX_GAUSSIANS)
        check_range("init_points", self.init_points, 4, self.max_gaussians)
        for name in ("iterations", "sh_every", "densify_every", "reset_every"):
            check_range(name, getattr(self, name), 1, MAX_ITERATIONS)
        for name in ("densify_from", "densify_until"):
            check_range(name, getattr(self, name), 0, MAX_ITERATIONS)
        for name in ("init_opacity", "reset_opacity", "beta_2"):
            check_range(name, getattr(self, name), 0, 1, above=True, below=True)
        for name in ("ssim_weight", "prune_opacity"):
            check_range(name, getattr(self, name), 0, 1)
        for name in ("init_cube", "split_shrink", "prune_scale", "lr_means", "lr_means_final"):
            check_range(name, getattr(self, name), 0, _MOST, above=True)
        rates = ("lr_scales", "lr_quats", "lr_opacities", "lr_dc", "lr_sh")
        for name in (*rates, "init_dc", "densify_gradient", "densify_scale"):
            check_range(name, getattr(self, name), 0, _MOST)


def sh_degree_at(recipe: ClassicRecipe, iteration: int) -> int:
    """The degree in use."""
    return min(iteration // recipe.sh_every, recipe.sh_degree)


def means_rate_at(recipe: ClassicRecipe, iteration: int) -> float:
    """The learning rate of positions over the extent."""
    return recipe.lr_means * (recipe.lr_means_final / recipe.lr_means) ** (iteration / recipe.iterations)


def densifies_at(recipe: ClassicRecipe, iteration: int) -> bool:
    """Whether Gaussians are cloned, split and pruned after this iteration's step."""
    return recipe.densify_from < iteration < recipe.densify_until and iteration % recipe.densify_every == 0


def resets_at(recipe: ClassicRecipe, iteration: int) -> bool:
    """Whether opacities are reset after this iteration's step."""
    first = recipe.reset_first and iteration == recipe.densify_from
    return iteration < recipe.densify_until and (first or iteration % recipe.reset_every == 0)


# As in the public code: coinciding points get a small scale, not none.
_LEAST_SQUARE = 1e-7


def scene_extent(cameras: Cameras) -> float:
    """1.1 times the largest distance of a camera from all cameras' mean, in world units."""
    centers = camera_centers(cameras.viewmats)
    return 1.1 * float(np.linalg.norm(centers - centers.mean(0), axis=1).max())


def random_gaussians(recipe: ClassicRecipe, rng: np.random.Generator) -> Gaussians:
    """Balls at uniform points of the cube about the origin, as wide as their three nearest neighbors are far.

    Standard deviations are the root of the mean squared distance to those; `sh` is of the recipe's degree.
    """
    count = recipe.init_points
    means = rng.uniform(-recipe.init_cube, recipe.init_cube, (count, 3)).astype(np.float32)
    sh = np.zeros((count, (recipe.sh_degree + 1) ** 2, 3), np.float32)
    sh[:, 0] = rng.uniform(0, recipe.init_dc, (count, 3))
    quats = np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1))
    scales = np.sqrt(np.maximum(neighbor_squares(means), _LEAST_SQUARE))
    return Gaussians(means, quats, np.tile(scales[:, None], 3), np.full(count, recipe.init_opacity, np.float32), sh)


def neighbor_squares(points: Float32[Array, "n 3"]) -> Float32[Array, " n"]:
    """The mean squared distance of each of at least four points to its three nearest neighbors."""
    low, high = points.min(0), points.max(0)
    # About two points a cell where they spread evenly.
    cells = max(1, round((len(points) / 2) ** (1 / 3)))
    edge = max(float((high - low).max()) / cells, 1e-12)
    places = np.minimum(((points - low) / edge).astype(np.int32), cells - 1)
    cell = (places[:, 0] * cells + places[:, 1]) * cells + places[:, 2]
    order = np.argsort(cell, kind="stable").astype(np.int32)
    starts = np.searchsorted(cell[order], np.arange(cells**3 + 1)).astype(np.int32)
    squares = np.empty(len(points), np.float32)
    mean_square_distances(points, places, order, starts, cells, edge, squares)
    return squares
