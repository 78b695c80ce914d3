"""ResNet-18 (He et al. 2016, arXiv 1512.03385), as torchvision lays it out: names, shapes and initialization."""

import torch
from gsbench_baselines.images.convolution import Conv2d
from torch import Tensor, nn


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
