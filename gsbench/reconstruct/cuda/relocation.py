"""`gsbench.reconstruct.hull.relocation` for batches of objects on the device; nothing waits for it."""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from gsbench.reconstruct.hull.relocation import APART, SHRINK


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
    # Away from black, where a colour has no derivative; that by the colour is what is looked for.
    plain = torch.zeros_like(fixed[0])[:, :, None].requires_grad_()
    sums = torch.zeros_like(fixed[3])
    for draw in draws:
        rgb, _ = draw(*fixed, plain)
        (by_colour,) = torch.autograd.grad(rgb[..., 0].sum(), plain)
        sums += by_colour[:, :, 0, 0]
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
