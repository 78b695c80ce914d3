"""The frame that a fit works in: learning rates and hull are for a unit ball that all cameras see."""

import numpy as np
from jaxtyping import Float64

from gsbench.geometry import camera_centers
from gsbench.parsing import InputError
from gsbench.types import Array, Cameras, Gaussians, Views


def unit_frame(views: Views) -> tuple[Float64[Array, "3"], float]:
    """Centre and radius of the ball that all cameras see.

    Raises:
        InputError: fewer than two views.
    """
    cameras = views.cameras
    if len(cameras) < 2:
        raise InputError(f"views: {len(cameras)} given, a fit needs at least 2")
    eyes, axes = camera_centers(cameras.viewmats.astype(np.float64)), cameras.viewmats[:, 2, :3].astype(np.float64)
    # The point nearest to all optical axes; the eyes' mean decides where parallel axes leave it open.
    projections = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    offsets = np.einsum("vij,vj->i", projections, eyes - eyes.mean(0))
    center = eyes.mean(0) + np.linalg.lstsq(projections.sum(0), offsets, rcond=1e-6)[0]
    tangents = np.minimum(0.5 * cameras.width / cameras.Ks[:, 0, 0], 0.5 * cameras.height / cameras.Ks[:, 1, 1])
    radii = np.linalg.norm(eyes - center, axis=1) * np.sin(np.arctan(tangents))
    return center, float(radii.min())


def to_frame(views: Views, center: Float64[Array, "3"], radius: float) -> Views:
    """The views as taken in the frame whose origin is `center` and whose unit is `radius`."""
    viewmats = views.cameras.viewmats.astype(np.float64)
    viewmats[:, :3, 3] = (viewmats[:, :3, :3] @ center + viewmats[:, :3, 3]) / radius
    cameras = Cameras(viewmats.astype(np.float32), views.cameras.Ks, views.cameras.width, views.cameras.height)
    return Views(views.rgba, cameras)


def from_frame(gaussians: Gaussians, center: Float64[Array, "3"], radius: float) -> Gaussians:
    """Inverse of `to_frame`, for what was fitted there."""
    means = (gaussians.means * radius + center).astype(np.float32)
    scales = (gaussians.scales * radius).astype(np.float32)
    return Gaussians(means, gaussians.quats, scales, gaussians.opacities, gaussians.sh)
