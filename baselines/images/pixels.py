"""Pixels as a network takes them."""

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's channels in 0..1, with which torchvision's weights were trained."""


def to_float(images: Tensor, imagenet: bool = False) -> Tensor:
    """uint8 images `[n 3 h w]` as float32 in 0..1, or with ImageNet's mean and deviation taken out; channels last."""
    pixels = images.to(torch.float32, memory_format=torch.channels_last).div_(255)
    if imagenet:
        mean, std = (torch.tensor(values, device=images.device) for values in (IMAGENET_MEAN, IMAGENET_STD))
        pixels.sub_(mean[:, None, None]).div_(std[:, None, None])
    return pixels
