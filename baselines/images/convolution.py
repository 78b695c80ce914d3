"""A convolution that multiplies matrices where the plane is small.

oneDNN goes over the rows of a plane, and where a row has a few pixels, as in the last layers of a network on small
images, a CPU multiplies at a quarter of its speed. There the windows are written out and multiplied as one matrix, the
way of Chellapilla et al. (High Performance Convolutional Neural Networks for Document Processing, 2006).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SMALL_PLANE = 16
"""Output pixels up to which one matrix product is the faster way on a CPU."""


class Conv2d(nn.Conv2d):
    """torch's, with its parameters and, but for rounding, its outputs; of square kernels and one group."""

    def forward(self, input: Tensor) -> Tensor:
        """Features `[n c h w]` convolved, channels last where the plane is small."""
        height, width = (_outputs(side, self) for side in input.shape[2:])
        if input.device.type != "cpu" or height * width > _SMALL_PLANE:
            return super().forward(input)
        windows = _Windows.apply(input.permute(0, 2, 3, 1), self.kernel_size[0], self.stride[0], self.padding[0])
        return F.linear(windows, self.weight.permute(0, 2, 3, 1).flatten(1), self.bias).permute(0, 3, 1, 2)


def _outputs(side: int, conv: nn.Conv2d) -> int:
    return (side + 2 * int(conv.padding[0]) - conv.kernel_size[0]) // conv.stride[0] + 1


class _Windows(torch.autograd.Function):
    """The windows of a kernel, over zeros around the plane: `[n h w c]` to `[n h' w' kkc]`."""

    @staticmethod
    def forward(ctx: Any, plane: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        padded = F.pad(plane, (0, 0, padding, padding, padding, padding))
        windows = padded.unfold(1, kernel, stride).unfold(2, kernel, stride).permute(0, 1, 2, 4, 5, 3)
        ctx.shapes = padded.shape, windows.shape
        ctx.how = kernel, stride, padding
        return windows.flatten(3)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (kernel, stride, padding), (padded_shape, windows_shape) = ctx.how, ctx.shapes
        windows = gradients[0].view(windows_shape)
        rows, columns = (stride * count for count in windows_shape[1:3])
        padded = gradients[0].new_zeros(padded_shape)
        for i in range(kernel):
            for j in range(kernel):
                padded[:, i : i + rows : stride, j : j + columns : stride] += windows[:, :, :, i, j]
        inside = padded[:, padding : padded_shape[1] - padding, padding : padded_shape[2] - padding]
        return inside, None, None, None
