"""ResNet-18 (He et al. 2016, arXiv 1512.03385) and VGG-11 (Simonyan and Zisserman 2015, arXiv 1409.1556).

Names, shapes and initialization are torchvision's, so that its weights fit; a wheel of torchvision itself fits a single
build of torch, and timm needs torchvision. The convolution multiplies matrices where the plane is small: oneDNN goes
over the rows of a plane, and where a row has a few pixels, as in the last layers of a network on small images, a CPU
multiplies at a quarter of its speed. There the windows are written out and multiplied as one matrix, the way of
Chellapilla et al. (High Performance Convolutional Neural Networks for Document Processing, 2006).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gsbench.core.parsing import InputError

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


class _Block(nn.Module):
    """Two 3x3 convolutions with batch norm, and a way around them."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(
                Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        around = x if self.downsample is None else self.downsample(x)
        x = self.bn1(self.conv1(x)).relu_()
        return self.bn2(self.conv2(x)).add_(around).relu_()


class ResNet18(nn.Module):
    """ResNet-18: 11,176,512 parameters, and 513 a class.

    Args:
        num_classes: outputs of the last layer; None leaves that out.
    """

    classifier_layer = "fc"
    """Name of the layer whose shape depends on the classes."""

    width = 512
    """Channels of `encode`."""

    def __init__(self, num_classes: int | None = None) -> None:
        super().__init__()
        self.conv1 = Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(_Block(64, 64, 1), _Block(64, 64, 1))
        self.layer2 = nn.Sequential(_Block(64, 128, 2), _Block(128, 128, 1))
        self.layer3 = nn.Sequential(_Block(128, 256, 2), _Block(256, 256, 1))
        self.layer4 = nn.Sequential(_Block(256, 512, 2), _Block(512, 512, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if num_classes is not None:
            self.fc = nn.Linear(self.width, num_classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, images: Tensor) -> Tensor:
        """The features `[n 512]` of images `[n 3 h w]`: the mean over the last layer's positions."""
        x = self.maxpool(self.bn1(self.conv1(images)).relu_())
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))

    def hidden(self, features: Tensor) -> Tensor:
        """What the last layer sees of features `[n 512]`: themselves."""
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Class scores `[n c]` of features `[n 512]`."""
        return self.fc(features)


_WIDTHS = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)
"""Channels of each 3x3 convolution; 0 halves width and height."""

_SIDE, _HIDDEN, _SMALLEST = 7, 4096, 32


class VGG11(nn.Module):
    """VGG-11 without batch norm: 128,807,306 parameters at ten classes.

    Args:
        num_classes: outputs of the last layer.
        dropout: share of features dropped behind each of the two hidden layers.
    """

    classifier_layer = "classifier.6"
    """Name of the layer whose shape depends on the classes."""

    width = 512 * _SIDE * _SIDE
    """Channels of `encode`."""

    def __init__(self, num_classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in _WIDTHS:
            layers += [Conv2d(channels, width, 3, 1, 1), nn.ReLU(inplace=True)] if width else [nn.MaxPool2d(2)]
            channels = width or channels
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(_SIDE)
        self.classifier = nn.Sequential(
            nn.Linear(self.width, _HIDDEN), nn.ReLU(inplace=True), nn.Dropout(dropout),
            nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(inplace=True), nn.Dropout(dropout),
            nn.Linear(_HIDDEN, num_classes),
        )  # fmt: skip
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, images: Tensor) -> Tensor:
        """The features `[n 25088]` of images `[n 3 h w]`: the convolutions', averaged to 7 x 7.

        Raises:
            InputError: images of which the five halvings leave nothing.
        """
        if min(images.shape[2:]) < _SMALLEST:
            raise InputError(f"images.size is {min(images.shape[2:])} for VGG-11 (must be at least {_SMALLEST})")
        return self.avgpool(self.features(images)).flatten(1)

    def hidden(self, features: Tensor) -> Tensor:
        """What the last layer sees of features `[n 25088]`: `[n 4096]`."""
        return self.classifier[:-1](features)

    def classify(self, features: Tensor) -> Tensor:
        """Class scores `[n c]` of features `[n 25088]`."""
        return self.classifier(features)
