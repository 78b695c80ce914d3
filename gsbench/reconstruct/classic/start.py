"""What the published optimisation starts from: the scene's extent and random points."""

import numpy as np
from jaxtyping import Float32

from gsbench.core.geometry import camera_centers
from gsbench.core.types import Array, Cameras, Gaussians
from gsbench.reconstruct.classic.density_kernels import mean_square_distances
from gsbench.reconstruct.classic.recipe import ClassicRecipe

# As in the public code: coinciding points get a small scale, not none.
_LEAST_SQUARE = 1e-7


def scene_extent(cameras: Cameras) -> float:
    """1.1 times the largest distance of a camera from all cameras' mean, in world units."""
    centers = camera_centers(cameras.viewmats)
    return 1.1 * float(np.linalg.norm(centers - centers.mean(0), axis=1).max())


def random_gaussians(recipe: ClassicRecipe, rng: np.random.Generator) -> Gaussians:
    """Balls at uniform points of the cube about the origin, as wide as their three nearest neighbours are far.

    Standard deviations are the root of the mean squared distance to those; `sh` is of the recipe's degree.
    """
    count = recipe.init_points
    means = rng.uniform(-recipe.init_cube, recipe.init_cube, (count, 3)).astype(np.float32)
    sh = np.zeros((count, (recipe.sh_degree + 1) ** 2, 3), np.float32)
    sh[:, 0] = rng.uniform(0, recipe.init_dc, (count, 3))
    quats = np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1))
    scales = np.sqrt(np.maximum(neighbour_squares(means), _LEAST_SQUARE))
    return Gaussians(means, quats, np.tile(scales[:, None], 3), np.full(count, recipe.init_opacity, np.float32), sh)


def neighbour_squares(points: Float32[Array, "n 3"]) -> Float32[Array, " n"]:
    """The mean squared distance of each of at least four points to its three nearest neighbours."""
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
