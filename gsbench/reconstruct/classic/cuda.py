"""The published optimization on CUDA, one object after another: gsplat's rasterizer and its DefaultStrategy.

A seed does not decide every bit, since gsplat adds gradients up by atomics, in no fixed order.
"""

from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from gsbench.core.geometry import normalize_quats
from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Gaussians, Views
from gsbench.reconstruct.classic.recipe import (
    ClassicRecipe,
    means_rate_at,
    random_gaussians,
    resets_at,
    scene_extent,
    sh_degree_at,
)
from gsbench.reconstruct.cuda.batch import ssim
from gsbench.reconstruct.targets import target_planes, view_order
from gsbench.render.splats.cuda import require_gsplat

# gsplat has it as a constant.
_SPLIT_SHRINK = 1.6


def optimize(views: Views, recipe: ClassicRecipe, rng: np.random.Generator, device: str = "cuda") -> Gaussians:
    """Gaussians that look like `views`, whose cameras all see the unit ball about the origin.

    Raises:
        InputError: no CUDA, a `split_shrink` that gsplat does not have, or pruning left no Gaussian.
    """
    gsplat = require_gsplat()
    if recipe.split_shrink != _SPLIT_SHRINK:
        raise InputError(f"split_shrink: {recipe.split_shrink}, on 'cuda' only {_SPLIT_SHRINK} is allowed (gsplat's)")
    cameras, extent = views.cameras, scene_extent(views.cameras)
    planes = target_planes(views, cameras.width)[:, :3]
    targets = torch.from_numpy(np.moveaxis(planes, 1, -1)).contiguous().to(device)
    viewmats, Ks = (torch.from_numpy(array).to(device) for array in (cameras.viewmats, cameras.Ks))
    raw = _to_raw(random_gaussians(recipe, rng), device)
    optimizers, strategy = _optimizers(raw, recipe), _strategy(gsplat, recipe)
    state = strategy.initialize_state(scene_scale=extent)
    order = view_order(len(views), recipe.iterations, rng)
    with torch.random.fork_rng([torch.cuda.current_device()] if device == "cuda" else []):
        torch.manual_seed(int(rng.integers(2**63)))  # gsplat draws the places of split Gaussians from torch
        for iteration, view in enumerate(order, start=1):
            one = slice(view, view + 1)
            size = (cameras.width, cameras.height)
            image, info = _render(gsplat, raw, viewmats[one], Ks[one], size, sh_degree_at(recipe, iteration), recipe)
            strategy.step_pre_backward(raw, optimizers, state, iteration, info)
            loss(image, targets[one] / 255, recipe.ssim_weight).backward()
            optimizers["means"].param_groups[0]["lr"] = means_rate_at(recipe, iteration) * extent
            for optimizer in optimizers.values():
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            strategy.step_post_backward(raw, optimizers, state, iteration, info)
            if not len(raw["means"]):
                raise InputError("views: pruning left no Gaussian, is there an object in them?")
            if resets_at(recipe, iteration):
                gsplat.strategy.ops.reset_opa(raw, optimizers, state, recipe.reset_opacity)
    return _from_raw(raw)


def loss(image: Float[Tensor, "v h w 3"], target: Float[Tensor, "v h w 3"], ssim_weight: float) -> Float[Tensor, ""]:
    """(1 - s) L1 + s (1 - SSIM), means over views, pixels and channels."""
    return (1 - ssim_weight) * (image - target).abs().mean() + ssim_weight * (1 - ssim(image, target).mean())


def _strategy(gsplat: ModuleType, recipe: ClassicRecipe) -> Any:
    """gsplat's DefaultStrategy with a limit on the number of Gaussians.

    In gsplat 1.5.3 it never resets opacities (`step % reset_every == 0 & step > 0` is never true), so `optimize` does.
    Where a later one does so as well nothing changes: with the published values both leave at most .01.
    """

    class Capped(gsplat.DefaultStrategy):  # type: ignore[name-defined]
        def _grow_gs(self, params: Any, optimizers: Any, state: Any, step: int) -> tuple[int, int]:
            room = max(recipe.max_gaussians - len(params["means"]), 0)
            gradients = state["grad2d"] / state["count"].clamp_min(1)
            self.grow_grad2d = recipe.densify_gradient
            if (gradients > recipe.densify_gradient).sum() > room:
                # Those of a larger gradient than the first that finds no room.
                self.grow_grad2d = gradients.sort(descending=True).values[room].item()
            return super()._grow_gs(params, optimizers, state, step)

    return Capped(
        prune_opa=recipe.prune_opacity,
        grow_scale3d=recipe.densify_scale,
        prune_scale3d=recipe.prune_scale,
        refine_start_iter=recipe.densify_from,
        refine_stop_iter=recipe.densify_until,
        refine_every=recipe.densify_every,
        reset_every=recipe.reset_every,
    )


def _render(
    gsplat: ModuleType,
    raw: dict[str, Tensor],
    viewmats: Float[Tensor, "1 4 4"],
    Ks: Float[Tensor, "1 3 3"],
    size: tuple[int, int],
    sh_degree: int,
    recipe: ClassicRecipe,
) -> tuple[Float[Tensor, "1 h w 3"], dict[str, Any]]:
    """The image over white, and what gsplat's strategy asks for."""
    images, _, info = gsplat.rasterization(
        *(raw["means"], raw["quats"], raw["scales"].exp(), raw["opacities"].sigmoid()),
        *(torch.cat([raw["dc"], raw["sh"]], dim=1), viewmats, Ks, *size),
        sh_degree=sh_degree,
        packed=False,
        backgrounds=torch.ones(1, 3, device=Ks.device),
        rasterize_mode="antialiased" if recipe.antialiased else "classic",
    )
    return images, info


def _optimizers(raw: dict[str, Tensor], recipe: ClassicRecipe) -> dict[str, torch.optim.Adam]:
    rates = {
        "means": recipe.lr_means,
        "quats": recipe.lr_quats,
        "scales": recipe.lr_scales,
        "opacities": recipe.lr_opacities,
        "dc": recipe.lr_dc,
        "sh": recipe.lr_sh,
    }
    return {
        name: torch.optim.Adam([raw[name]], lr=rate, betas=(0.9, recipe.beta_2), eps=1e-15)
        for name, rate in rates.items()
    }


def _to_raw(start: Gaussians, device: str) -> dict[str, Tensor]:
    def parameter(array: Float32[Array, "..."]) -> Tensor:
        return torch.nn.Parameter(torch.from_numpy(np.ascontiguousarray(array)).to(device))

    return {
        "means": parameter(start.means),
        "quats": parameter(start.quats),
        "scales": parameter(np.log(start.scales)),
        "opacities": parameter(np.log(start.opacities / (1 - start.opacities))),
        "dc": parameter(start.sh[:, :1]),
        "sh": parameter(start.sh[:, 1:]),
    }


def _from_raw(raw: dict[str, Tensor]) -> Gaussians:
    arrays = {name: tensor.detach().cpu() for name, tensor in raw.items()}
    scales, opacities = arrays["scales"].exp().numpy(), arrays["opacities"].sigmoid().numpy()
    sh = torch.cat([arrays["dc"], arrays["sh"]], dim=1).numpy()
    return Gaussians(arrays["means"].numpy(), normalize_quats(arrays["quats"].numpy()), scales, opacities, sh)
