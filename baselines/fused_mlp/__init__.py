"""Perceptrons shared by all points of many sets, without ever writing their widest activations to memory.

A batch of point sets of different sizes is one matrix of rows `[r c]`, set after set. A layer is linear, batch norm,
ReLU; three facts keep it cheap on a CPU, and change nothing in what it computes:

- Batch norm and ReLU are deferred: a layer hands on its linear output with the scale and shift to apply
  (`Activations`), and the next one applies them to a chunk of rows that fits the cache, right before its product.
- The maximum over a set commutes with batch norm (up to the scale's sign), so the last layer, the widest, keeps the
  largest value of each set and the moments, nothing else.
- The gradient of that maximum reaches one row per set and channel. What batch norm adds to it is affine in the layer's
  output z = h W^T, so that it reaches h through an `[i i]` matrix and W through h^T h: neither needs z again.

Under autocast the matrix products and the rows kept between layers are in its dtype; everything else is float32.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from gsbench_baselines.fused_mlp import autograd
from torch import Tensor, nn

from gsbench.core.parsing import InputError
from gsbench.core.types import Batch


@dataclass(frozen=True, slots=True)
class NeighborPairs:
    """Pairs of a point and a center, center after center.

    Attributes:
        point: `[e]` int64 rows of points.
        center: `[e]` int64 indices of centers.
        starts: `[m + 1]` int64 on the host, where each center's pairs begin.
        set_starts: `[s + 1]` int64, where the pairs of each set of points begin; sets share no point and no center.
    """

    point: Tensor
    center: Tensor
    starts: Tensor
    set_starts: Tensor


@dataclass(frozen=True, slots=True)
class Activations:
    """Activations `[r c]` that stand for `relu(z * scale + shift)`, or for `z` itself where `scale` is None.

    `dtype` is that of matrix products and of the rows kept between layers.
    """

    z: Tensor
    dtype: torch.dtype
    scale: Tensor | None = None
    shift: Tensor | None = None


def flatten(batch: Batch) -> tuple[Tensor, tuple[int, ...]]:
    """The points of a batch without its padding, as rows `[r c]` set after set, and the `b + 1` offsets of the sets.

    Raises:
        InputError: an object without any point; the message names it.
    """
    assert batch.points is not None, "gsbench hands a point baseline points"
    assert batch.mask is not None, "points come with their mask"
    counts = batch.mask.sum(1).tolist()
    if not all(counts):
        raise InputError(f"{batch.ids[counts.index(0)]}: no points (each object needs at least one)")
    return batch.points[batch.mask], tuple(itertools.accumulate(counts, initial=0))


@contextlib.contextmanager
def activation_dtype(device: torch.device) -> Iterator[torch.dtype]:
    """The dtype for `Activations`, autocast's where it is on; inside the block all else is float32."""
    autocast = torch.is_autocast_enabled(device.type)
    with torch.autocast(device.type, enabled=False):
        yield torch.get_autocast_dtype(device.type) if autocast else torch.float32


def affine(norm: nn.BatchNorm1d, bias: Tensor, mean: Tensor, var: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Batch norm of `z + bias` as a scale and a shift of z; in training it also moves the running statistics.

    A bias before batch norm cancels in training, so z leaves it out and it gets no gradient there. The layers keep it,
    as the published models do, and here it meets the running mean.

    Args:
        norm: the layer's batch norm.
        bias: `[o]` bias of the linear layer.
        mean: `[o]` mean of z over the rows.
        var: `[o]` biased variance of z over the rows.
        count: number of rows.
    """
    if norm.training:
        _track(norm, bias.detach(), mean.detach(), var.detach(), count)
    else:
        assert norm.running_mean is not None, "gsbench's batch norms track statistics"
        assert norm.running_var is not None, "gsbench's batch norms track statistics"
        mean, var = norm.running_mean - bias, norm.running_var
    scale = norm.weight * torch.rsqrt(var + norm.eps)
    return scale, norm.bias - mean * scale


@torch.no_grad()
def _track(norm: nn.BatchNorm1d, bias: Tensor, mean: Tensor, var: Tensor, count: int) -> None:
    assert norm.momentum is not None, "gsbench's batch norms decay"
    norm.num_batches_tracked += 1  # type: ignore[assignment, operator]
    norm.running_mean.lerp_(mean + bias, norm.momentum)  # type: ignore[union-attr]
    norm.running_var.lerp_(var * (count / max(count - 1, 1)), norm.momentum)  # type: ignore[union-attr]


def linear(
    rows: Activations,
    layer: nn.Linear,
    norm: nn.BatchNorm1d,
    offsets: Sequence[int],
    weights: Tensor | None = None,
) -> Activations:
    """One layer: linear, batch norm, ReLU.

    Args:
        rows: `[r i]`.
        layer: the linear layer, i to o.
        norm: its batch norm.
        offsets: where each set begins, and the end.
        weights: `[s o i]`, a weight for each set in place of the layer's.
    """
    own = layer.weight[None] if weights is None else weights
    where = (0, len(rows.z)) if weights is None else tuple(offsets)
    z, mean, var = autograd.Linear.apply(rows.z, rows.scale, rows.shift, own, where, rows.dtype)
    return Activations(z, rows.dtype, *affine(norm, layer.bias, mean, var, len(z)))


def difference(
    at_points: Tensor,
    at_centers: Tensor,
    pairs: NeighborPairs,
    layer: nn.Linear,
    norm: nn.BatchNorm1d,
    dtype: torch.dtype,
) -> Activations:
    """A first layer over pairs of a point and a center, W (x_j - c_i, f_j) = W (x_j, f_j) - W_x c_i.

    Args:
        at_points: `[p o]` float32, the first term: a product a point in place of one a pair.
        at_centers: `[m o]` float32, the second.
        pairs: which point meets which center.
        layer: the linear layer that both terms came from.
        norm: its batch norm.
        dtype: of the rows.
    """
    z, mean, var = autograd.Difference.apply(at_points, at_centers, pairs, dtype)
    return Activations(z, dtype, *affine(norm, layer.bias, mean, var, len(z)))


def pool(rows: Activations, layer: nn.Linear, norm: nn.BatchNorm1d, starts: Tensor) -> Tensor:
    """Linear, batch norm, then the maximum over each set: `[s o]` float32, no ReLU.

    Args:
        rows: `[r i]`.
        layer: the linear layer, i to o.
        norm: its batch norm.
        starts: `[s + 1]` int64 on the host, where each set begins, and the end.
    """
    # The largest of a falling function is that of the smallest: turn the channels whose scale is negative.
    sign = torch.where(norm.weight.detach() < 0, -1.0, 1.0)
    weight = layer.weight * sign[:, None]
    top, mean, var = autograd.MaxPool.apply(rows.z, rows.scale, rows.shift, weight, starts, rows.dtype)
    scale, shift = affine(norm, layer.bias, mean * sign, var, len(rows.z))
    return top * (scale * sign) + shift
