"""What procedural objects are put together from: random draws, solids, and parts such as legs and drawers."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float64

from gsbench.core.types import Array, Mesh

T = TypeVar("T")


class Draw:
    """A stream of random choices; equal seeds and streams give equal choices on every platform."""

    def __init__(self, seed: int, stream: int) -> None:
        self._rng = np.random.default_rng([seed, stream])

    def between(self, low: float, high: float) -> float:
        """A number in `low`..`high`, uniform."""
        return float(self._rng.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return int(self._rng.integers(low, high, endpoint=True))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self._rng.random() < probability)

    def pick(self, options: dict[T, float]) -> T:
        """One of the keys, in proportion to the values."""
        edges = np.cumsum(list(options.values()))
        index = np.searchsorted(edges, self._rng.random() * edges[-1], side="right")
        return list(options)[min(int(index), len(options) - 1)]


Ring = Float64[Array, "k 3"]


def loft(rings: Sequence[Ring]) -> Mesh:
    """Joins rings of k points each, in order, and closes the first and the last by a fan about their centers."""
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
    """A box centered at (x, y) that stands at height `z`."""
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
    """A box with rounded edges, centered at (x, y), standing at `z`; `roundness` is relative to the height."""
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


LEG_STYLES = {"square": 4.0, "round": 2.0, "tapered": 2.0, "turned": 1.0, "splayed": 1.0}


def leg(style: str, x: float, y: float, height: float, thickness: float) -> Mesh:
    """One leg from the floor to `height`; splayed ones lean away from the z axis."""
    half = thickness / 2
    if style == "square":
        return block(x, y, 0, thickness, thickness, height)
    if style == "round":
        return column(x, y, 0, height, [half, half], 10)
    if style == "tapered":
        return column(x, y, 0, height, [0.55 * half, half], 8)
    if style == "turned":
        return column(x, y, 0, height, [0.7 * half, half, 0.6 * half, 0.9 * half, 1.2 * half, 0.7 * half, half], 10)
    reach = 0.12 * height
    foot = (x + (reach if x > 0 else -reach), y + (reach if y > 0 else -reach), 0.0)
    return tube([foot, (x, y, height)], 0.8 * half)


def four_legs(style: str, width: float, depth: float, height: float, thickness: float) -> list[Mesh]:
    """Legs under the corners of a `width` x `depth` rectangle, outer faces flush with it."""
    x, y = (width - thickness) / 2, (depth - thickness) / 2
    return [leg(style, sx * x, sy * y, height, thickness) for sx in (-1, 1) for sy in (-1, 1)]


def top(shape: str, width: float, depth: float, z: float, thickness: float) -> Mesh:
    """A board standing at `z`: `square`, `rounded` or `oval`."""
    if shape == "square":
        return block(0, 0, z, width, depth, thickness)
    ring = outline(width, depth, 2.0 if shape == "oval" else 6.0, 28)
    return loft(stack_rings(ring, [(1.0, z), (1.0, z + thickness)]))


def handle(style: str, x: float, y: float, z: float, width: float) -> list[Mesh]:
    """What one pulls a drawer by, on a front at depth `y`: a `knob`, a `bar`, or `none`."""
    if style == "knob":
        return [block(x, y - 0.012, z - 0.015, 0.03, 0.03, 0.03)]
    if style == "bar":
        return [block(x, y - 0.012, z - 0.008, 0.35 * width, 0.022, 0.016)]
    return []


def drawers(
    draw: Draw, x: float, front: float, z: float, width: float, height: float, columns: int, rows: int
) -> list[Mesh]:
    """Drawer fronts on the plane y = `front` in a grid over `width` x `height` about (x, z); a few stand open."""
    gap, style = draw.between(0.008, 0.02), draw.pick({"knob": 2.0, "bar": 2.0, "none": 1.0})
    relief = draw.between(0.008, 0.02)
    taller_below = draw.between(0.0, 0.25)
    shares = [1 + taller_below * (rows - 1 - row) for row in range(rows)]
    parts: list[Mesh] = []
    cell = width / columns
    bottom = z
    for share in shares:
        cell_height = height * share / sum(shares)
        for column_index in range(columns):
            center = x - width / 2 + (column_index + 0.5) * cell
            out = relief + (draw.between(0.05, 0.2) if draw.chance(0.02) else 0.0)
            parts.append(block(center, front - out / 2, bottom + gap / 2, cell - gap, out, cell_height - gap))
            parts += handle(style, center, front - out, bottom + 0.55 * cell_height, cell)
        bottom += cell_height
    return parts


def shell(width: float, depth: float, z: float, height: float, board: float, back: bool = True) -> list[Mesh]:
    """An open case of boards: two sides, floor, lid, and a back."""
    parts = [block(side * (width - board) / 2, 0, z, board, depth, height) for side in (-1, 1)]
    parts += [block(0, 0, z, width, depth, board), block(0, 0, z + height - board, width, depth, board)]
    if back:
        parts.append(block(0, (depth - board) / 2, z, width, board, height))
    return parts


def upholstery(draw: Draw, width: float, depth: float, seats: int) -> list[Mesh]:
    """A sofa or an armchair: base, arms, back and cushions, on a plinth or short legs."""
    foot = draw.between(0.03, 0.16)
    seat, back, arm = draw.between(0.36, 0.46), draw.between(0.68, 0.95), draw.between(0.1, 0.24)
    arm_top = draw.between(seat + 0.08, max(back - 0.08, seat + 0.1))
    thickness, roundness = draw.between(0.14, 0.26), draw.between(0.08, 0.4)
    parts = four_legs(draw.pick({"square": 2.0, "tapered": 2.0}), 0.92 * width, 0.9 * depth, foot + 0.02, 0.06)
    if draw.chance(0.3):
        parts = [block(0, 0, 0, 0.94 * width, 0.9 * depth, foot + 0.02)]
    parts.append(block(0, 0, foot, width, depth, seat - foot - 0.14))
    has_arms = draw.chance(0.9)
    inner = width - 2 * arm if has_arms else width
    if has_arms:
        rolled = draw.chance(0.3)
        for side in (-1, 1):
            x = side * (width - arm) / 2
            parts.append(cushion(x, 0, foot, arm, depth, arm_top - foot, 0.15 * roundness))
            if rolled:
                parts.append(tube([(x, -depth / 2, arm_top), (x, depth / 2, arm_top)], 0.6 * arm, 12))
    parts.append(cushion(0, (depth - thickness) / 2, foot, width, thickness, back - foot, 0.15 * roundness))
    cell, seat_depth = inner / seats, depth - thickness
    for index in range(seats):
        x = (index + 0.5) * cell - inner / 2
        parts.append(cushion(x, -thickness / 2, seat - 0.15, 0.97 * cell, seat_depth, 0.15, roundness))
        if draw.chance(0.7):
            pillow = cushion(0, 0, 0, 0.92 * cell, draw.between(0.1, 0.16), back - seat, 0.12)
            parts.append(move(pillow, x, depth / 2 - thickness - 0.04, seat - 0.01))
    return parts
