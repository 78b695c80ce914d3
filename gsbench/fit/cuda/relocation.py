"""Gaussians that faded away start anew where others are, inside each object of a batch (Kheradmand 2024, MCMC).

n Gaussians in the place of one look like that one, if opacity o becomes o' = 1 - (1 - o)^(1/n) and the scales are
multiplied by o / sum_{k=1..n} C(n, k) (-1)^(k-1) o'^k / sqrt(k): equation 9, with its double sum over binomials
contracted by C(0, k) + ... + C(n-1, k) = C(n, k+1).
"""

import math

import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

_MOST = 51
"""More Gaussians than this in the place of one count as this many, as in the authors' code."""


@torch.no_grad()
def relocate(
    raw: dict[str, Tensor],
    moments: list[dict[str, Tensor]],
    real: Bool[Tensor, "b n"],
    min_opacity: float,
    draws: Float64[Tensor, "b n"],
) -> None:
    """Moves every Gaussian below `min_opacity` onto one above it, chosen by opacity, and shares that one's light.

    Nothing waits for the device. What moved, and what it moved onto, begins without momentum.

    Args:
        raw: `means`, `quats`, log `scales`, logit `opacities`, `dc`, `sh`, each `[b n ...]`; changed in place.
        moments: Adam's averages, each under the names and in the shapes of `raw`; changed in place.
        real: False for padding, which neither moves nor is chosen.
        min_opacity: below it a Gaussian is dead.
        draws: uniform in 0..1, one for each Gaussian that may have to move.
    """
    opacities = raw["opacities"].sigmoid()
    dead = real & (opacities < min_opacity)
    # An object without a living Gaussian keeps what it has.
    dead &= (real & ~dead).any(1, keepdim=True)
    source = choose(torch.where(real & ~dead, opacities, 0), draws)
    counts = torch.zeros_like(source).scatter_add_(1, source, dead.long())
    shared, shrink = share(opacities, counts + 1)
    raw["opacities"].copy_(torch.where(counts > 0, shared.clamp(min_opacity, 1 - 1e-6).logit(), raw["opacities"]))
    raw["scales"].add_(torch.where(counts > 0, shrink.log(), 0)[..., None])
    for name, values in raw.items():
        values.copy_(torch.where(_like(dead, values), _taken(values, source), values))
        for each in moments:
            each[name].mul_(~_like(dead | (counts > 0), values))


def choose(weights: Float32[Tensor, "b n"], draws: Float64[Tensor, "b m"]) -> Int64[Tensor, "b m"]:
    """Positions drawn with replacement in proportion to the weights of each row; `draws` are uniform in 0..1."""
    sums = weights.double().cumsum(1)
    # Below the last sum whatever the rounding, so that what has no weight is never found.
    found = torch.searchsorted(sums, draws * sums[:, -1:] * (1 - 1e-12), right=True)
    return found.clamp(max=weights.shape[1] - 1)


def share(
    opacities: Float32[Tensor, "b n"], counts: Int64[Tensor, "b n"]
) -> tuple[Float32[Tensor, "b n"], Float32[Tensor, "b n"]]:
    """Opacity of each of `counts` Gaussians in the place of one, and the factor of their scales."""
    n = counts.clamp(max=_MOST).double()
    opacity = opacities.double()
    shared = 1 - (1 - opacity).clamp(min=1e-6) ** (1 / n)
    total, binomial = torch.zeros_like(n), torch.ones_like(n)
    for k in range(1, _MOST + 1):
        binomial = binomial * (n - k + 1).clamp(min=0) / k
        total += (-1) ** (k - 1) / math.sqrt(k) * binomial * shared**k
    return shared.float(), (opacity / total).float()


def _like(mask: Bool[Tensor, "b n"], values: Tensor) -> Bool[Tensor, "b n *_"]:
    return mask.view(*mask.shape, *[1] * (values.dim() - 2))


def _taken(values: Tensor, source: Int64[Tensor, "b n"]) -> Tensor:
    return values.gather(1, source.view(*source.shape, *[1] * (values.dim() - 2)).expand_as(values))
