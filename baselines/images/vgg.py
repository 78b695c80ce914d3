"""VGG-11 (Simonyan and Zisserman 2015, arXiv 1409.1556), as torchvision lays it out: names, shapes, initialization."""

import torch
from gsbench_baselines.images.convolution import Conv2d
from torch import Tensor, nn

from gsbench.core.parsing import InputError

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
