"""The steps of the fused perceptrons on a CPU: `kernels` behind the signatures that `gpu_steps` documents."""

import numpy as np
import torch
from gsbench_baselines.fused_mlp import kernels
from torch import Tensor


def _host(tensor: Tensor) -> np.ndarray:
    """The tensor's memory; bfloat16, which numpy lacks, as its bits."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def activate(z: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    h = torch.empty_like(z)
    kernels.activate(_host(z), _host(scale), _host(shift), _host(h))
    return h


def add_moments(y: Tensor, sums: Tensor) -> None:
    kernels.add_moments(_host(y), _host(sums))


def output_gradient(out: Tensor, dout: Tensor, offset: Tensor, slope: Tensor, dtype: torch.dtype) -> Tensor:
    dy = torch.empty_like(out, dtype=dtype)
    kernels.output_gradient(_host(out), _host(dout), _host(offset), _host(slope), _host(dy))
    return dy


def input_gradient(z: Tensor, scale: Tensor, shift: Tensor, dh: Tensor, dz: Tensor, sums: Tensor) -> None:
    kernels.input_gradient(_host(z), _host(scale), _host(shift), _host(dh), _host(dz), _host(sums))


def segment_max(y: Tensor, starts: Tensor, top: Tensor, argmax: Tensor, sums: Tensor) -> None:
    kernels.segment_max(_host(y), _host(starts), _host(top), _host(argmax), _host(sums))


def argmax_input_gradient(
    z: Tensor,
    affine: tuple[Tensor, Tensor],
    dh: Tensor,
    offset: Tensor,
    max_gradient: tuple[Tensor, Tensor],
    weight: Tensor,
    starts: Tensor,
    dz: Tensor,
    sums: Tensor,
) -> None:
    arrays = (z, *affine, dh, offset, *max_gradient, weight, starts, dz, sums)
    kernels.argmax_input_gradient(*(_host(array) for array in arrays))


def argmax_weight_gradient(h: Tensor, max_gradient: tuple[Tensor, Tensor], dweight: Tensor) -> None:
    kernels.argmax_weight_gradient(_host(h), *(_host(array) for array in max_gradient), _host(dweight))


def difference(a: Tensor, b: Tensor, point: Tensor, center: Tensor, out: Tensor, sums: Tensor) -> None:
    kernels.difference(*(_host(array) for array in (a, b, point, center, out, sums)))


def difference_gradient(dz: Tensor, point: Tensor, center: Tensor, starts: Tensor, da: Tensor, db: Tensor) -> None:
    kernels.difference_gradient(*(_host(array) for array in (dz, point, center, starts, da, db)))
