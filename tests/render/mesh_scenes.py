"""Meshes and cameras that the tests of the mesh renderers share."""

import numpy as np

from gsbench.core.geometry import look_at
from gsbench.core.types import Cameras, Mesh
from gsbench.render.mesh import RenderSetup

SETUP = RenderSetup()
# One gray without texture, lit from above only: shades are ambient sideways, 1 on top and below.
PLAIN = RenderSetup((0.8, 0.8, 0.8), (0.8, 0.8, 0.8), 0.0, 0.25, ((0.0, 0.0, 2.0, 0.75),), 1)


def cube(center: tuple[float, float, float], half: float) -> Mesh:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]
    return Mesh((corners * half + center).astype(np.float32), np.array(faces, np.int32))


def cameras_at(eye: tuple[float, float, float], width: int, height: int, focal: tuple[float, float]) -> Cameras:
    """One camera that looks at the origin, its principal point off the center."""
    K = np.array([[[focal[0], 0, 0.4 * width], [0, focal[1], 0.55 * height], [0, 0, 1]]], np.float32)
    return Cameras(look_at(np.array([eye], np.float64), np.zeros(3), np.array([0.0, 0.0, 1.0])), K, width, height)


def straight(width: int, height: int, focal: float = 1.0) -> Cameras:
    """One camera at the origin that looks along z: it sees the point (x, y, 1) at focal * (x, y), in pixels."""
    K = np.array([[[focal, 0, 0], [0, focal, 0], [0, 0, 1]]], np.float32)
    return Cameras(np.eye(4, dtype=np.float32)[None], K, width, height)


def on_image(triangles: np.ndarray, depths: np.ndarray | float = 1.0) -> Mesh:
    """Triangles `[t 3 2]` given by their corners on the image of `straight`, at `depths` `[t 3]`."""
    depths = np.broadcast_to(np.asarray(depths, np.float64), triangles.shape[:2])
    points = np.concatenate([triangles * depths[..., None], depths[..., None]], axis=-1)
    faces = np.arange(3 * len(triangles), dtype=np.int32).reshape(-1, 3)
    return Mesh(points.reshape(-1, 3).astype(np.float32), faces)


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Two triangles `[2 3 2]`."""
    a, b, c, d = (left, top), (right, top), (right, bottom), (left, bottom)
    return np.array([[a, b, c], [a, c, d]], np.float64)
