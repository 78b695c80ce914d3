"""Procedural beds, chairs, sofas, dressers and night stands."""

import numpy as np

from gsbench.core.types import Mesh
from gsbench.meshes.shapes.solids import (
    LEG_STYLES,
    Draw,
    block,
    column,
    cushion,
    drawers,
    four_legs,
    join,
    loft,
    move,
    outline,
    scale,
    shell,
    shift,
    stack_rings,
    tilt,
    top,
    tube,
    upholstery,
)


def make_bed(draw: Draw) -> Mesh:
    """A mattress on a frame with a headboard; the head is at +y."""
    kind = draw.pick({"plain": 6.0, "canopy": 1.2, "bunk": 1.0, "day": 1.0})
    width = draw.between(0.9, 1.1) if kind in ("bunk", "day") else draw.between(0.95, 2.0)
    length, height = draw.between(1.9, 2.15), draw.between(0.4, 0.65)
    parts = _lying(draw, width, length, height)
    head = height + draw.between(0.25, 0.8)
    if kind == "day":
        side = draw.between(0.25, 0.45)
        parts.append(block(-width / 2, 0, 0, 0.06, length, height + side))
        parts += [block(0, s * length / 2, 0, width, 0.06, height + side) for s in (-1, 1)]
        return join(parts)
    if kind == "bunk":
        gap, post = draw.between(0.8, 1.0), draw.between(0.05, 0.08)
        parts += [move(part, z=gap + 0.1) for part in _lying(draw, width, length, height, legs=False)]
        parts += four_legs("square", width + post, length + post, height + gap + 0.35, post)
        rungs = np.linspace(0.3, height + gap, draw.count(3, 5))
        parts += [block(width / 2 + post, -0.3 * length, float(z), 0.03, 0.4, 0.03) for z in rungs]
        return join(parts)
    if not draw.chance(0.08):
        parts += _board(draw, width, length / 2 + 0.03, head)
    if draw.chance(0.45):
        parts += _board(draw, width, -length / 2 - 0.03, draw.between(height - 0.05, 0.5 * (height + head)))
    if kind == "canopy":
        post, rise = draw.between(0.05, 0.09), draw.between(1.8, 2.2)
        parts += four_legs(draw.pick({"square": 2.0, "turned": 1.0}), width + post, length + post, rise, post)
        parts += [block(s * width / 2, 0, rise - 0.06, 0.05, length, 0.05) for s in (-1, 1)]
        parts += [block(0, s * length / 2, rise - 0.06, width, 0.05, 0.05) for s in (-1, 1)]
        if draw.chance(0.4):
            parts.append(block(0, 0, rise, width + post, length + post, 0.02))
    return join(parts)


def _lying(draw: Draw, width: float, length: float, height: float, legs: bool = True) -> list[Mesh]:
    """Frame, mattress, blanket and pillows up to about `height`."""
    mattress = draw.between(0.15, 0.28)
    frame_top = height - 0.7 * mattress
    if legs and draw.chance(0.6):
        clearance = draw.between(0.3, 0.7) * frame_top
        parts = four_legs(draw.pick(LEG_STYLES), 0.96 * width, 0.96 * length, clearance + 0.01, 0.07)
    else:
        clearance = 0.0 if legs else frame_top - 0.12
        parts = []
    parts.append(block(0, 0, clearance, width, length, frame_top - clearance))
    parts.append(cushion(0, 0, height - mattress, 0.97 * width, 0.98 * length, mattress, draw.between(0.1, 0.35)))
    if draw.chance(0.4):
        reach = draw.between(0.5, 0.8) * length
        y, z = -(length - reach) / 2, height - 0.6 * mattress
        parts.append(cushion(0, y, z, 1.03 * width, reach, 0.65 * mattress, 0.2))
    count = 0 if draw.chance(0.15) else 1 if width < 1.3 else 2
    for index in range(count):
        x = (index - (count - 1) / 2) * 0.45 * width
        size = min(0.7, 0.85 * width / count)
        parts.append(cushion(x, 0.38 * length, height - 0.02, size, 0.38, draw.between(0.1, 0.16), 0.45))
    return parts


def _board(draw: Draw, width: float, y: float, height: float) -> list[Mesh]:
    """A head- or footboard: a slab, an arched panel, or posts with bars."""
    style = draw.pick({"slab": 3.0, "arch": 1.5, "bars": 1.5})
    thickness = draw.between(0.04, 0.1)
    if style == "slab":
        return [block(0, y, 0, draw.between(1.0, 1.12) * width, thickness, height)]
    if style == "arch":
        ring = outline(1.04 * width, 2 * height, draw.between(3.0, 6.0), 32)[:, [0, 2, 1]]
        ring[:, 2] = np.maximum(ring[:, 2], 0)  # the upper half of a superellipse, on the floor
        return [loft([shift(ring, y=y - thickness / 2), shift(ring, y=y + thickness / 2)])]
    posts = [column(s * width / 2, y, 0, height + 0.05, [0.035, 0.035, 0.045], 10) for s in (-1, 1)]
    places = np.linspace(-0.4, 0.4, draw.count(4, 9)) * width
    bars = [block(float(x), y, 0.25, 0.03, 0.02, height - 0.28) for x in places]
    rail = loft(stack_rings(outline(width, 0.06, 6.0), [(1, height - 0.06), (1, height)]))
    return [*posts, *bars, move(rail, y=y)]


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


def make_dresser(draw: Draw) -> Mesh:
    """Low and wide with a drawer grid, a tall chest, or as small and square as a night stand."""
    kind = draw.pick({"low": 4.0, "chest": 2.5, "small": 3.5})
    height = draw.between(0.75, 1.0)
    if kind == "low":
        width, depth = height * draw.between(1.2, 2.0), height * draw.between(0.45, 0.65)
        columns, rows = draw.count(2, 3), draw.count(2, 4)
    elif kind == "chest":
        width, depth = height * draw.between(0.6, 0.85), height * draw.between(0.35, 0.55)
        columns, rows = 1, draw.count(4, 6)
    else:
        width, depth = height * draw.between(0.8, 1.25), height * draw.between(0.5, 0.8)
        columns, rows = draw.pick({1: 3.0, 2: 2.0}), draw.count(2, 4)
    parts = _cabinet(draw, width, depth, height, columns, rows, open_share=0.03)
    if kind == "low" and draw.chance(0.2):
        mirror = 0.9 * height
        parts.append(block(0, 0.4 * depth, height, draw.between(0.5, 0.9) * width, 0.04, mirror))
    return join(parts)


def make_night_stand(draw: Draw) -> Mesh:
    """A small cabinet, one with an open shelf, a leggy one with a drawer, or one as wide as a dresser."""
    kind = draw.pick({"closed": 4.0, "open": 3.0, "leggy": 2.0, "wide": 1.5})
    height = draw.between(0.45, 0.7)
    if kind == "leggy":
        return join(_leggy(draw, height * draw.between(0.7, 1.0), height * draw.between(0.6, 0.85), height))
    width, depth = height * draw.between(0.75, 1.15), height * draw.between(0.55, 0.9)
    if kind == "wide":
        width = height * draw.between(1.1, 1.4)
    columns = 2 if kind == "wide" and draw.chance(0.4) else 1
    open_share = draw.between(0.3, 0.7) if kind == "open" else 0.0
    rows = draw.count(1, 2) if kind == "open" else draw.count(2, 4)
    return join(_cabinet(draw, width, depth, height, columns, rows, open_share))


def _cabinet(
    draw: Draw, width: float, depth: float, height: float, columns: int, rows: int, open_share: float
) -> list[Mesh]:
    """A case on a plinth or legs, a lid, drawers; the lower `open_share` of the front is an open compartment."""
    foot = draw.between(0.02, 0.18) * height
    lid, lip = draw.between(0.02, 0.05) * height, draw.between(0.0, 0.04) * width
    if draw.chance(0.5):
        parts = [block(0, 0, 0, draw.between(0.9, 1.0) * width, 0.94 * depth, foot)]
    else:
        thickness = draw.between(0.05, 0.09) * height
        parts = four_legs(draw.pick(LEG_STYLES), 0.98 * width, 0.96 * depth, foot, thickness)
    body = height - foot - lid
    parts.append(top(draw.pick({"square": 3.0, "rounded": 1.0}), width + lip, depth + lip, height - lid, lid))
    opening = open_share * body if open_share > 0.1 else 0.0
    if opening:
        parts += shell(width, depth, foot, opening, 0.03 * height)
    parts.append(block(0, 0, foot + opening, width, depth, body - opening))
    margin = draw.between(0.01, 0.05) * width
    fronts = drawers(draw, 0, -depth / 2, foot + opening, width - 2 * margin, body - opening, columns, rows)
    if draw.chance(0.12):
        parts.append(block(0, (depth - 0.02) / 2, height, width, 0.02, draw.between(0.08, 0.3) * height))
    return parts + fronts


def _leggy(draw: Draw, width: float, depth: float, height: float) -> list[Mesh]:
    """A small table with a drawer under its top and, often, a shelf."""
    thickness, box = draw.between(0.035, 0.05), draw.between(0.2, 0.4) * height
    parts = four_legs(draw.pick(LEG_STYLES), width, depth, height - 0.02, thickness)
    parts.append(top(draw.pick({"square": 3.0, "rounded": 1.0}), 1.05 * width, 1.05 * depth, height - 0.025, 0.025))
    parts.append(block(0, 0, height - box, 0.96 * width, 0.96 * depth, box - 0.02))
    parts += drawers(draw, 0, -0.48 * depth, height - box, 0.85 * width, box - 0.02, 1, draw.count(1, 2))
    if draw.chance(0.6):
        parts.append(block(0, 0, draw.between(0.1, 0.3) * height, 0.95 * width, 0.95 * depth, 0.02))
    return parts
