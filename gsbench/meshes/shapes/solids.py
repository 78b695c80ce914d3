"""The solids that the shapes are built of, all of them lofts: rings of equal length, joined and capped.

Metres, z up. A solid is a `Mesh`; parts of a shape may run into each other, as they do in ModelNet.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from gsbench.types import Array, Mesh

Ring = Float64[Array, "k 3"]


def loft(rings: Sequence[Ring]) -> Mesh:
    """Joins rings of k points each, in order, and closes the first and the last by a fan about their centres."""
    stack = np.stack(list(rings))
    count, size = stack.shape[:2]
    grid = np.arange(count * size).reshape(count, size)
    a, b = grid[:-1], np.roll(grid[:-1], -1, 1)
    d, c = grid[1:], np.roll(grid[1:], -1, 1)
    sides = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    first = np.stack([np.roll(grid[0], -1), grid[0], np.full(size, count * size)], -1)
    last = np.stack([grid[-1], np.roll(grid[-1], -1), np.full(size, count * size + 1)], -1)
    vertices = np.concatenate([stack.reshape(-1, 3), stack[[0, -1]].mean(1)])
    return Mesh(vertices.astype(np.float32), np.concatenate([sides, first, last]).astype(np.int32))


def shift(ring: Ring, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Ring:
    """The ring, shifted."""
    return ring + np.array([x, y, z])


def join(solids: Sequence[Mesh]) -> Mesh:
    """All solids as one mesh."""
    offsets = np.cumsum([0] + [len(solid.vertices) for solid in solids[:-1]])
    faces = [solid.faces + offset for solid, offset in zip(solids, offsets, strict=True)]
    return Mesh(np.concatenate([solid.vertices for solid in solids]), np.concatenate(faces).astype(np.int32))


def move(solid: Mesh, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
    """The solid, shifted."""
    return Mesh(solid.vertices + np.array([x, y, z], np.float32), solid.faces)


def scale(solid: Mesh, x: float, y: float, z: float) -> Mesh:
    """The solid, scaled about the origin; a negative factor mirrors (winding included)."""
    faces = solid.faces if x * y * z > 0 else solid.faces[:, ::-1]
    return Mesh(solid.vertices * np.array([x, y, z], np.float32), np.ascontiguousarray(faces))


def tilt(solid: Mesh, degrees: float, y: float, z: float) -> Mesh:
    """The solid, turned about the line along x through (y, z); positive leans what is above backward (+y)."""
    angle = np.radians(degrees)
    offset = solid.vertices - np.array([0, y, z])
    turned = np.stack(
        [
            offset[:, 0],
            np.cos(angle) * offset[:, 1] + np.sin(angle) * offset[:, 2],
            np.cos(angle) * offset[:, 2] - np.sin(angle) * offset[:, 1],
        ],
        1,
    )
    return Mesh((turned + np.array([0, y, z])).astype(np.float32), solid.faces)


def block(x: float, y: float, z: float, width: float, depth: float, height: float) -> Mesh:
    """A box centred at (x, y) that stands at height `z`."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * [width / 2, depth / 2, 0]
    return loft([shift(corners, x, y, z), shift(corners, x, y, z + height)])


def outline(width: float, depth: float, exponent: float, sides: int = 24) -> Ring:
    """A superellipse in the plane z = 0: exponent 2 is an ellipse, 4 to 8 a rounded rectangle."""
    angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    cos, sin = np.cos(angle), np.sin(angle)
    x = np.sign(cos) * np.abs(cos) ** (2 / exponent) * width / 2
    y = np.sign(sin) * np.abs(sin) ** (2 / exponent) * depth / 2
    return np.stack([x, y, np.zeros(sides)], 1)


def stack_rings(ring: Ring, levels: Sequence[tuple[float, float]]) -> list[Ring]:
    """Copies of `ring`, each scaled about the z axis and lifted: one for each (scale, z)."""
    return [shift(ring * [factor, factor, 1], z=z) for factor, z in levels]


def cushion(x: float, y: float, z: float, width: float, depth: float, height: float, roundness: float = 0.2) -> Mesh:
    """A box with rounded edges, centred at (x, y), standing at `z`; `roundness` is relative to the height."""
    inset = roundness * height
    outer = outline(width, depth, 7.0)
    inner = outline(max(width - 2 * inset, 0.1 * width), max(depth - 2 * inset, 0.1 * depth), 7.0)
    rings = [inner, shift(outer, z=inset), shift(outer, z=height - inset), shift(inner, z=height)]
    return move(loft(rings), x, y, z)


def column(x: float, y: float, z: float, top: float, radii: Sequence[float], sides: int = 12) -> Mesh:
    """A turned post at (x, y) from `z` to `top` with the given radii at equal steps."""
    heights = np.linspace(z, top, len(radii))
    ring = outline(2.0, 2.0, 2.0, sides)
    return move(loft(stack_rings(ring, list(zip(radii, heights, strict=True)))), x, y)


def tube(path: Sequence[tuple[float, float, float]], radius: float, sides: int = 8) -> Mesh:
    """A round bar along a polyline; its frame is carried from joint to joint without twisting."""
    points = np.array(path, np.float64)
    steps = np.diff(points, axis=0)
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    tangents = np.concatenate([steps[:1], steps[:-1] + steps[1:], steps[-1:]])
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    side = np.cross(tangents[0], np.eye(3)[np.abs(tangents[0]).argmin()])
    angle = 2 * np.pi * np.arange(sides)[:, None] / sides
    rings = []
    for point, tangent in zip(points, tangents, strict=True):
        side = side - side @ tangent * tangent
        side /= np.linalg.norm(side)
        rings.append(point + radius * (np.cos(angle) * side + np.sin(angle) * np.cross(tangent, side)))
    return loft(rings)
