"""Adam on a batch of objects, step by step on one view of each: any torch device, any rasteriser of batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from gsbench.core.geometry import normalize_quats
from gsbench.core.types import Gaussians
from gsbench.reconstruct.cuda.prepared import Prepared
from gsbench.reconstruct.cuda.relocation import contributions, relocate
from gsbench.reconstruct.hull.recipe import FitRecipe
from gsbench.reconstruct.hull.relocation import contribution_views
from gsbench.reconstruct.schedule import decay_at, learning_rates, relocates_before, sh_degree_at

_INVISIBLE = -50.0
"""The logit of padding's opacity."""


Rasterise = Callable[..., tuple[Tensor, Tensor]]
"""`gsbench.render.splats.cuda.rasterize_tensors`, or what stands in for it where there is no GPU."""


def optimise(objects: Sequence[Prepared], recipe: FitRecipe, rasterise: Rasterise) -> list[Gaussians]:
    """Adam from each object's start on its views, all stages, all objects at once; in the fit's frame.

    The host waits for the device where gsplat does (once a step, for the number of intersections with tiles, which is
    why a step cannot be one CUDA graph) and at the end. An object's result does not depend on the others.
    """
    device = objects[0].held_out.device
    raw, real = to_raw([each.start for each in objects], device)
    rates = learning_rates(recipe)
    groups = [{"params": [tensor], "lr": rates[name]} for name, tensor in raw.items()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15, fused=True)
    white = torch.ones(3, device=device)
    step = 0
    for position, stage in enumerate(recipe.stages):
        steps = _Steps(objects, position)
        for number in range(stage.iterations):
            if relocates_before(recipe, step):
                _relocate(raw, real, optimizer, _draws(objects, position, recipe, rasterise), recipe)
            for group, name in zip(optimizer.param_groups, raw, strict=True):
                group["lr"] = rates[name] * decay_at(recipe, step)
            viewmats, Ks, target = steps.at(number)
            rgb, alpha = rasterise(
                *(*activated(raw), viewmats, Ks, steps.width, steps.height, white),
                *(recipe.antialiased, sh_degree_at(recipe, step), objects[0].low_passes[position]),
            )
            torch.autograd.backward([rgb, alpha], slopes(rgb.detach(), alpha.detach(), target, recipe))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
    return from_raw(raw, [len(each.start) for each in objects])


@torch.no_grad()
def slopes(
    rgb: Float[Tensor, "b v h w 3"],
    alpha: Float[Tensor, "b v h w"],
    target: UInt8[Tensor, "b v h w 4"],
    recipe: FitRecipe,
) -> tuple[Float[Tensor, "b v h w 3"], Float[Tensor, "b v h w"]]:
    """The derivatives by colour and alpha of the loss that `gsbench.render.splats.cpu.Workspace.fit` differentiates.

    They are written down, not derived, since the loss itself is never needed: fewer passes over the images.
    """
    colour = torch.sub(rgb, target[..., :3], alpha=1 / 255).clamp_(-recipe.huber, recipe.huber).mul_(1 / recipe.huber)
    opaque = torch.sub(alpha, target[..., 3], alpha=1 / 255).sign_().mul_(recipe.alpha_weight)
    return colour, opaque


def activated(raw: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Means, quaternions, scales, opacities and spherical harmonics of raw parameters."""
    sh = torch.cat([raw["dc"], raw["sh"]], dim=2) if "sh" in raw else raw["dc"]
    return raw["means"], raw["quats"], raw["scales"].exp(), raw["opacities"].sigmoid(), sh


def to_raw(starts: Sequence[Gaussians], device: torch.device) -> tuple[dict[str, Tensor], Bool[Tensor, "b n"]]:
    """Raw parameters `[b n ...]` that require gradients, and which of them are no padding.

    Where objects differ in number, the others are filled up with Gaussians that nobody sees.
    """
    counts = np.array([len(each) for each in starts])
    real = np.arange(counts.max()) < counts[:, None]

    def batch(name: str, padding: float) -> Float32[Tensor, "b n *_"]:
        arrays = [getattr(each, name) for each in starts]
        filled = np.full((*real.shape, *arrays[0].shape[1:]), padding, np.float32)
        filled[real] = np.concatenate(arrays)
        return torch.from_numpy(filled).to(device)

    sh = batch("sh", 0.0).split([1, starts[0].sh.shape[1] - 1], dim=2)
    raw = {
        "means": batch("means", 0.0),
        "quats": batch("quats", 1.0),
        "scales": batch("scales", 1.0).log(),
        "opacities": batch("opacities", 0.5).logit(eps=1e-6),
        "dc": sh[0].clone(),
    }
    if sh[1].numel():
        raw["sh"] = sh[1].clone()
    on_device = torch.from_numpy(real).to(device)
    raw["opacities"][~on_device] = _INVISIBLE
    return {name: tensor.requires_grad_() for name, tensor in raw.items()}, on_device


def from_raw(raw: dict[str, Tensor], counts: Sequence[int]) -> list[Gaussians]:
    """Inverse of `to_raw`, on the host."""
    means, quats, scales, opacities, sh = (tensor.detach().cpu().numpy() for tensor in activated(raw))
    objects = zip(means, quats, scales, opacities, sh, counts, strict=True)
    return [Gaussians(m[:n], normalize_quats(q[:n]), s[:n], o[:n], c[:n]) for m, q, s, o, c, n in objects]


def _draws(
    objects: Sequence[Prepared], stage: int, recipe: FitRecipe, rasterise: Rasterise
) -> Iterator[Callable[..., tuple[Tensor, Tensor]]]:
    """Draws the views of a stage by which the Gaussians of each object are compared, one by one, without bands."""
    cameras, device = [each.cameras[stage] for each in objects], objects[0].held_out.device
    white, low_pass = torch.ones(3, device=device), objects[0].low_passes[stage]
    for view in contribution_views(len(cameras[0])):
        viewmats, Ks = (
            torch.from_numpy(np.stack([getattr(each, name)[view] for each in cameras])).to(device)[:, None]
            for name in ("viewmats", "Ks")
        )
        last = (viewmats, Ks, cameras[0].width, cameras[0].height, white, recipe.antialiased, 0, low_pass)
        yield lambda *scene, last=last: rasterise(*scene, *last)


def _relocate(
    raw: dict[str, Tensor],
    real: Bool[Tensor, "b n"],
    optimizer: torch.optim.Optimizer,
    draws: Iterable[Callable[..., tuple[Tensor, Tensor]]],
    recipe: FitRecipe,
) -> None:
    averages = [
        {name: optimizer.state[tensor][key] for name, tensor in raw.items()} for key in ("exp_avg", "exp_avg_sq")
    ]
    relocate(raw, averages, real, contributions(activated(raw)[:4], draws), recipe.relocate_below)


class _Steps:
    """One stage of all objects on the device: which view each sees at which step, and what it shows."""

    def __init__(self, objects: Sequence[Prepared], stage: int) -> None:
        device = objects[0].held_out.device
        cameras = [each.cameras[stage] for each in objects]
        self.width, self.height = cameras[0].width, cameras[0].height
        orders = np.stack([each.orders[stage] for each in objects], axis=1)
        every = np.arange(len(objects))
        self._viewmats, self._Ks = (
            torch.from_numpy(np.stack([getattr(each, name) for each in cameras])[every, orders]).to(device)
            for name in ("viewmats", "Ks")
        )
        self._targets = torch.cat([each.targets[stage] for each in objects])
        self._places = torch.from_numpy(orders + every * len(cameras[0])).to(device)

    def at(
        self, number: int
    ) -> tuple[Float32[Tensor, "b 1 4 4"], Float32[Tensor, "b 1 3 3"], UInt8[Tensor, "b 1 h w 4"]]:
        """Cameras and targets of a step."""
        target = self._targets.index_select(0, self._places[number])
        return self._viewmats[number][:, None], self._Ks[number][:, None], target[:, None]
