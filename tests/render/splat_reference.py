"""A plain float64 torch rasterizer, every Gaussian at every pixel, differentiable: what the fast ones must equal.

Projection, covariance and spherical harmonics are gsplat's own torch code; the compositing is written from the paper.
"""

import numpy as np
import torch
from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci, _spherical_harmonics

from gsbench.core.geometry import camera_centers, normalize_quats, spiral_rig
from gsbench.core.types import Cameras, Gaussians
from gsbench.render.splats.cpu import LOW_PASS

FIELDS = ("means", "quats", "scales", "opacities", "sh")


def random_gaussians(count: int, sh_degree: int, seed: int = 0, size: float = 0.06) -> Gaussians:
    """Gaussians about the unit sphere's inside, some opaque enough to meet the alpha cap and the early stop."""
    rng = np.random.default_rng(seed)
    opacities = np.where(rng.random(count) < 0.2, 0.9995, rng.uniform(0.1, 0.95, count))
    sh = rng.normal(size=(count, (sh_degree + 1) ** 2, 3)) * 0.3
    fields = (
        rng.uniform(-0.7, 0.7, (count, 3)),
        normalize_quats(rng.normal(size=(count, 4))),
        size * np.exp(rng.normal(size=(count, 3)) * 0.6),
        opacities,
        sh,
    )
    return Gaussians(*(field.astype(np.float32) for field in fields))


def rig(count: int, width: int, height: int) -> Cameras:
    return spiral_rig(count, 2.8, 45.0, 1.3, -20.0, 60.0, width, height)


def tensors(gaussians: Gaussians) -> dict[str, torch.Tensor]:
    """The Gaussians as float64 leaves that require gradients."""
    return {name: torch.tensor(getattr(gaussians, name).astype(np.float64), requires_grad=True) for name in FIELDS}


def naive(
    scene: dict[str, torch.Tensor],
    cameras: Cameras,
    background: tuple,
    antialiased: bool,
    sh_degree: int,
    low_pass: float = LOW_PASS,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """rgb `[v h w 3]`, alpha and expected depth `[v h w]`."""
    views = [
        _view(scene, cameras[v : v + 1], background, antialiased, sh_degree, low_pass) for v in range(len(cameras))
    ]
    rgb, alpha, depth = (torch.stack(images) for images in zip(*views, strict=True))
    return rgb, alpha, depth


def dense(means, quats, scales, opacities, sh, viewmats, Ks, width, height, background, *how):
    """`rasterize_tensors` by the reference: every Gaussian at every pixel, image by image."""
    rgbs, alphas = [], []
    for i, fields in enumerate(zip(means, quats, scales, opacities, sh, strict=True)):
        cameras = Cameras(viewmats[i].numpy(), Ks[i].numpy(), width, height)
        rgb, alpha, _ = naive(dict(zip(FIELDS, fields, strict=True)), cameras, tuple(background.tolist()), *how)
        rgbs.append(rgb)
        alphas.append(alpha)
    return torch.stack(rgbs), torch.stack(alphas)


def _view(scene, cameras, background, antialiased, sh_degree, low_pass):
    dtype = scene["means"].dtype
    covariances, _ = _quat_scale_to_covar_preci(scene["quats"], scene["scales"], compute_preci=False)
    viewmat, K = (torch.from_numpy(array).to(dtype) for array in (cameras.viewmats, cameras.Ks))
    radii, centers, depths, conics, compensations = _fully_fused_projection(
        *(scene["means"], covariances, viewmat, K, cameras.width, cameras.height),
        eps2d=low_pass,
        calc_compensations=antialiased,
    )
    opacities = scene["opacities"] * (compensations[0] if antialiased else 1)
    directions = scene["means"] - torch.from_numpy(camera_centers(cameras.viewmats)).to(dtype)
    colors = (_spherical_harmonics(sh_degree, directions, scene["sh"]) + 0.5).clamp(min=0)
    order = torch.argsort(depths[0], stable=True)
    order = order[(radii[0] > 0).all(-1)[order]]
    y, x = torch.meshgrid(torch.arange(cameras.height) + 0.5, torch.arange(cameras.width) + 0.5, indexing="ij")
    dx, dy = x.to(dtype) - centers[0, order, 0, None, None], y.to(dtype) - centers[0, order, 1, None, None]
    a, b, c = conics[0, order, :, None, None].unbind(1)
    alpha = opacities[order, None, None] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    alpha = alpha.clamp(max=0.999)
    alpha = torch.where(alpha < 1 / 255, 0, alpha)
    left = torch.cumprod(1 - alpha, dim=0)
    # A pixel closes at the first Gaussian that would leave 1e-4 or less, and takes neither it nor what lies behind.
    alpha = torch.where(left.detach() > 1e-4, alpha, 0)
    before = torch.cat([torch.ones_like(alpha[:1]), torch.cumprod(1 - alpha, dim=0)[:-1]])
    weights = alpha * before
    total = weights.sum(0)
    rgb = torch.einsum("nhw,nc->hwc", weights, colors[order])
    depth = torch.einsum("nhw,n->hw", weights, depths[0, order]) / total.clamp(min=1e-10)
    return rgb + (1 - total)[..., None] * torch.tensor(background, dtype=dtype), total, depth
