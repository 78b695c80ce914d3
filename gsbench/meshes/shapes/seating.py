"""Chairs and sofas. An upholstered armchair is a narrow sofa: the two classes meet there."""

import numpy as np

from gsbench.meshes.shapes.draw import Draw
from gsbench.meshes.shapes.parts import LEG_STYLES, four_legs, upholstery
from gsbench.meshes.shapes.solids import (
    block,
    column,
    cushion,
    join,
    loft,
    move,
    outline,
    scale,
    stack_rings,
    tilt,
    tube,
)
from gsbench.types import Mesh


def make_chair(draw: Draw) -> Mesh:
    """Four-leg, cantilever and swivel chairs with slab, slatted or barred backs, and upholstered armchairs."""
    if draw.chance(0.1):
        return join(upholstery(draw, draw.between(0.7, 1.0), draw.between(0.7, 0.9), 1))
    width, depth = draw.between(0.4, 0.55), draw.between(0.4, 0.52)
    seat, back = draw.between(0.4, 0.5), draw.between(0.75, 1.15)
    padding = draw.between(0.025, 0.1)
    base = draw.pick({"legs": 5.0, "swivel": 2.0, "cantilever": 1.0, "sled": 1.0})
    under = seat - padding
    if base == "legs":
        parts = four_legs(draw.pick(LEG_STYLES), width, depth, under + 0.01, draw.between(0.03, 0.055))
        if draw.chance(0.4):
            rail = draw.between(0.3, 0.6) * under
            parts += [block(s * (width / 2 - 0.02), 0, rail, 0.02, 0.94 * depth, 0.03) for s in (-1, 1)]
    elif base == "swivel":
        parts = _swivel(draw, 0.5 * width + 0.08, under)
    else:
        parts = _bent_tubes(width, depth, under, closed=base == "sled")
    if draw.chance(0.25):
        parts.append(move(loft(stack_rings(outline(width, depth, 2.4), [(0.96, 0), (1, padding)])), z=under))
    else:
        parts.append(cushion(0, 0, under, width, depth, padding, draw.between(0.0, 0.45)))
    lean = draw.between(2, 14)
    parts += [tilt(part, lean, depth / 2, seat) for part in _back(draw, width, depth, seat, back)]
    if draw.chance(0.4):
        parts += _arms(draw, width, depth, seat, from_floor=base == "legs" and draw.chance(0.5))
    return join(parts)


def make_sofa(draw: Draw) -> Mesh:
    """Two to four seats with arms, back and cushions; some with a chaise, some as narrow as an armchair."""
    seats = draw.pick({1: 0.8, 2: 3.0, 3: 4.0, 4: 1.5})
    width = draw.between(0.9, 1.15) if seats == 1 else seats * draw.between(0.58, 0.78)
    depth = draw.between(0.75, 1.0)
    parts = upholstery(draw, width, depth, seats)
    if seats > 1 and draw.chance(0.25):
        reach, share = draw.between(0.5, 0.9), 1 / seats
        x = -(1 - share) * width / 2
        parts.append(block(x, -(depth + reach) / 2, 0.08, share * width, reach, 0.2))
        parts.append(cushion(x, -(depth + reach) / 2, 0.26, share * width, reach, 0.15, 0.3))
        if draw.chance(0.5):
            parts.append(cushion(x - 0.45 * share * width, -(depth + reach) / 2, 0.08, 0.16, reach, 0.6, 0.1))
    return scale(join(parts), -1 if draw.chance(0.5) else 1, 1, 1)


def _back(draw: Draw, width: float, depth: float, seat: float, back: float) -> list[Mesh]:
    """An upright back behind the seat; the caller leans it."""
    style = draw.pick({"slab": 3.0, "bars": 2.0, "rails": 2.0, "panel": 2.0})
    thickness, y, rise = draw.between(0.02, 0.07), depth / 2, back - seat
    if style == "slab":
        return [cushion(0, y - thickness / 2, seat - 0.02, draw.between(0.85, 1.0) * width, thickness, rise, 0.05)]
    if style == "panel":
        panel = move(loft(stack_rings(outline(width, rise * 0.7, draw.between(2.2, 6.0)), [(1, 0), (1, thickness)])))
        upright = Mesh(panel.vertices[:, [0, 2, 1]] * np.array([1, -1, 1], np.float32), panel.faces)
        posts = [block(s * 0.3 * width, y - 0.02, seat - 0.03, 0.03, 0.02, 0.5 * rise) for s in (-1, 1)]
        return [move(upright, y=y, z=back - 0.35 * rise), *posts]
    posts = [block(s * (width - 0.04) / 2, y - 0.02, seat - 0.03, 0.035, 0.035, rise + 0.03) for s in (-1, 1)]
    if style == "bars":
        count = draw.count(2, 6)
        bars = [block(x, y - 0.02, seat, 0.02, 0.015, rise) for x in np.linspace(-0.4, 0.4, count) * width]
        return [*posts, *bars, block(0, y - 0.02, back - 0.06, width, 0.03, 0.06)]
    rails = draw.count(2, 4)
    heights = np.linspace(seat + 0.25 * rise, back - 0.08, rails)
    return posts + [block(0, y - 0.02, float(z), width, 0.018, draw.between(0.04, 0.09)) for z in heights]


def _arms(draw: Draw, width: float, depth: float, seat: float, from_floor: bool) -> list[Mesh]:
    rise, thickness = draw.between(0.17, 0.25), draw.between(0.03, 0.06)
    foot = 0.0 if from_floor else seat - 0.04
    parts = []
    for side in (-1, 1):
        x = side * (width + thickness) / 2
        parts.append(block(x, 0, seat + rise, thickness, 0.95 * depth, 0.03))
        parts.append(block(x, -0.42 * depth, foot, thickness, 0.035, seat + rise - foot))
        parts.append(block(x, 0.4 * depth, foot, thickness, 0.035, seat + rise - foot))
    return parts


def _swivel(draw: Draw, reach: float, under: float) -> list[Mesh]:
    """A gas lift on a star of four to six feet, or on a disc."""
    hub = draw.between(0.07, 0.12)
    parts = [column(0, 0, 0.5 * hub, under, [0.03, 0.03, 0.02, 0.02], 10)]
    if draw.chance(0.25):
        return [*parts, column(0, 0, 0, 0.04, [reach * 0.85, reach * 0.8], 24)]
    count = draw.count(4, 6)
    for angle in 2 * np.pi * (np.arange(count) + 0.25) / count:
        x, y = reach * float(np.cos(angle)), reach * float(np.sin(angle))
        parts.append(tube([(0, 0, hub), (x, y, 0.05)], 0.02, 6))
        parts.append(column(x, y, 0, 0.05, [0.025, 0.025], 8))
    return parts


def _bent_tubes(width: float, depth: float, under: float, closed: bool) -> list[Mesh]:
    """Two loops of tube beside the seat: open at the back (cantilever) or closed (sled)."""
    front, rear, radius = -depth / 2, depth / 2, 0.014
    parts = []
    for x in (-width / 2, width / 2):
        path = [(x, rear, under), (x, front, under), (x, front, radius), (x, rear, radius)]
        parts.append(tube(path, radius))
        if closed:
            parts.append(tube([(x, rear, radius), (x, rear, under)], radius))
    parts.append(tube([(-width / 2, rear, radius), (width / 2, rear, radius)], radius))
    return parts
