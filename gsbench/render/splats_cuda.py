"""The rasteriser on CUDA: gsplat, imported where it is used, for one scene or a batch of them."""

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32

from gsbench.types import Array, Cameras, Gaussians

if TYPE_CHECKING:
    from torch import Tensor


def require_gsplat() -> ModuleType:
    """gsplat, ready to use on this machine.

    Raises:
        ValueError: no CUDA device, or gsplat is not installed; the message holds the line that mends it.
    """
    import torch

    if not torch.cuda.is_available():
        raise ValueError("device: 'cuda' needs an NVIDIA GPU and a CUDA build of torch, use device 'cpu' without them")
    try:
        import gsplat
    except ImportError as error:
        raise ValueError("device: 'cuda' needs gsplat, install it: pip install 'gsbench-3d[cuda]'") from error
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
) -> "tuple[Float[Tensor, 'b v h w 3'], Float[Tensor, 'b v h w'], Float[Tensor, 'b v h w']]":
    """Colour over the background, alpha and expected depth of `b` scenes, `v` cameras each; differentiable.

    All tensors on one CUDA device; scales and opacities activated, quaternions of any length.
    """
    images, alphas, _ = require_gsplat().rasterization(
        *(means, quats, scales, opacities, sh, viewmats, Ks, width, height),
        sh_degree=sh_degree,
        packed=False,
        render_mode="RGB+ED",
        rasterize_mode="antialiased" if antialiased else "classic",
    )
    alpha = alphas[..., 0]
    # gsplat's own backgrounds would enter the depth channel as well.
    return images[..., :3] + (1 - alphas) * background, alpha, images[..., 3]


def rasterize(
    gaussians: Gaussians, cameras: Cameras, background: Float32[Array, "3"], antialiased: bool, sh_degree: int
) -> tuple[Float32[Array, "v h w 3"], Float32[Array, "v h w"], Float32[Array, "v h w"]]:
    """Colour over the background, alpha and expected depth (0 where nothing is) of every view, on the host."""
    require_gsplat()
    import torch

    def on_device(array: Float[Array, "..."]) -> "Tensor":
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).cuda()

    means, quats, scales, opacities, sh = (
        on_device(getattr(gaussians, name))[None] for name in ("means", "quats", "scales", "opacities", "sh")
    )
    colour, width, height = on_device(background), cameras.width, cameras.height
    views = []
    with torch.no_grad():
        for view in range(len(cameras)):
            viewmat, K = (on_device(array[view])[None, None] for array in (cameras.viewmats, cameras.Ks))
            rendered = rasterize_tensors(
                means, quats, scales, opacities, sh, viewmat, K, width, height, colour, antialiased, sh_degree
            )
            views.append([image[0, 0].cpu().numpy() for image in rendered])
    rgb, alpha, depth = (np.stack(images) for images in zip(*views, strict=True))
    return rgb, alpha, depth
