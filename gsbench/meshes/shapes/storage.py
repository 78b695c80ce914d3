"""Dressers and night stands: one cabinet, two overlapping ranges of proportions and drawer grids."""

from gsbench.meshes.shapes.draw import Draw
from gsbench.meshes.shapes.parts import LEG_STYLES, drawers, four_legs, shell, top
from gsbench.meshes.shapes.solids import block, join
from gsbench.types import Mesh


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
