"""What tells shapes apart cheaply: distances from fixed probes to the surface, and the points that verify a match.

For any probe p, |d(p, A) - d(p, B)| is at most the Hausdorff distance of the surfaces A and B. So two shapes whose
distances differ by more than a threshold at a single probe are further apart than it: looking for neighbors in this
space, by the largest difference, loses no pair. The probes are closed under quarter turns about z, and sorting the four
distances of an orbit, which no difference grows by, makes the descriptor blind to such turns.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from gsbench.core.types import Array, Mesh
from gsbench.meshes.distance import Surface

ORBITS = 48
"""Probes a quarter of the unit ball's box; there are four times as many."""

QUERIES = 2048
"""Points on the surface, and at most as many vertices, whose distances to the other surface are taken."""

_GOLDEN = (0.7548776662466927, 0.5698402909980532)  # powers of the plastic number: an even sequence in the square
_GOLDEN_3 = (0.8191725133961645, 0.6710436067037893, 0.5497004779019703)


def turn(points: Float32[Array, "n 3"], quarters: int) -> Float32[Array, "n 3"]:
    """Turns points by quarter turns about z, counter-clockwise seen from above; exact."""
    x, y, z = points.T
    return np.stack([(x, y), (-y, x), (-x, -y), (y, -x)][quarters % 4] + (z,), axis=1)


def probe_points() -> Float32[Array, "p 3"]:
    """`[4m 3]` the probes: m in the quarter x, y >= 0 of [-1, 1]^3, then the same turned once, twice, three times."""
    steps = np.arange(1, ORBITS + 1)[:, None] * np.array(_GOLDEN_3)
    first = (steps % 1 * (1, 1, 2) - (0, 0, 1)).astype(np.float32)
    return np.concatenate([turn(first, quarters) for quarters in range(4)])


def describe(surface: Surface) -> Float32[Array, "4 m"]:
    """`[4 m]` distances from the probes to a normalized surface, a row a quarter turn."""
    return surface.distances(probe_points()).reshape(4, ORBITS).astype(np.float32)


def query_points(mesh: Mesh) -> Float32[Array, "q 3"]:
    """Points of a surface spread evenly by area, and its vertices (every k-th where there are too many).

    Args:
        mesh: has area; equal meshes, face by face, give equal points.
    """
    step = -(-len(mesh.vertices) // QUERIES)
    return np.concatenate([_spread(mesh), mesh.vertices[::step]])


def _spread(mesh: Mesh) -> Float32[Array, "n 3"]:
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    ends = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1))
    index = np.arange(QUERIES)
    faces = np.minimum(np.searchsorted(ends, (index + 0.5) / QUERIES * ends[-1], side="right"), len(ends) - 1)
    u, v = (index[:, None] * np.array(_GOLDEN) % 1).T[:, :, None]
    outside = u + v > 1  # the other half of the parallelogram, folded back
    u, v = np.where(outside, 1 - u, u), np.where(outside, 1 - v, v)
    return (a[faces] + u * (b - a)[faces] + v * (c - a)[faces]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Shape:
    """A normalized mesh, ready to be compared."""

    surface: Surface
    queries: Float32[Array, "q 3"]


def distances_between(one: Shape, other: Shape, quarters: int) -> Float64[Array, " q"]:
    """Distances from the queries of each shape to the other's surface, after turning `one` by quarter turns."""
    there = other.surface.distances(turn(one.queries, quarters))
    back = one.surface.distances(turn(other.queries, -quarters))
    return np.concatenate([there, back])


def quarter_turns_within(one: Float32[Array, "4 m"], other: Float32[Array, "4 m"], limit: float) -> tuple[int, ...]:
    """The quarter turns of the first shape after which its descriptor is within `limit` of the second's."""
    # A probe sees the turned shape as the probe turned back sees the shape itself.
    return tuple(k for k in range(4) if np.abs(np.roll(one, k, axis=0) - other).max() <= limit)
