"""Perceptrons shared by all points of many sets, without ever writing their widest activations to memory.

A batch of point sets of different sizes is one matrix of rows `[r c]`, set after set. A layer is linear, batch norm,
ReLU; three facts keep it cheap on a CPU, and change nothing in what it computes:

- Batch norm and ReLU are deferred: a layer hands on its linear output with the scale and shift to apply (`Rows`), and
  the next one applies them to a chunk of rows that fits the cache, right before its matrix product.
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
from typing import Any

import numpy as np
import torch
from gsbench_baselines import row_numba, row_torch
from torch import Tensor, nn

from gsbench.types import Batch

CHUNK = 4096
"""Rows handled at a time: at 128 channels of float32 that is 2 MB, about a core's share of the cache."""


@dataclass(frozen=True, slots=True)
class Pairs:
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
class Rows:
    """Rows `[r c]` that stand for `relu(z * scale + shift)`, or for `z` itself where `scale` is None.

    `dtype` is that of matrix products and of the rows kept between layers.
    """

    z: Tensor
    dtype: torch.dtype
    scale: Tensor | None = None
    shift: Tensor | None = None


def flatten(batch: Batch) -> tuple[Tensor, tuple[int, ...]]:
    """The points of a batch without its padding, as rows `[r c]` set after set, and the `b + 1` offsets of the sets.

    Raises:
        ValueError: an object without any point; the message names it.
    """
    assert batch.points is not None, "gsbench hands a point baseline points"
    assert batch.mask is not None, "points come with their mask"
    counts = batch.mask.sum(1).tolist()
    if not all(counts):
        raise ValueError(f"{batch.ids[counts.index(0)]}: no points (each object needs at least one)")
    return batch.points[batch.mask], tuple(itertools.accumulate(counts, initial=0))


@contextlib.contextmanager
def row_dtype(device: torch.device) -> Iterator[torch.dtype]:
    """The dtype for `Rows`, autocast's where it is on; inside the block all else is float32."""
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
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean + bias, norm.momentum)
    norm.running_var.lerp_(var * (count / max(count - 1, 1)), norm.momentum)


def linear(
    rows: Rows, layer: nn.Linear, norm: nn.BatchNorm1d, offsets: Sequence[int], weights: Tensor | None = None
) -> Rows:
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
    z, mean, var = _Linear.apply(rows.z, rows.scale, rows.shift, own, where, rows.dtype)
    return Rows(z, rows.dtype, *affine(norm, layer.bias, mean, var, len(z)))


def difference(
    at_points: Tensor, at_centers: Tensor, pairs: Pairs, layer: nn.Linear, norm: nn.BatchNorm1d, dtype: torch.dtype
) -> Rows:
    """A first layer over pairs of a point and a center, W (x_j - c_i, f_j) = W (x_j, f_j) - W_x c_i.

    Args:
        at_points: `[p o]` float32, the first term: a product a point in place of one a pair.
        at_centers: `[m o]` float32, the second.
        pairs: which point meets which center.
        layer: the linear layer that both terms came from.
        norm: its batch norm.
        dtype: of the rows.
    """
    z, mean, var = _Difference.apply(at_points, at_centers, pairs, dtype)
    return Rows(z, dtype, *affine(norm, layer.bias, mean, var, len(z)))


def pool(rows: Rows, layer: nn.Linear, norm: nn.BatchNorm1d, starts: Tensor) -> Tensor:
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
    top, mean, var = _Pool.apply(rows.z, rows.scale, rows.shift, weight, starts, rows.dtype)
    scale, shift = affine(norm, layer.bias, mean * sign, var, len(rows.z))
    return top * (scale * sign) + shift


def _ops(rows: Tensor) -> Any:
    return row_torch if rows.is_cuda else row_numba


def _chunks(offsets: Sequence[int]) -> Iterator[tuple[int, slice]]:
    for which, (start, stop) in enumerate(itertools.pairwise(offsets)):
        for first in range(start, stop, CHUNK):
            yield which, slice(first, min(first + CHUNK, stop))


def _set_chunks(starts: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Whole sets, their rows, and where each set begins among those rows: about `CHUNK` rows, or one set, at a time."""
    at = starts.numpy()
    first = 0
    while first < len(at) - 1:
        last = max(first + 1, int(np.searchsorted(at, at[first] + CHUNK, side="right")) - 1)
        yield slice(first, last), slice(int(at[first]), int(at[last])), starts[first : last + 1] - starts[first]
        first = last


def _moments(sums: Tensor, count: int) -> tuple[Tensor, Tensor]:
    mean = sums[0] / count
    return mean.float(), (sums[1] / count - mean * mean).clamp_(min=0).float()


def _through_moments(dmean: Tensor, dvar: Tensor, mean: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Offset and slope of the gradient offset + slope * z that reaches z by its mean and variance."""
    slope = dvar * (2 / count)
    return dmean / count - slope * mean, slope


class _Linear(torch.autograd.Function):
    """z -> (h W^T, its mean, its variance) with h = relu(z * scale + shift), or h = z where there is no scale.

    Rows without a scale are coordinates: their products are in float32.
    """

    @staticmethod
    def forward(ctx: Any, z, scale, shift, weights, offsets, dtype):  # type: ignore[no-untyped-def]
        ops = _ops(z)
        cast = weights if scale is None else weights.to(dtype)
        out = z.new_empty(len(z), weights.shape[1], dtype=dtype)
        sums = z.new_zeros(2, weights.shape[1], dtype=torch.float64)
        for which, rows in _chunks(offsets):
            h = z[rows] if scale is None else ops.activate(z[rows], scale, shift)
            if h.dtype == dtype:
                torch.mm(h, cast[which].T, out=out[rows])
            else:
                out[rows] = h @ cast[which].T
            ops.add_moments(out[rows], sums)
        mean, var = _moments(sums, len(z))
        ctx.save_for_backward(z, scale, shift, weights, out, mean)
        ctx.offsets = offsets
        return out, mean, var

    @staticmethod
    def backward(ctx: Any, dout, dmean, dvar):  # type: ignore[no-untyped-def]
        z, scale, shift, weights, out, mean = ctx.saved_tensors
        ops = _ops(z)
        kind = z.dtype if scale is None else out.dtype
        cast, dweights = weights.to(kind), torch.zeros_like(weights)
        through = _through_moments(dmean, dvar, mean, len(z))
        dz = torch.empty_like(z) if ctx.needs_input_grad[0] else None
        sums = None if scale is None else z.new_zeros(2, len(scale), dtype=torch.float64)
        for which, rows in _chunks(ctx.offsets):
            dy = ops.output_gradient(out[rows], dout[rows], *through, kind)
            h = z[rows] if scale is None else ops.activate(z[rows], scale, shift)
            dweights[which] += dy.T @ h
            if sums is not None:
                ops.input_gradient(z[rows], scale, shift, dy @ cast[which], dz[rows], sums)
            elif dz is not None:
                torch.mm(dy, cast[which], out=dz[rows])
        dscale, dshift = (None, None) if sums is None else sums.float()
        return dz, dscale, dshift, dweights, None, None


class _Difference(torch.autograd.Function):
    """(a, b) -> (a[point] - b[center], its mean, its variance)."""

    @staticmethod
    def forward(ctx: Any, a, b, pairs, dtype):  # type: ignore[no-untyped-def]
        out = a.new_empty(len(pairs.point), a.shape[1], dtype=dtype)
        sums = a.new_zeros(2, a.shape[1], dtype=torch.float64)
        _ops(a).difference(a, b, pairs.point, pairs.center, out, sums)
        mean, var = _moments(sums, len(out))
        ctx.save_for_backward(out, mean)
        ctx.pairs, ctx.sizes = pairs, (len(a), len(b))
        return out, mean, var

    @staticmethod
    def backward(ctx: Any, dout, dmean, dvar):  # type: ignore[no-untyped-def]
        out, mean = ctx.saved_tensors
        ops, pairs = _ops(out), ctx.pairs
        through = _through_moments(dmean, dvar, mean, len(out))
        da, db = (out.new_zeros(size, out.shape[1], dtype=torch.float32) for size in ctx.sizes)
        dz = ops.output_gradient(out, dout, *through, torch.float32)
        ops.difference_gradient(dz, pairs.point, pairs.center, pairs.set_starts, da, db)
        return da, db, None, None


class _Pool(torch.autograd.Function):
    """z -> (largest of h W^T in each set, its mean over all rows, its variance) with h = relu(z * scale + shift)."""

    @staticmethod
    def forward(ctx: Any, z, scale, shift, weight, starts, dtype):  # type: ignore[no-untyped-def]
        ops = _ops(z)
        cast = weight.to(dtype).T
        top = z.new_empty(len(starts) - 1, len(weight), dtype=torch.float32)
        winner = torch.empty_like(top, dtype=torch.int32)
        sums = z.new_zeros(2, len(weight), dtype=torch.float64)
        for sets, rows, local in _set_chunks(starts):
            y = ops.activate(z[rows], scale, shift) @ cast
            ops.largest(y, local.to(z.device), top[sets], winner[sets], sums)
        mean, var = _moments(sums, len(z))
        ctx.save_for_backward(z, scale, shift, weight, winner, mean)
        ctx.starts = starts
        return top, mean, var

    @staticmethod
    def backward(ctx: Any, dtop, dmean, dvar):  # type: ignore[no-untyped-def]
        z, scale, shift, weight, winner, mean = ctx.saved_tensors
        ops = _ops(z)
        offset, slope = _through_moments(dmean, dvar, mean, len(z))
        gram_path = (weight.T @ (weight * slope[:, None])).to(z.dtype)
        offset_path = offset @ weight
        dz, dweight = torch.empty_like(z), torch.zeros_like(weight)
        gram = torch.zeros_like(gram_path, dtype=torch.float32)
        sums, total = (z.new_zeros(2, len(scale), dtype=torch.float64) for _ in range(2))
        for sets, rows, local in _set_chunks(ctx.starts):
            h = ops.activate(z[rows], scale, shift)
            gram += h.T @ h
            ops.add_moments(h, total)
            won = dtop[sets], winner[sets]
            starts = local.to(z.device)
            ops.winner_weight_gradient(h, won, dweight)
            ops.winner_input_gradient(
                z[rows], (scale, shift), h @ gram_path, offset_path, won, weight, starts, dz[rows], sums
            )
        dweight += torch.outer(offset, total[0].float()) + slope[:, None] * (weight @ gram)
        return dz, *sums.float(), dweight, None, None
