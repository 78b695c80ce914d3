"""Procedural bathtubs, toilets and monitors."""

import numpy as np

from gsbench.core.types import Mesh
from gsbench.meshes.shapes.solids import (
    Draw,
    Ring,
    block,
    column,
    cushion,
    join,
    loft,
    move,
    outline,
    scale,
    shift,
    stack_rings,
    tilt,
    tube,
)


def make_bathtub(draw: Draw) -> Mesh:
    """Built-in, free-standing, claw-foot and round tubs, most with a tap."""
    kind = draw.pick({"built_in": 4.0, "free": 2.5, "claw": 2.0, "round": 1.5})
    height, width, depth = draw.between(0.45, 0.65), draw.between(1.4, 1.9), draw.between(0.65, 0.9)
    if kind == "round":
        width = depth = draw.between(1.1, 1.7)
    foot = draw.between(0.08, 0.15) if kind == "claw" else 0.0
    rim = draw.between(0.04, 0.12) if kind in ("built_in", "round") else draw.between(0.015, 0.04)
    exponent = {"built_in": draw.between(8.0, 30.0), "round": draw.between(2.0, 2.6)}.get(kind, draw.between(2.2, 3.5))
    inner = outline(width - 2 * rim, depth - 2 * rim, min(exponent, draw.between(2.5, 7.0)), 36)
    outer = outline(width, depth, exponent, 36)
    flare = 1.0 if kind == "built_in" else draw.between(0.65, 0.95)
    lean = draw.between(0.7, 0.92)
    floor = draw.between(0.06, 0.16) + foot
    outside = stack_rings(outer, [(flare * 0.9 if flare < 1 else 1, foot), (flare, foot + 0.05), (1.0, height)])
    inside = stack_rings(inner, [(1.0, height), (0.5 * (1 + lean), 0.5 * (height + floor)), (lean, floor + 0.05)])
    inside += stack_rings(inner, [(0.85 * lean, floor)])
    tub = loft(outside + inside)
    if kind in ("free", "claw") and draw.chance(0.5):
        tub = _raise_one_end(tub, height, width, draw.between(0.1, 0.35))
    parts = [tub]
    if kind == "claw":
        for x, y in ((width, depth), (width, -depth), (-width, depth), (-width, -depth)):
            claw = [(0.28 * x, 0.25 * y, foot + 0.08), (0.33 * x, 0.34 * y, 0.05), (0.34 * x, 0.36 * y, 0.0)]
            parts.append(tube(claw, 0.03))
    if draw.chance(0.6):
        parts += _tap(draw, -width / 2 + rim / 2, height)
    return join(parts)


def make_toilet(draw: Draw) -> Mesh:
    """A bowl on a foot, or hung on a wall panel; seat and lid up or down; a cistern of several kinds."""
    width, depth, height = draw.between(0.34, 0.42), draw.between(0.48, 0.6), draw.between(0.36, 0.44)
    hung = draw.chance(0.2)
    exponent = draw.between(2.0, 2.8)
    ring, lid_ring = outline(width, depth, exponent, 28), outline(0.98 * width, 0.96 * depth, exponent, 28)
    parts = [_bowl(draw, ring, height, hung)]
    lid_up = draw.chance(0.45)
    hinge = 0.4 * depth  # in front of the cistern
    seat = loft([*stack_rings(lid_ring, [(1.0, 0), (1.0, 0.02)]), *stack_rings(lid_ring, [(0.72, 0.02), (0.72, 0)])])
    parts.append(move(seat, z=height))
    lid = move(loft(stack_rings(lid_ring, [(1.0, 0), (1.0, 0.015), (0.9, 0.03)])), z=height + 0.02)
    parts.append(tilt(lid, draw.between(70, 84), hinge, height + 0.02) if lid_up else lid)
    tank_y = depth / 2 + draw.between(0.06, 0.1)
    if hung or draw.chance(0.1):
        panel = draw.between(0.8, 1.2)
        parts.append(block(0, depth / 2 + 0.05, 0, draw.between(0.45, 0.7), 0.1, panel))
        return join(parts)
    rise, tank_depth = draw.between(0.28, 0.45), draw.between(0.15, 0.22)
    tank_width = draw.between(0.36, 0.52)
    gap = draw.between(0.5, 0.9) if draw.chance(0.08) else 0.0
    parts.append(block(0, tank_y - 0.02, 0 if draw.chance(0.5) else 0.6 * height, 0.6 * width, tank_depth, height))
    if gap:
        parts.append(tube([(0, tank_y, height), (0, tank_y, height + gap + 0.05)], 0.025))
    parts.append(cushion(0, tank_y, height + gap, tank_width, tank_depth, rise, 0.04))
    parts.append(cushion(0, tank_y, height + gap + rise, tank_width + 0.03, tank_depth + 0.03, 0.03, 0.2))
    if draw.chance(0.5):
        lever = height + gap + 0.8 * rise
        parts.append(block(0.35 * tank_width, tank_y - tank_depth / 2 - 0.02, lever, 0.08, 0.02, 0.02))
    return join(parts)


def _bowl(draw: Draw, ring: Ring, height: float, hung: bool) -> Mesh:
    waist, foot = draw.between(0.5, 0.8), draw.between(0.55, 0.85)
    if hung:
        profile = [(0.45, 0.3 * height), (0.8, 0.5 * height), (0.97, 0.8 * height), (1.0, height)]
    else:
        profile = [(foot, 0.0), (waist, 0.3 * height), (0.8, 0.55 * height), (0.97, 0.8 * height), (1.0, height)]
    inside = [(0.78, height), (0.6, 0.75 * height), (0.3, 0.6 * height)]
    rings = []
    for factor, z in profile:  # the foot stands further back than the rim
        rings.append(shift(ring * [factor, factor, 1], y=(1 - factor) * 0.3 * float(np.ptp(ring[:, 1])), z=z))
    return loft(rings + stack_rings(ring, inside))


def _raise_one_end(tub: Mesh, height: float, width: float, rise: float) -> Mesh:
    """A slipper tub: the rim climbs towards +x."""
    vertices = tub.vertices.copy()
    along = np.clip(vertices[:, 0] / width + 0.5, 0, 1) ** 2
    vertices[:, 2] += rise * along * (vertices[:, 2] / height) ** 2
    return Mesh(vertices, tub.faces)


def _tap(draw: Draw, x: float, height: float) -> list[Mesh]:
    rise = draw.between(0.08, 0.25)
    peak = height + rise
    path = [(x, 0, height - 0.01), (x, 0, peak), (x + 0.12, 0, peak), (x + 0.15, 0, peak - 0.4 * rise)]
    return [tube(path, 0.015), *(column(x, y, height - 0.01, height + 0.06, [0.02, 0.028], 8) for y in (-0.09, 0.09))]


def make_monitor(draw: Draw) -> Mesh:
    """A screen that faces -y, at some height above its foot, leaning back a little."""
    if draw.chance(0.18):
        return join(_tube_monitor(draw))
    width = draw.between(0.38, 0.7)
    height = width * draw.between(0.52, 0.82)
    if draw.chance(0.06):
        width, height = height, width
    raised = draw.between(0.05, 0.18)
    thickness = draw.between(0.015, 0.07)
    screen = [move(part, z=raised) for part in _screen(draw, width, height, thickness)]
    lean = draw.between(0, 9)
    parts = [tilt(part, lean, 0, raised + height / 2) for part in screen]
    return join(parts + _stand(draw, width, thickness, raised, raised + 0.4 * height))


def _screen(draw: Draw, width: float, height: float, thickness: float) -> list[Mesh]:
    bezel, relief = draw.between(0.008, 0.04), draw.between(0.003, 0.012)
    parts = [block(0, 0, 0, width, thickness, height)]
    front = -thickness / 2 - relief / 2
    parts += [block(side * (width - bezel) / 2, front, 0, bezel, relief, height) for side in (-1, 1)]
    parts.append(block(0, front, height - bezel, width, relief, bezel))
    parts.append(block(0, front, 0, width, relief, bezel * draw.between(1.0, 3.0)))
    if draw.chance(0.5):
        hump = draw.between(0.01, 0.06)
        share = draw.between(0.4, 0.8)
        parts.append(block(0, (thickness + hump) / 2, 0.15 * height, share * width, hump, 0.65 * height))
    if draw.chance(0.1):
        parts += [block(s * (width / 2 + 0.04), 0, 0, 0.07, 0.9 * thickness, height) for s in (-1, 1)]
    return parts


def _stand(draw: Draw, width: float, thickness: float, raised: float, attach: float) -> list[Mesh]:
    """Neck and foot: a disc, a plate, a V of two bars, two feet, or an open frame."""
    style = draw.pick({"disc": 3.0, "plate": 3.0, "vee": 1.5, "feet": 1.2, "frame": 1.0})
    y, reach = thickness / 2 + 0.02, draw.between(0.3, 0.55) * width
    if style == "feet":
        x = 0.35 * width
        foot = [(x, -0.25 * reach, 0.008), (x, 0, raised + 0.02), (x, 0.3 * reach, 0.008)]
        return [scale(tube(foot, 0.008), side, 1, 1) for side in (-1, 1)]
    if style == "frame":
        x, front = 0.2 * width, -0.3 * reach
        path = [(-x, y, attach), (-x, front, 0.01), (x, front, 0.01), (x, y, attach)]
        return [tube(path, 0.01), tube([(0, y, attach), (0, 0.8 * reach, 0.01)], 0.012)]
    neck_width = draw.between(0.04, 0.2) * width
    neck = [block(0, y, 0.01, neck_width, 0.025, attach - 0.01)]
    if draw.chance(0.4):
        neck = [column(0, y, 0.01, attach, [0.02, 0.018, 0.018], 12)]
    if style == "vee":
        feet = [tube([(0, y, 0.015), (s * reach, -0.5 * reach, 0.012)], 0.012) for s in (-1, 1)]
        return [*neck, *feet]
    if style == "plate":
        return [*neck, cushion(0, y - 0.1 * reach, 0, 1.2 * reach, 0.8 * reach, 0.015, 0.2)]
    return [*neck, move(column(0, 0, 0, 0.02, [0.5 * reach, 0.48 * reach], 24), y=y)]


def _tube_monitor(draw: Draw) -> list[Mesh]:
    """A cathode-ray tube: the case narrows to the back."""
    width = draw.between(0.36, 0.46)
    height, depth = width * draw.between(0.78, 0.95), width * draw.between(0.75, 1.05)
    raised = draw.between(0.03, 0.09)
    face = outline(width, height, 12.0, 28)[:, [0, 2, 1]]
    levels = [(1.0, 0.0), (1.0, draw.between(0.12, 0.3)), (draw.between(0.6, 0.85), 0.7), (draw.between(0.4, 0.6), 1.0)]
    case = loft([shift(face * [factor, 1, factor], y=(along - 0.5) * depth) for factor, along in levels])
    glass = outline(0.86 * width, 0.84 * height, 9.0, 28)[:, [0, 2, 1]]
    bulge = loft([shift(glass, y=-depth / 2), shift(glass * [0.7, 1, 0.7], y=-depth / 2 - 0.012)])
    parts = [move(part, z=raised + height / 2) for part in (case, bulge)]
    foot = draw.between(0.4, 0.65) * width
    parts.append(column(0, -0.1 * depth, 0, raised + 0.05, [foot / 2, 0.9 * foot / 2, 0.5 * foot / 2], 20))
    return parts
