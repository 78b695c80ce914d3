"""Parts that several classes share: legs, drawers, tops, upholstered seats. Front is -y, the floor is z = 0."""

from gsbench.meshes.shapes.draw import Draw
from gsbench.meshes.shapes.solids import block, column, cushion, loft, move, outline, stack_rings, tube
from gsbench.types import Mesh

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
            centre = x - width / 2 + (column_index + 0.5) * cell
            out = relief + (draw.between(0.05, 0.2) if draw.chance(0.02) else 0.0)
            parts.append(block(centre, front - out / 2, bottom + gap / 2, cell - gap, out, cell_height - gap))
            parts += handle(style, centre, front - out, bottom + 0.55 * cell_height, cell)
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
