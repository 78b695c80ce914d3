"""The fit on CUDA: all objects of a batch in one gsplat call a step, after the same recipe as on CPU."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from gsbench.fit.recipe import FitRecipe
from gsbench.fit.schedule import decay_at, learning_rates, sh_degree_at, view_order
from gsbench.fit.targets import scaled_cameras, target_planes
from gsbench.geometry import normalize_quats
from gsbench.render.splats_cuda import rasterize_tensors, require_gsplat
from gsbench.types import Gaussians, Views

if TYPE_CHECKING:
    from torch import Tensor

_FIELDS = ("means", "quats", "scales", "opacities", "sh")


def optimise_many(
    starts: Sequence[Gaussians], views: Sequence[Views], recipe: FitRecipe, rngs: Sequence[np.random.Generator]
) -> list[Gaussians]:
    """Adam from `starts` (of the recipe's SH degree) on each object's views, all stages.

    Raises:
        ValueError: no CUDA, or objects whose views differ in number or size.
    """
    require_gsplat()
    import torch

    shapes = {each.rgba.shape for each in views}
    if len(shapes) > 1:
        raise ValueError(f"views: a batch on CUDA needs equal numbers and sizes, it holds {sorted(shapes)}")
    raw = _to_raw(starts)
    rates = learning_rates(recipe)
    groups = [{"params": [raw[name]], "lr": 1.0} for name in raw]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15)
    step = 0
    for stage in recipe.stages:
        targets = torch.from_numpy(np.stack([target_planes(each, stage.resolution) for each in views])).cuda()
        scaled = [scaled_cameras(each.cameras, stage.resolution) for each in views]
        cameras = [
            torch.from_numpy(np.stack([getattr(each, name) for each in scaled])).cuda() for name in ("viewmats", "Ks")
        ]
        size = (scaled[0].width, scaled[0].height)
        orders = [view_order(len(targets[0]), stage.iterations, rng) for rng in rngs]
        batch = torch.arange(len(starts), device="cuda")
        for chosen in torch.tensor(orders, device="cuda").T:
            viewmats, Ks = (array[batch, chosen][:, None] for array in cameras)
            loss = _loss(
                raw,
                viewmats,
                Ks,
                size,
                targets[batch, chosen].permute(0, 2, 3, 1) / 255,
                recipe,
                sh_degree_at(recipe, step),
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for group, name in zip(optimizer.param_groups, raw, strict=True):
                group["lr"] = rates[name] * decay_at(recipe, step)
            optimizer.step()
            step += 1
    return _from_raw(raw)


def _loss(
    raw: "dict[str, Tensor]",
    viewmats: "Float[Tensor, 'b 1 4 4']",
    Ks: "Float[Tensor, 'b 1 3 3']",
    size: tuple[int, int],
    target: "Float[Tensor, 'b h w 4']",
    recipe: FitRecipe,
    sh_degree: int,
) -> "Float[Tensor, '']":
    """The sum that `gsbench.render.splats_cpu.Workspace.fit` differentiates, over all objects."""
    import torch

    sh = torch.cat([raw["dc"], raw["sh"]], dim=2)
    rgb, alpha, _ = rasterize_tensors(
        *(raw["means"], raw["quats"], raw["scales"].exp(), raw["opacities"].sigmoid(), sh, viewmats, Ks, *size),
        *(torch.ones(3, device="cuda"), recipe.antialiased, sh_degree),
    )
    colour = torch.nn.functional.huber_loss(rgb[:, 0], target[..., :3], reduction="sum", delta=recipe.huber)
    return colour / recipe.huber + recipe.alpha_weight * (alpha[:, 0] - target[..., 3]).abs().sum()


def _to_raw(starts: Sequence[Gaussians]) -> "dict[str, Tensor]":
    import torch

    fields = {name: torch.from_numpy(np.stack([getattr(each, name) for each in starts])).cuda() for name in _FIELDS}
    raw = {
        "means": fields["means"],
        "quats": fields["quats"],
        "scales": fields["scales"].log(),
        "opacities": torch.logit(fields["opacities"], eps=1e-6),
        "dc": fields["sh"][:, :, :1].clone(),
        "sh": fields["sh"][:, :, 1:].clone(),
    }
    return {name: tensor.requires_grad_() for name, tensor in raw.items()}


def _from_raw(raw: "dict[str, Tensor]") -> list[Gaussians]:
    import torch

    arrays = {name: tensor.detach().cpu() for name, tensor in raw.items()}
    quats = [normalize_quats(each) for each in arrays["quats"].numpy()]
    scales, opacities = arrays["scales"].exp().numpy(), arrays["opacities"].sigmoid().numpy()
    sh = torch.cat([arrays["dc"], arrays["sh"]], dim=2).numpy()
    return [Gaussians(*fields) for fields in zip(arrays["means"].numpy(), quats, scales, opacities, sh, strict=True)]
