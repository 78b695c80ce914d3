"""Images of Gaussians: one signature, on CPU (our own kernels) or on CUDA (gsplat)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64

from gsbench.core.geometry import sh_degree_of, spiral_rig
from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Cameras, Gaussians
from gsbench.render.splats import cpu as splats_cpu
from gsbench.render.splats import cuda as splats_cuda

WHITE = (1.0, 1.0, 1.0)

PSNR_VIEWS = 8
PSNR_SIZE = 256
# Captures have stray Gaussians far out, which must not decide how large the rest is seen.
_INSIDE = 0.9
# In radii of the object. Nobody sees what is further out, and its square is still a float32.
_FAR = 1e15


@dataclass(frozen=True, slots=True)
class Rendered:
    """What `rasterize` makes of `v` cameras.

    Attributes:
        rgb: `[v h w 3]` float32 over the background; not clamped above.
        alpha: `[v h w]` float32 in 0..1.
        depth: `[v h w]` float32 expected depth along the camera's z axis in world units; 0 where alpha is 0.
    """

    rgb: Float32[Array, "v h w 3"]
    alpha: Float32[Array, "v h w"]
    depth: Float32[Array, "v h w"]


def rasterize(
    gaussians: Gaussians,
    cameras: Cameras,
    background: Sequence[float] = WHITE,
    antialiased: bool = False,
    sh_degree: int | None = None,
    device: str = "cpu",
) -> Rendered:
    """Renders the Gaussians from every camera, as gsplat 1.5.3 does (Kerbl 2023).

    Projection by EWA with a low-pass of .3 pixels^2, near plane .01; compositing front to back skips alpha below 1/255,
    caps it at .999 and stops before transmittance falls to 1e-4.

    Args:
        gaussians: the Gaussians, in the cameras' world frame.
        cameras: `v` pinhole cameras.
        background: red, green, blue behind everything, 0..1.
        antialiased: scale opacities by sqrt(det cov / det(cov + .3 I)) (Mip-Splatting), so that small Gaussians do not
            thicken from afar.
        sh_degree: use the spherical harmonics up to this degree; None: all that there are.
        device: "cpu", or "cuda" (needs gsplat and a GPU).

    Raises:
        InputError: unknown device, CUDA without a GPU or gsplat, a background that is no color, or an `sh_degree`
            beyond the Gaussians' own.
    """
    available = sh_degree_of(gaussians.sh.shape[1])
    degree = available if sh_degree is None else sh_degree
    if not 0 <= degree <= available:
        raise InputError(f"sh_degree: {sh_degree}, allowed 0 to {available} (what the Gaussians hold)")
    color = np.asarray(background, np.float32)
    if color.shape != (3,):
        raise InputError(f"background: {background}, it must be three numbers: red, green, blue")
    if device == "cpu":
        return Rendered(*splats_cpu.rasterize(gaussians, cameras, color, antialiased, degree))
    if device == "cuda":
        return Rendered(*splats_cuda.rasterize(gaussians, cameras, color, antialiased, degree))
    raise InputError(f"device: {device!r}, allowed 'cpu' or 'cuda'")


def color_planes(
    gaussians: Gaussians, cameras: Cameras, antialiased: bool, device: str
) -> Iterator[Float32[Array, "3 h w"]]:
    """Red, green and blue over white, not clamped above, camera by camera; on CPU each in the memory of the last.

    Raises:
        InputError: as `rasterize`.
    """
    if device == "cpu":
        degree = sh_degree_of(gaussians.sh.shape[1])
        for planes in splats_cpu.image_planes(gaussians, cameras, np.ones(3, np.float32), antialiased, degree):
            yield planes[:3]
    else:
        rendered = rasterize(gaussians, cameras, antialiased=antialiased, device=device)
        yield from np.ascontiguousarray(np.moveaxis(rendered.rgb, -1, 1))


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
    cameras = spiral_rig(PSNR_VIEWS, 3.0, 40.0, 2.0, -30.0, 60.0, PSNR_SIZE, PSNR_SIZE)
    error = 0.0
    for view in range(PSNR_VIEWS):
        a, b = (_render(one, center, radius, cameras[[view]]) for one in (before, after))
        error += float(np.mean(np.square(a - b), dtype=np.float64)) / PSNR_VIEWS
        if progress is not None:
            progress(view + 1, PSNR_VIEWS)
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
