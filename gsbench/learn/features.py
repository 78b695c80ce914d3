"""Frozen features of a model."""

from collections.abc import Callable

import torch
from jaxtyping import Float32
from torch import nn

from gsbench.core.types import Array
from gsbench.learn.calls import check_finite, features_of
from gsbench.learn.data import Objects
from gsbench.learn.precision import exact_float32

_BATCH = 64


@exact_float32()
@torch.no_grad()
def extract(
    net: nn.Module, objects: Objects, progress: Callable[[int, int], None] | None = None
) -> Float32[Array, "n d"]:
    """What a model makes of each object by `embed`, in evaluation mode and float32 arithmetic.

    Args:
        net: a Baseline or PairBaseline.
        objects: of one modality, on the model's device.
        progress: told of objects done and objects in all.

    Raises:
        InputError: the model raises, or its features are no floats of one width, or not finite.
    """
    net.eval()
    parts: list[Float32[torch.Tensor, "b d"]] = []
    for index in torch.arange(len(objects), device=objects.labels.device).split(_BATCH):
        width = parts[0].shape[1] if parts else None
        parts.append(features_of(net, objects.batch(index), width).float())
        if progress:
            progress(int(index[-1]) + 1, len(objects))
    features = torch.cat(parts).cpu().numpy()
    check_finite(net, "embed", features, objects.ids)
    return features
