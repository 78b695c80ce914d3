"""Frozen features of a model."""

from collections.abc import Callable

import torch
from jaxtyping import Float32
from torch import nn

from gsbench.data import Objects
from gsbench.types import Array

_BATCH = 64


@torch.no_grad()
def extract(
    net: nn.Module, objects: Objects, progress: Callable[[int, int], None] | None = None
) -> Float32[Array, "n d"]:
    """What a model makes of each object by `embed`, in evaluation mode and float32 arithmetic.

    Args:
        net: a Baseline or PairBaseline.
        objects: of one modality, on the model's device.
        progress: told of objects done and objects in all.
    """
    net.eval()
    parts = []
    for index in torch.arange(len(objects), device=objects.labels.device).split(_BATCH):
        parts.append(net.embed(objects.batch(index)).float())  # type: ignore[operator]
        if progress:
            progress(int(index[-1]) + 1, len(objects))
    return torch.cat(parts).cpu().numpy()
