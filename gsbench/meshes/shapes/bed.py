"""Beds: single to king, canopy, bunk, and day beds that come near sofas."""

import numpy as np

from gsbench.meshes.shapes.draw import Draw
from gsbench.meshes.shapes.parts import LEG_STYLES, four_legs
from gsbench.meshes.shapes.solids import block, column, cushion, join, loft, move, outline, shift, stack_rings
from gsbench.types import Mesh


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
