"""The three functions that the fused perceptrons differentiate, each with the moments of its output for batch norm.

Mean and variance are outputs of their own: what autograd sends back through them is batch norm's part of the gradient.
All work on chunks of rows that fit the cache, in the steps of `cpu_steps` on a CPU and of `gpu_steps` on a GPU.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from gsbench_baselines.fused_mlp import cpu_steps, gpu_steps
from torch import Tensor

CHUNK = 4096
"""Rows handled at a time: at 128 channels of float32 that is 2 MB, about a core's share of the cache."""


def _ops(rows: Tensor) -> Any:
    return gpu_steps if rows.is_cuda else cpu_steps


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


class Linear(torch.autograd.Function):
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
                ops.input_gradient(z[rows], scale, shift, dy @ cast[which], dz[rows], sums)  # type: ignore[index]
            elif dz is not None:
                torch.mm(dy, cast[which], out=dz[rows])
        dscale, dshift = (None, None) if sums is None else sums.float()
        return dz, dscale, dshift, dweights, None, None


class Difference(torch.autograd.Function):
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


class MaxPool(torch.autograd.Function):
    """z -> (largest of h W^T in each set, its mean over all rows, its variance) with h = relu(z * scale + shift)."""

    @staticmethod
    def forward(ctx: Any, z, scale, shift, weight, starts, dtype):  # type: ignore[no-untyped-def]
        ops = _ops(z)
        cast = weight.to(dtype).T
        top = z.new_empty(len(starts) - 1, len(weight), dtype=torch.float32)
        argmax = torch.empty_like(top, dtype=torch.int32)
        sums = z.new_zeros(2, len(weight), dtype=torch.float64)
        for sets, rows, local in _set_chunks(starts):
            y = ops.activate(z[rows], scale, shift) @ cast
            ops.segment_max(y, local.to(z.device), top[sets], argmax[sets], sums)
        mean, var = _moments(sums, len(z))
        ctx.save_for_backward(z, scale, shift, weight, argmax, mean)
        ctx.starts = starts
        return top, mean, var

    @staticmethod
    def backward(ctx: Any, dtop, dmean, dvar):  # type: ignore[no-untyped-def]
        z, scale, shift, weight, argmax, mean = ctx.saved_tensors
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
            max_gradient = dtop[sets], argmax[sets]
            starts = local.to(z.device)
            ops.argmax_weight_gradient(h, max_gradient, dweight)
            ops.argmax_input_gradient(
                z[rows], (scale, shift), h @ gram_path, offset_path, max_gradient, weight, starts, dz[rows], sums
            )
        dweight += torch.outer(offset, total[0].float()) + slope[:, None] * (weight @ gram)
        return dz, *sums.float(), dweight, None, None
