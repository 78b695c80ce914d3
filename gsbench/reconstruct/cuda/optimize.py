"""Adam on a batch of objects, step by step on one view of each: any torch device, any rasterizer of batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from gsbench.core.geometry import normalize_quats
from gsbench.core.types import Gaussians
from gsbench.reconstruct.cuda.hull import DeviceObject
from gsbench.reconstruct.hull.cpu import APART, SHRINK, contribution_views
from gsbench.reconstruct.hull.recipe import FitRecipe
from gsbench.reconstruct.targets import decay_at, learning_rates, relocates_before, sh_degree_at


@torch.no_grad()
def relocate(
    raw: dict[str, Tensor],
    moments: list[dict[str, Tensor]],
    real: Bool[Tensor, "b n"],
    contributions: Float32[Tensor, "b n"],
    below: float,
) -> None:
    """Moves the Gaussians of each object that contribute less than `below` times its mean, as on CPU.

    Args:
        raw: `means`, `quats`, log `scales`, logit `opacities`, `dc`, `sh`, each `[b n ...]`; changed in place.
        moments: Adam's averages, each under the names and in the shapes of `raw`; changed in place.
        real: False for padding, which comes last, and neither moves nor is chosen.
        contributions: of each Gaussian, in any unit.
        below: the share of the mean.
    """
    source, side = _pairs(contributions, real, below)
    for values in (raw, *moments):
        for tensor in values.values():
            tensor.copy_(_taken(tensor, source))
    scales = raw["scales"]
    longest = torch.nn.functional.one_hot(scales.argmax(2), 3)
    axes = (_matrices(raw["quats"]) * (longest * scales.exp())[:, :, None]).sum(3)
    raw["means"].add_(APART * side[..., None] * axes)
    scales.add_(SHRINK * (side != 0)[..., None] * longest)


def contributions(
    shape: tuple[Tensor, Tensor, Tensor, Tensor], draws: Iterable[Callable[..., tuple[Tensor, Tensor]]]
) -> Float32[Tensor, "b n"]:
    """The sums of the Gaussians' weights in all pixels of some views, in some unit.

    Args:
        shape: activated means `[b n 3]`, quaternions, scales and opacities.
        draws: each of these and of spherical harmonics `[b n 1 3]` the images of one view.
    """
    fixed = [tensor.detach() for tensor in shape]
    # Away from black, where a color has no derivative; that by the color is what is looked for.
    plain = torch.zeros_like(fixed[0])[:, :, None].requires_grad_()
    sums = torch.zeros_like(fixed[3])
    for draw in draws:
        rgb, _ = draw(*fixed, plain)
        (by_color,) = torch.autograd.grad(rgb[..., 0].sum(), plain)
        sums += by_color[:, :, 0, 0]
    return sums


def _pairs(contributions: Float32[Tensor, "b n"], real: Bool[Tensor, "b n"], below: float) -> tuple[Tensor, Tensor]:
    """Whose values each Gaussian takes `[b n]`, its own for most, and 1 for those that move, -1 for their sources."""
    shown = torch.where(real, contributions, 0).double()
    count = real.sum(1, keepdim=True)
    limit = below * shown.sum(1, keepdim=True) / count
    weak = (real & (shown < limit)).sum(1, keepdim=True)
    strongest = torch.where(real, shown, -1).argsort(dim=1, descending=True, stable=True)
    rank = torch.arange(real.shape[1], device=real.device)
    weakest = strongest.gather(1, (count - 1 - rank) % real.shape[1])
    moves = rank < torch.minimum(weak, count - weak)
    source = torch.empty_like(strongest).scatter_(1, weakest, torch.where(moves, strongest, weakest))
    side = torch.zeros_like(shown, dtype=torch.float32)
    side.scatter_add_(1, weakest, moves.float()).scatter_add_(1, strongest, -moves.float())
    return source, side


def _matrices(quats: Float32[Tensor, "b n 4"]) -> Float32[Tensor, "b n 3 3"]:
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def _taken(values: Tensor, source: Tensor) -> Tensor:
    return values.gather(1, source.view(*source.shape, *[1] * (values.dim() - 2)).expand_as(values))


_INVISIBLE = -50.0
"""The logit of padding's opacity."""


Rasterize = Callable[..., tuple[Tensor, Tensor]]
"""`gsbench.render.splats.cuda.rasterize_tensors`, or what stands in for it where there is no GPU."""


def optimize(objects: Sequence[DeviceObject], recipe: FitRecipe, rasterize: Rasterize) -> list[Gaussians]:
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
                _relocate(raw, real, optimizer, _draws(objects, position, recipe, rasterize), recipe)
            for group, name in zip(optimizer.param_groups, raw, strict=True):
                group["lr"] = rates[name] * decay_at(recipe, step)
            viewmats, Ks, target = steps.at(number)
            rgb, alpha = rasterize(
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
    """The derivatives by color and alpha of the loss that `gsbench.render.splats.cpu.Workspace.fit` differentiates.

    They are written down, not derived, since the loss itself is never needed: fewer passes over the images.
    """
    color = torch.sub(rgb, target[..., :3], alpha=1 / 255).clamp_(-recipe.huber, recipe.huber).mul_(1 / recipe.huber)
    opaque = torch.sub(alpha, target[..., 3], alpha=1 / 255).sign_().mul_(recipe.alpha_weight)
    return color, opaque


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
    objects: Sequence[DeviceObject], stage: int, recipe: FitRecipe, rasterize: Rasterize
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
        yield lambda *scene, last=last: rasterize(*scene, *last)


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

    def __init__(self, objects: Sequence[DeviceObject], stage: int) -> None:
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
