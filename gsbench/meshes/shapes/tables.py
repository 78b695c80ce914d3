"""Tables and desks: the plain four-leg ones of both classes come from one function, as in ModelNet."""

from gsbench.core.types import Mesh
from gsbench.meshes.shapes.solids import (
    LEG_STYLES,
    Draw,
    block,
    column,
    drawers,
    four_legs,
    join,
    loft,
    move,
    outline,
    scale,
    shell,
    stack_rings,
    top,
    tube,
)


def make_table(draw: Draw) -> Mesh:
    """Dining, coffee and side tables: four legs, a pedestal, trestles or panels under a square or oval top."""
    kind = draw.pick({"plain": 4.0, "oval": 2.0, "pedestal": 2.0, "trestle": 1.5, "panel": 1.5})
    low = draw.chance(0.2)
    height = draw.between(0.38, 0.5) if low else draw.between(0.7, 0.8)
    width = draw.between(0.9, 2.0)
    depth = min(width, draw.between(0.55, 1.0))
    if kind == "plain":
        return join(_four_leg_table(draw, width, depth, height, drawer=0.2, panel=0.06, shelf=0.15))
    if kind == "panel":
        return join(_panel_table(draw, width, depth, height, modesty=0.35))
    thickness = draw.between(0.02, 0.06)
    if kind == "oval":
        parts = [top("oval", width, depth, height - thickness, thickness)]
        return join(parts + four_legs(draw.pick(LEG_STYLES), 0.66 * width, 0.66 * depth, height - thickness, 0.06))
    if kind == "pedestal":
        return join(_pedestal_table(draw, width, depth, height, thickness))
    shape = draw.pick({"square": 2.0, "rounded": 1.0})
    return join([top(shape, width, depth, height - thickness, thickness), *_trestles(draw, width, depth, height)])


def make_desk(draw: Draw) -> Mesh:
    """Writing desks: drawers on one or both sides, panels, plain legs; some with a hutch or a return to one side."""
    kind = draw.pick({"plain": 3.0, "one": 2.5, "both": 2.0, "panel": 2.0, "corner": 1.0})
    height, width = draw.between(0.7, 0.8), draw.between(1.0, 1.9)
    depth = draw.between(0.55, 0.9)
    if kind == "plain":
        parts = _four_leg_table(draw, width, depth, height, drawer=0.45, panel=0.3, shelf=0.04)
    elif kind == "panel":
        parts = _panel_table(draw, width, depth, height, modesty=0.8)
    else:
        parts = _drawer_desk(draw, width, depth, height, both=kind == "both")
    if kind == "corner":
        reach = draw.between(0.5, 0.9)
        parts.append(block(-(width - depth) / 2, -(depth + reach) / 2, height - 0.04, depth, reach, 0.04))
        parts.append(block(-(width - depth) / 2, -depth / 2 - reach + 0.02, 0, 0.95 * depth, 0.03, height - 0.03))
    if draw.chance(0.12 if kind == "plain" else 0.25):
        parts += _hutch(draw, width, depth, height)
    return scale(join(parts), -1 if draw.chance(0.5) else 1, 1, 1)


def _four_leg_table(
    draw: Draw, width: float, depth: float, height: float, drawer: float, panel: float, shelf: float
) -> list[Mesh]:
    """Four legs and a square top, with chances of an apron, a shallow drawer box, a back panel and a low shelf."""
    thickness, post = draw.between(0.02, 0.05), draw.between(0.04, 0.09)
    inset = draw.between(0.0, 0.08)
    inner_width, inner_depth = width - 2 * inset, depth - 2 * inset
    under = height - thickness
    parts = [top(draw.pick({"square": 4.0, "rounded": 1.0}), width, depth, under, thickness)]
    parts += four_legs(draw.pick(LEG_STYLES), inner_width, inner_depth, under, post)
    if draw.chance(0.5):
        apron = draw.between(0.05, 0.1)
        for side in (-1, 1):
            parts.append(block(0, side * (inner_depth - 0.03) / 2, under - apron, inner_width, 0.02, apron))
            parts.append(block(side * (inner_width - 0.03) / 2, 0, under - apron, 0.02, inner_depth, apron))
    if draw.chance(drawer):
        box, share = draw.between(0.08, 0.14), draw.between(0.4, 0.95)
        parts.append(block(0, 0, under - box, share * inner_width, 0.9 * inner_depth, box))
        columns = draw.count(1, 3)
        parts += drawers(draw, 0, -0.45 * inner_depth, under - box, share * inner_width, box, columns, 1)
    if draw.chance(panel):
        drop = draw.between(0.15, 0.5) * height
        parts.append(block(0, 0.42 * inner_depth, under - drop, 0.96 * inner_width, 0.02, drop))
    if draw.chance(shelf):
        parts.append(block(0, 0, draw.between(0.1, 0.3) * height, 0.95 * inner_width, 0.95 * inner_depth, 0.025))
    return parts


def _panel_table(draw: Draw, width: float, depth: float, height: float, modesty: float) -> list[Mesh]:
    """A top on two side panels, with a chance of a panel (or only a rail) between them."""
    board = draw.between(0.02, 0.06)
    parts = [block(0, 0, height - board, width, depth, board)]
    inset = draw.between(0.0, 0.1)
    parts += [block(s * ((width - board) / 2 - inset), 0, 0, board, 0.96 * depth, height - board) for s in (-1, 1)]
    if draw.chance(modesty):
        drop = draw.between(0.2, 0.95) * (height - board)
        y = draw.pick({0.42: 2.0, 0.0: 1.0}) * depth
        parts.append(block(0, y, height - board - drop, width - 2 * inset - board, 0.02, drop))
    return parts


def _pedestal_table(draw: Draw, width: float, depth: float, height: float, thickness: float) -> list[Mesh]:
    side = depth if draw.chance(0.7) else width
    shape = draw.pick({"oval": 3.0, "square": 1.0})
    post, under = draw.between(0.04, 0.1), height - thickness
    parts = [top(shape, side, depth, under, thickness)]
    parts.append(column(0, 0, 0, under, [post, 0.8 * post, draw.between(0.6, 1.5) * post, 0.8 * post, post], 14))
    if draw.chance(0.5):
        ring = outline(0.55 * side, 0.55 * depth, 2.0)
        parts.append(loft(stack_rings(ring, [(1.0, 0.0), (1.0, 0.02), (0.4, 0.06)])))
    else:
        reach = 0.35 * depth
        for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            parts.append(tube([(0, 0, 0.25 * height), (0.6 * x * reach, 0.6 * y * reach, 0.03)], 0.03))
    return parts


def _trestles(draw: Draw, width: float, depth: float, height: float) -> list[Mesh]:
    thickness, x = draw.between(0.03, 0.06), draw.between(0.28, 0.42) * width
    crossed = draw.chance(0.5)
    parts: list[Mesh] = [tube([(-x, 0, 0.35 * height), (x, 0, 0.35 * height)], 0.6 * thickness)]
    for side in (-x, x):
        if crossed:
            rising = tube([(side, 0.4 * depth, 0), (side, -0.35 * depth, height - 0.03)], thickness)
            parts += [rising, scale(rising, 1, -1, 1)]
        else:
            parts.append(block(side, 0, 0, 1.5 * thickness, 0.8 * depth, thickness))
            parts.append(block(side, 0, 0, 1.5 * thickness, 0.2 * depth, height - 0.03))
    return parts


def _drawer_desk(draw: Draw, width: float, depth: float, height: float, both: bool) -> list[Mesh]:
    board = draw.between(0.025, 0.05)
    pedestal = draw.between(0.22, 0.32) * width
    foot, under = draw.between(0.0, 0.08), height - board
    parts = [block(0, 0, under, width, depth, board)]
    for side in (-1, 1) if both else (1,):
        x = side * (width - pedestal) / 2
        parts.append(block(x, 0, foot, pedestal, 0.94 * depth, under - foot))
        parts += drawers(draw, x, -0.47 * depth, foot, 0.92 * pedestal, under - foot, 1, draw.count(2, 4))
    if not both:
        if draw.chance(0.5):
            parts.append(block(-(width - board) / 2, 0, 0, board, 0.94 * depth, under))
        else:
            parts += four_legs("square", 0.98 * width, 0.92 * depth, under, 0.05)
    if draw.chance(0.5):
        drop = draw.between(0.3, 1.0) * under
        parts.append(block(0, 0.4 * depth, under - drop, 0.98 * width, 0.02, drop))
    if draw.chance(0.4):
        box = draw.between(0.06, 0.12)
        parts.append(block(0, 0, under - box, 0.9 * width, 0.9 * depth, box))
    return parts


def _hutch(draw: Draw, width: float, depth: float, height: float) -> list[Mesh]:
    rise, reach = draw.between(0.25, 0.8) * height, draw.between(0.25, 0.4) * depth
    share = draw.between(0.7, 1.0)
    parts = shell(share * width, reach, 0, rise, 0.025, back=draw.chance(0.7))
    parts += [block(x * share * width, 0, 0, 0.02, reach, rise) for x in (-0.15, 0.2)]
    parts.append(block(0, 0, 0.5 * rise, share * width, reach, 0.02))
    return [move(part, y=(depth - reach) / 2, z=height) for part in parts]
