"""Monitors: flat screens on many stands, wide televisions, and tubes."""

from gsbench.meshes.shapes.draw import Draw
from gsbench.meshes.shapes.solids import block, column, cushion, join, loft, move, outline, scale, shift, tilt, tube
from gsbench.types import Mesh


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
