"""Pictures of Gaussians for the figures: from where, and as what."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Float32

from gsbench.core.geometry import intrinsics, look_at, rgb_to_dc
from gsbench.core.types import Array, Cameras, Gaussians
from gsbench.render.splats import rasterize

_UP = np.array([0.0, 0.0, 1.0])
DISTANCE = 3.0
"""Of the cameras of these pictures from what they look at."""


def direction(azimuth_deg: float, elevation_deg: float) -> Float[Array, "3"]:
    """The unit vector towards an azimuth (from x to y) and an elevation."""
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    return np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])


def camera_at(
    towards: Float[Array, "3"],
    size: int,
    target: Float[Array, "3"] | None = None,
    extent: float = 1.0,
    distance: float = DISTANCE,
) -> Cameras:
    """One camera that a ball just fills the image of.

    Args:
        towards: unit vector from the target to the camera.
        size: width and height in pixels.
        target: center of the ball; None is the origin.
        extent: radius of the ball.
        distance: from the target to the camera.
    """
    center = np.zeros(3) if target is None else np.asarray(target, np.float64)
    viewmats = look_at((center + distance * np.asarray(towards))[None], center, _UP)
    fov = 2 * float(np.degrees(np.arcsin(extent / distance)))
    return Cameras(viewmats, intrinsics(1, fov, size, size), size, size)


def enlarged(camera: Cameras, size: int) -> Cameras:
    """The same camera with an image of `size` pixels."""
    scale = np.array([size / camera.width, size / camera.height, 1], np.float32)
    return Cameras(camera.viewmats, camera.Ks * scale[:, None], size, size)


def extent_of(gaussians: Gaussians) -> float:
    """Radius of the ball about the origin that holds nearly all of an object's Gaussians."""
    return float(np.quantile(np.linalg.norm(gaussians.means, axis=1), 0.998)) * 1.04


def project(points: Float[Array, "*n 3"], camera: Cameras) -> Float[Array, "*n 3"]:
    """Pixel coordinates and depth of points in the world."""
    seen = points @ camera.viewmats[0, :3, :3].T + camera.viewmats[0, :3, 3]
    pixels = seen @ camera.Ks[0].T
    return np.concatenate([pixels[..., :2] / pixels[..., 2:], seen[..., 2:]], axis=-1)


def picture(gaussians: Gaussians, camera: Cameras) -> Float32[Array, "h w 3"]:
    """What one camera sees, over white, by the rasterizer that scores Gaussians."""
    return rasterize(gaussians, camera).rgb[0].clip(0, 1)


def shrunk(gaussians: Gaussians, factor: float) -> Gaussians:
    """The Gaussians at a part of their size, so that each can be told from its neighbors."""
    return replace(gaussians, scales=(factor * gaussians.scales).astype(np.float32))


def dots(positions: Float[Array, "n 3"], colors: Float[Array, "n 3"], radius: float) -> Gaussians:
    """Opaque balls of one size, for where Gaussians are rather than what they look like; nearer ones hide others."""
    count = len(positions)
    return Gaussians(
        np.asarray(positions, np.float32),
        np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        np.full((count, 3), radius / 2, np.float32),
        np.full(count, 0.999, np.float32),
        rgb_to_dc(np.asarray(colors, np.float32))[:, None].astype(np.float32),
    )


def faded(
    positions: Float[Array, "n 3"], towards: Float[Array, "3"], ink: tuple[float, float, float]
) -> Float[Array, "n 3"]:
    """A color for each position: ink in front, paler the further it is from the viewer."""
    depth = -positions @ np.asarray(towards)
    share = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-9)
    return np.asarray(ink) + (0.9 - np.asarray(ink)) * 0.7 * share[:, None]


def drawn_box(*images: Float[Array, "h w 3"]) -> tuple[slice, slice]:
    """The smallest square of the images, with a margin, outside which all of them are white."""
    drawn: Bool[Array, "h w"] = np.any([image.min(axis=-1) < 0.995 for image in images], axis=0)
    size = len(drawn)
    if not drawn.any():
        return slice(0, size), slice(0, size)
    rows, columns = (np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0))
    half = min(size / 2, max(np.ptp(rows), np.ptp(columns)) / 2 + 1 + 0.03 * size)
    centers = ((values[0] + values[-1] + 1) / 2 for values in (rows, columns))
    starts = [round(float(np.clip(center - half, 0, size - 2 * half))) for center in centers]
    side = int(2 * half)
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)
