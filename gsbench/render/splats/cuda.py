"""The rasterizer on CUDA: gsplat, imported where it is used, for one scene or a batch of them."""

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32

from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Cameras, Gaussians
from gsbench.render.splats.cpu import LOW_PASS

if TYPE_CHECKING:
    from torch import Tensor


def require_gsplat() -> ModuleType:
    """gsplat, ready to use on this machine.

    Raises:
        InputError: no CUDA device, or gsplat is not installed; the message holds the line that mends it.
    """
    import torch

    if not torch.cuda.is_available():
        raise InputError("device: 'cuda' needs an NVIDIA GPU and a CUDA build of torch, use device 'cpu' without them")
    try:
        import gsplat
    except ImportError as error:
        raise InputError("device: 'cuda' needs gsplat, install it: pip install 'gsbench-3d[cuda]'") from error
    return gsplat


def rasterize_tensors(
    means: "Float[Tensor, 'b n 3']",
    quats: "Float[Tensor, 'b n 4']",
    scales: "Float[Tensor, 'b n 3']",
    opacities: "Float[Tensor, 'b n']",
    sh: "Float[Tensor, 'b n k 3']",
    viewmats: "Float[Tensor, 'b v 4 4']",
    Ks: "Float[Tensor, 'b v 3 3']",
    width: int,
    height: int,
    background: "Float[Tensor, '3']",
    antialiased: bool,
    sh_degree: int,
    low_pass: float = LOW_PASS,
) -> "tuple[Float[Tensor, 'b v h w 3'], Float[Tensor, 'b v h w']]":
    """Color over the background and alpha of `b` scenes, `v` cameras each; differentiable.

    All tensors on one CUDA device; scales and opacities activated, quaternions of any length; `low_pass` in pixels^2 is
    added to variances in the image. The host waits once, for
    the number of intersections with tiles (gsplat 1.5.3, `Intersect.cpp`). Images are the same bits every time;
    gradients are not, since gsplat adds them up by atomics (`RasterizeToPixels3DGSBwd.cu`), each time in another order.
    """
    colors = _colors(means, sh, viewmats, sh_degree)
    images, alphas, _ = require_gsplat().rasterization(
        *(means, quats, scales, opacities, colors, viewmats, Ks, width, height),
        packed=False,
        eps2d=low_pass,
        backgrounds=background.expand(*viewmats.shape[:2], 3).contiguous(),
        rasterize_mode="antialiased" if antialiased else "classic",
    )
    return images, alphas[..., 0]


def _colors(
    means: "Float[Tensor, 'b n 3']",
    sh: "Float[Tensor, 'b n k 3']",
    viewmats: "Float[Tensor, 'b v 4 4']",
    sh_degree: int,
) -> "Float[Tensor, 'b v n 3']":
    """Colors seen by each camera, as `gsplat.rasterization` makes them, whose inverse of `viewmats` stops the host."""
    rotations, translations = viewmats[..., :3, :3], viewmats[..., :3, 3]
    centers = -(rotations * translations[..., None]).sum(-2)
    coefficients = sh[:, None].expand(-1, viewmats.shape[1], -1, -1, -1)
    colors = require_gsplat().spherical_harmonics(sh_degree, means[:, None] - centers[:, :, None], coefficients)
    return (colors + 0.5).clamp_min(0)


def rasterize(
    gaussians: Gaussians, cameras: Cameras, background: Float32[Array, "3"], antialiased: bool, sh_degree: int
) -> tuple[Float32[Array, "v h w 3"], Float32[Array, "v h w"], Float32[Array, "v h w"]]:
    """Color over the background, alpha and expected depth (0 where nothing is) of every view, on the host."""
    gsplat = require_gsplat()
    import torch

    def on_device(array: Float[Array, "..."]) -> "Tensor":
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).cuda()

    scene = [on_device(getattr(gaussians, name)) for name in ("means", "quats", "scales", "opacities", "sh")]
    viewmats, Ks, color = on_device(cameras.viewmats), on_device(cameras.Ks), on_device(background)[None]
    views = []
    with torch.no_grad():
        for view in range(len(cameras)):
            one = slice(view, view + 1)
            images, alphas, _ = gsplat.rasterization(
                *(*scene, viewmats[one], Ks[one], cameras.width, cameras.height),
                sh_degree=sh_degree,
                packed=False,
                backgrounds=color,
                render_mode="RGB+ED",
                rasterize_mode="antialiased" if antialiased else "classic",
            )
            views.append([image[0].cpu().numpy() for image in (images[..., :3], alphas[..., 0], images[..., 3])])
    rgb, alpha, depth = (np.stack(images) for images in zip(*views, strict=True))
    return rgb, alpha, depth
