"""Meshes in one frame, points on their surfaces, and the furthest-point order in which those are stored."""

import numpy as np
from jaxtyping import Float, Float32, Int32

from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Mesh


def normalize(mesh: Mesh) -> Mesh:
    """Drops vertices that no face uses, moves the center of the bounding box to the origin, scales to radius 1.

    The center is that of the axis-aligned bounding box of the used vertices; afterwards the furthest used vertex lies
    on the unit sphere. Unused vertices must not count: about 190 meshes of ModelNet10 have some far outside the
    object. Axes stay as they are (z up in ModelNet). Computed in float64. Frozen: a change changes every fingerprint.

    Args:
        mesh: in any units; faces may repeat.

    Returns:
        The mesh in the world frame, vertices in their old order, faces renumbered.

    Raises:
        InputError: no faces, or all used vertices in one place.
    """
    if not len(mesh.faces):
        raise InputError("the mesh has no faces")
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.faces] = True
    points = mesh.vertices[used].astype(np.float64)
    points -= (points.min(0) + points.max(0)) / 2
    radius = np.sqrt((points**2).sum(1).max())
    if radius < np.finfo(np.float32).tiny:
        raise InputError("the mesh has no extent: all vertices that faces use lie in one place")
    renumbered = np.cumsum(used, dtype=np.int32) - 1
    # A radius of 1 in float64 may round to 1 + 1e-7 in float32; half an ulp less keeps every vertex inside.
    vertices = (points / radius * (1 - 1e-7)).astype(np.float32)
    return Mesh(vertices, renumbered[mesh.faces])


_BUCKET_HEIGHT = 7  # of fpsample's k-d line; the fastest for 10,000 to 100,000 points


def sample_surface(mesh: Mesh, count: int, seed: int) -> tuple[Float32[Array, "n 3"], Float32[Array, "n 3"]]:
    """Draws points uniformly by area, each independently; a face that repeats counts as often as it stands there.

    Frozen: a change changes every fingerprint.

    Args:
        mesh: in any frame.
        count: number of points n.
        seed: equal seeds give equal points.

    Returns:
        Points in the mesh's frame and the unit normals of their faces, whose sign follows the file's winding.

    Raises:
        InputError: no points asked for, or a surface without area.
    """
    if count < 1:
        raise InputError(f"count is {count}, it must be 1 or more")
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    crosses = np.cross(b - a, c - a)
    areas = np.linalg.norm(crosses, axis=1)
    edges = np.cumsum(areas)
    if not len(areas) or not edges[-1] > 0:
        raise InputError("the mesh has no surface: the area of all faces is 0")
    rng = np.random.default_rng(seed)
    # The first edge above the draw: a face without area has no draws below its own edge and above the one before.
    faces = np.searchsorted(edges, rng.random(count) * edges[-1], side="right")
    faces = np.minimum(faces, np.flatnonzero(areas)[-1])  # the product may round up to the last edge
    u, v = np.moveaxis(rng.random((count, 2, 1)), 1, 0)
    outside = u + v > 1  # the other half of the parallelogram, folded back
    u, v = np.where(outside, 1 - u, u), np.where(outside, 1 - v, v)
    points = a[faces] + u * (b - a)[faces] + v * (c - a)[faces]
    normals = crosses[faces] / areas[faces, None]
    return points.astype(np.float32), normals.astype(np.float32)


def fps_order(points: Float[Array, "n 3"], count: int) -> Int32[Array, " m"]:
    """Returns the exact furthest-point order: each point is the one furthest from all before it.

    The first k of the order are the furthest-point sample of k. The start is the point that the k-d tree puts first
    (fpsample 1.0.2 heeds no other), so the order is a function of `points` alone. Points that coincide come last.

    Args:
        points: any frame; compared in float32.
        count: how much of the order is wanted.

    Returns:
        m = min(count, n) distinct indices into `points`.

    Raises:
        InputError: no points, none asked for, or points that are not finite.
    """
    import fpsample  # here, since the CLI's quick commands do not need it

    if count < 1 or not len(points):
        raise InputError(f"{count} of {len(points)} points asked for, both must be 1 or more")
    if not np.isfinite(points).all():
        raise InputError("points that are not finite have no furthest-point order")
    if len(points) == 1:
        return np.zeros(1, np.int32)
    size = min(count, len(points))
    height = min(_BUCKET_HEIGHT, len(points).bit_length() - 1)
    order = fpsample.bucket_fps_kdline_sampling(points, size, h=height, start_idx=0)
    distinct, first = np.unique(order, return_index=True)
    if len(distinct) < size:  # at distance 0 from all before, it repeats an index: give the unused ones instead
        unused = np.setdiff1d(np.arange(len(points)), distinct)
        order = np.concatenate([order[np.sort(first)], unused[: size - len(distinct)]])
    return order.astype(np.int32)
