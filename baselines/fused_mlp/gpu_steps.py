"""The steps of `rows` between matrix products in torch, for a GPU, and to check `cpu_steps`, their fused version, by.

Rows are float32 or bfloat16; `sums` are float64 and added to. `max_gradient` is the gradient of each set's maximum
`[s o]` float32 and the row `[s o]` int32 that it came from; `starts` `[s + 1]` int64 says where each set begins.
"""

import torch
from torch import Tensor


def activate(z: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """relu(z * scale + shift) `[r c]` in z's dtype."""
    return torch.addcmul(shift, z.float(), scale).relu_().to(z.dtype)


def add_moments(y: Tensor, sums: Tensor) -> None:
    """Adds the sums over the rows of y `[r c]` and of its squares to `sums` `[2 c]`."""
    y = y.float()
    sums[0] += y.sum(0)
    sums[1] += y.square().sum(0)


def output_gradient(out: Tensor, dout: Tensor, offset: Tensor, slope: Tensor, dtype: torch.dtype) -> Tensor:
    """dout + offset + slope * out `[r c]` in `dtype`: the gradient that reaches `out` directly and by its moments."""
    return torch.addcmul(offset, out.float(), slope).add_(dout).to(dtype)


def input_gradient(z: Tensor, scale: Tensor, shift: Tensor, dh: Tensor, dz: Tensor, sums: Tensor) -> None:
    """Takes dh `[r c]` through h = relu(z * scale + shift): writes `dz`, adds scale's and shift's to `sums` `[2 c]`."""
    gradient = torch.where(torch.addcmul(shift, z.float(), scale) > 0, dh.float(), 0)
    sums[0] += (gradient * z).sum(0)
    sums[1] += gradient.sum(0)
    dz.copy_(gradient * scale)


def segment_max(y: Tensor, starts: Tensor, top: Tensor, argmax: Tensor, sums: Tensor) -> None:
    """Writes the largest value of each set and channel to `top` `[s c]` float32, its row (the last of equals) to
    `argmax` `[s c]` int32, and adds the moments of y `[r c]` to `sums` `[2 c]`."""
    add_moments(y, sums)
    y = y.float()
    top.copy_(torch.segment_reduce(y, "max", offsets=starts, unsafe=True))
    rows = torch.arange(len(y), device=y.device, dtype=torch.float32)[:, None]  # exact up to 2^24 rows
    at_top = torch.where(y == top.repeat_interleave(starts.diff(), 0), rows, starts[:-1].min())
    argmax.copy_(torch.segment_reduce(at_top, "max", offsets=starts, unsafe=True))


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
    """`input_gradient` with `affine` = (scale, shift), of dh + offset plus, at the maxima, gradient * weight."""
    dtop, argmax = max_gradient
    dense = dh.float() + offset
    dense.index_add_(0, argmax.flatten(), (dtop[..., None] * weight).flatten(0, 1))
    input_gradient(z, *affine, dense, dz, sums)


def argmax_weight_gradient(h: Tensor, max_gradient: tuple[Tensor, Tensor], dweight: Tensor) -> None:
    """Adds the gradient times the rows of h `[r i]` that won to `dweight` `[o i]` float32."""
    dtop, argmax = max_gradient
    rows = h.index_select(0, argmax.flatten()).unflatten(0, argmax.shape)
    dweight += torch.einsum("so,soi->oi", dtop, rows.float())


def difference(a: Tensor, b: Tensor, point: Tensor, center: Tensor, out: Tensor, sums: Tensor) -> None:
    """Writes a[point] - b[center] to `out` `[e c]`, and adds its moments to `sums` `[2 c]`; a and b are float32."""
    values = a[point] - b[center]
    out.copy_(values)
    add_moments(values, sums)


def difference_gradient(dz: Tensor, point: Tensor, center: Tensor, starts: Tensor, da: Tensor, db: Tensor) -> None:
    """Adds dz `[e c]` to `da` at `point`, and subtracts it from `db` at `center`.

    `starts` `[s + 1]` says where the pairs of each set of points begin: sets share neither points nor centers.
    """
    da.index_add_(0, point, dz)
    db.index_add_(0, center, dz, alpha=-1)
