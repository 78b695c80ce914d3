"""How far apart two sets of Gaussians look that stand for one object."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Float64

from gsbench.core.geometry import spiral_rig
from gsbench.core.types import Array, Cameras, Gaussians
from gsbench.render.splats import rasterize

VIEWS = 8
SIZE = 256
# Captures have stray Gaussians far out, which must not decide how large the rest is seen.
_INSIDE = 0.9
# In radii of the object. Nobody sees what is further out, and its square is still a float32.
_FAR = 1e15


def render_psnr(before: Gaussians, after: Gaussians, progress: Callable[[int, int], None] | None = None) -> float:
    """PSNR in dB of images of `after` against those of `before`, over white, pooled over views around the object.

    Args:
        before: Gaussians of any extent; the cameras stand around nine tenths of them.
        after: the same object in the same frame.
        progress: called with how many of how many views are done.

    Returns:
        Infinity where no pixel differs.
    """
    means = before.means.astype(np.float64)  # in which no distance between two float32 overflows
    center = np.median(means, axis=0)
    largest = before.scales.max(axis=1).mean(dtype=np.float64)
    radius = float(np.quantile(np.linalg.norm(means - center, axis=1), _INSIDE) + largest)
    cameras = spiral_rig(VIEWS, 3.0, 40.0, 2.0, -30.0, 60.0, SIZE, SIZE)
    error = 0.0
    for view in range(VIEWS):
        a, b = (_render(one, center, radius, cameras[[view]]) for one in (before, after))
        error += float(np.mean(np.square(a - b), dtype=np.float64)) / VIEWS
        if progress is not None:
            progress(view + 1, VIEWS)
    return -10 * float(np.log10(error)) if error else float("inf")


def _render(
    gaussians: Gaussians, center: Float64[Array, "3"], radius: float, camera: Cameras
) -> Float32[Array, "1 h w 3"]:
    placed = replace(
        gaussians,
        means=((gaussians.means - center) / radius).clip(-_FAR, _FAR).astype(np.float32),
        scales=(gaussians.scales.astype(np.float64) / radius).clip(0, _FAR).astype(np.float32),
    )
    return rasterize(placed, camera).rgb.clip(0, 1)
