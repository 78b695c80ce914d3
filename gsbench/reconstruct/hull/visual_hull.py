"""Gaussians to start from: discs on the surface of the views' visual hull (Laurentini 1994)."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from gsbench.core.geometry import matrices_to_quats, rgb_to_dc
from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Cameras, Gaussians, Views
from gsbench.reconstruct.hull import hull_kernels
from gsbench.reconstruct.hull.recipe import FitRecipe
from gsbench.reconstruct.targets import pixel_words
from gsbench.render.splats import layout as at
from gsbench.render.splats.cpu import camera_vectors

# Voxels along each axis of the first, coarse grid, which spans -1..1.
COARSE = 24
_SILHOUETTE_WIDTH = 200


def hull_gaussians(views: Views, recipe: FitRecipe, rng: np.random.Generator) -> Gaussians:
    """`recipe.num_gaussians` flat discs on the surface of the visual hull of all silhouettes, within -1..1.

    Positions are those of surface voxels, normals come from the blurred occupancy, colors from the views that face
    them; bands of the spherical harmonics above 0 are zero.

    Raises:
        InputError: no voxel lies inside every silhouette.
    """
    # Neighboring views carve alike: a voxel outside is found sooner when consecutive views lie far apart.
    order = np.argsort(np.arange(len(views)) * 0.618034 % 1, kind="stable")
    cameras = camera_vectors(views.cameras)
    origin, voxel, occupied = _carve(*_silhouettes(views, order, cameras), recipe.hull_resolution)
    surface, blurred = np.argwhere(_surface(occupied)), _blurred(occupied)
    places, spacings = choose(blurred[tuple(surface.T)], recipe, rng)
    chosen = surface[places]
    # Voxels stand in rows: moved about within themselves, the discs do not.
    means = (origin + (chosen + rng.random(chosen.shape)) * voxel).astype(np.float32)
    normals = unit_normals(_slopes(blurred)[tuple(chosen.T)])
    colors = np.empty_like(means)
    hull_kernels.observe(means, normals, views.rgba, cameras, colors)
    return discs(means, normals, colors, voxel * spacings, recipe)


def choose(
    blurred: Float32[Array, " s"], recipe: FitRecipe, rng: np.random.Generator
) -> tuple[Int[Array, " n"], Float64[Array, " n"]]:
    """Which surface voxels get a Gaussian (in rising order, more than once if need be), and its share of the surface.

    Where little is full about a voxel, at edges and thin parts, they stand closer: as (share that is full) to the
    power of -`recipe.init_detail`, down to the share about a plate one voxel thick, 1/3; about a wall it is 2/3.

    Args:
        blurred: the occupancy of surface voxels blurred over 5 voxels, up to 9^3.
        recipe: how many Gaussians.
        rng: shifts the choice, once.

    Returns:
        Indices into `blurred`, and the distance from each Gaussian to its neighbors in voxels.
    """
    weights = np.maximum(blurred.astype(np.float64) / 9**3, 1 / 3) ** -recipe.init_detail
    ends = np.cumsum(weights)
    share = ends[-1] / recipe.num_gaussians
    places = np.searchsorted(ends, (np.arange(recipe.num_gaussians) + rng.random()) * share, side="right")
    places = np.minimum(places, len(ends) - 1)
    return places, np.sqrt(share / weights[places])


def discs(
    means: Float32[Array, "n 3"],
    normals: Float32[Array, "n 3"],
    colors: Float32[Array, "n 3"],
    spacings: Float64[Array, " n"],
    recipe: FitRecipe,
) -> Gaussians:
    """Gaussians that lie flat on a surface, `spacings` apart, of the recipe's SH degree: bands above 0 are zero."""
    sh = np.zeros((len(means), (recipe.sh_degree + 1) ** 2, 3), np.float32)
    sh[:, 0] = rgb_to_dc(colors)
    radii = spacings[:, None] * np.array([recipe.init_radius, recipe.init_radius, recipe.init_thickness])
    return Gaussians(
        means,
        matrices_to_quats(_frames(normals)).astype(np.float32),
        radii.astype(np.float32),
        np.full(len(means), recipe.init_opacity, np.float32),
        sh,
    )


def _silhouettes(
    views: Views, order: Int[Array, " v"], cameras: Float32[Array, "v 25"]
) -> tuple[Bool[Array, "v bh bw"], Float32[Array, "v 25"]]:
    """Where alpha passes one half, in `order`, and cameras for them: pixels of some 1/200 of the image's width.

    A pixel is set where it or one of its 8 neighbors has some of the object, so that no part falls between the
    centers of voxels, however thin; finer silhouettes would be of no use to voxels of that size.
    """
    block = silhouette_block(views.cameras)
    masks = np.empty((len(views), -(-views.cameras.height // block), -(-views.cameras.width // block)), bool)
    hull_kernels.fill_silhouettes(pixel_words(views), order, block, masks.view(np.uint8))
    # What a pixel on the image's edge has beyond it is not known.
    masks[:, views.cameras.height // block :] = True
    masks[:, :, views.cameras.width // block :] = True
    return masks, scaled(cameras[order], block)


def silhouette_block(cameras: Cameras) -> int:
    """The width of a silhouette's pixel in the image's."""
    return max(1, cameras.width // _SILHOUETTE_WIDTH)


def scaled(cameras: Float32[Array, "v 25"], block: int) -> Float32[Array, "v 25"]:
    """The cameras of images whose pixels are `block` times as wide."""
    scaled = cameras.copy()
    scaled[:, at.FX : at.LIMITS] /= block
    return scaled


def _carve(
    masks: Bool[Array, "v h w"], cameras: Float32[Array, "v 25"], resolution: int
) -> tuple[Float64[Array, "3"], float, Bool[Array, "x y z"]]:
    """Origin, edge of a voxel and occupancy, `resolution` voxels along the longest side of the object's box."""
    occupied = np.empty((COARSE,) * 3, bool)
    # Coarse voxels are tested at their centers only: with the masks as they are, thin legs and plates would be lost.
    hull_kernels.carve(*_widen(masks, cameras), np.full(3, -1.0), 2 / COARSE, occupied)
    origin, voxel, shape = fine_grid(np.argwhere(occupied), resolution)
    occupied = np.empty(shape, bool)
    hull_kernels.carve(masks, cameras, origin, voxel, occupied)
    if not occupied.any():
        raise too_coarse(resolution)
    return origin, voxel, occupied


def fine_grid(cells: Int[Array, "c 3"], resolution: int) -> tuple[Float64[Array, "3"], float, tuple[int, int, int]]:
    """Origin, edge of a voxel and shape of the grid over the box of the coarse `cells` that may hold the object.

    Raises:
        InputError: there are none.
    """
    if not len(cells):
        raise InputError("views: their silhouettes have no point in common, are cameras and alpha those of one object?")
    low, high = cells.min(0), cells.max(0) + 1
    sides = (high - low) * (2 / COARSE)
    voxel = sides.max() / resolution
    x, y, z = np.ceil(sides / voxel - 1e-6).astype(int).tolist()
    return low * (2 / COARSE) - 1, float(voxel), (x, y, z)


def too_coarse(resolution: int) -> InputError:
    """What to raise where no voxel of the fine grid lies inside the object."""
    return InputError(f"hull_resolution: {resolution} voxels are too coarse for this object, none lies inside it")


def widening(cameras: Float32[Array, "v 25"]) -> int:
    """How many pixels a coarse voxel reaches from its center in any view, where it is nearest."""
    reach = np.sqrt(3) / COARSE
    nearest = np.linalg.norm(cameras[:, at.TRANSLATION : at.CENTER], axis=1) - 1
    focal = cameras[:, at.FX : at.CX].max(axis=1)
    return max(1, int(np.ceil((focal * reach / np.maximum(nearest, reach)).max())))


def _widen(
    masks: Bool[Array, "v h w"], cameras: Float32[Array, "v 25"]
) -> tuple[Bool[Array, "v bh bw"], Float32[Array, "v 25"]]:
    """Masks of larger pixels, and their cameras, that hold whatever a coarse voxel with a center there may touch.

    A larger pixel is as wide as `widening` says, and set where it or one of its 8 neighbors has some silhouette.
    """
    _, height, width = masks.shape
    block = widening(cameras)
    wide = np.empty((len(masks), -(-height // block), -(-width // block)), bool)
    hull_kernels.fill_wide(masks.view(np.uint8), block, wide.view(np.uint8))
    return wide, scaled(cameras, block)


def _shifted(volume: Float[Array, "x y z"] | Bool[Array, "x y z"], axis: int, step: int) -> Array:
    """The volume moved by one voxel along an axis, zeros moving in."""
    moved = np.zeros_like(volume)
    source, target = [slice(None)] * 3, [slice(None)] * 3
    source[axis], target[axis] = (slice(None, -1), slice(1, None)) if step > 0 else (slice(1, None), slice(None, -1))
    moved[tuple(target)] = volume[tuple(source)]
    return moved


def _surface(occupied: Bool[Array, "x y z"]) -> Bool[Array, "x y z"]:
    """Occupied voxels with an empty neighbor across a face."""
    inner = occupied.copy()
    for axis in range(3):
        inner &= _shifted(occupied, axis, 1) & _shifted(occupied, axis, -1)
    return occupied & ~inner


def _blurred(occupied: Bool[Array, "x y z"]) -> Float32[Array, "x y z"]:
    """The occupancy blurred over 5 voxels along each axis by 1, 2, 3, 2, 1: whole numbers up to 9^3."""
    blurred = occupied.astype(np.float32)
    for _ in range(2):
        for axis in range(3):
            blurred = blurred + _shifted(blurred, axis, 1) + _shifted(blurred, axis, -1)
    return blurred


def _slopes(blurred: Float32[Array, "x y z"]) -> Float32[Array, "x y z 3"]:
    """Downhill in the blurred occupancy, along each axis."""
    return np.stack([_shifted(blurred, axis, 1) - _shifted(blurred, axis, -1) for axis in range(3)], axis=-1)


def unit_normals(slopes: Float32[Array, "n 3"]) -> Float32[Array, "n 3"]:
    """Unit outward normals: along the slopes; up where it is flat."""
    lengths = np.linalg.norm(slopes, axis=-1, keepdims=True)
    return np.where(lengths > 0, slopes / np.where(lengths > 0, lengths, 1), np.array([0, 0, 1], np.float32))


def _frames(normals: Float32[Array, "n 3"]) -> Float32[Array, "n 3 3"]:
    """Rotation matrices whose third column is the normal."""
    helper = np.where(np.abs(normals[:, :1]) < 0.7, *np.eye(3, dtype=np.float32)[:2])
    first = np.cross(helper, normals)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return np.stack([first, np.cross(normals, first), normals], axis=-1)
