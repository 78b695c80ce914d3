"""Views of objects through an encoder of images."""

import torch
from gsbench_baselines.images.backbones import VGG11, ResNet18
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


_SCORED_AT_ONCE = 64
"""Images that go through the network together where no gradient is kept: 12 views of 32 objects take gigabytes."""


def encode_views(encoder: ResNet18 | VGG11, images: Tensor, imagenet: bool = False) -> Tensor:
    """The features `[b v d]` of uint8 views `[b v 3 h w]`.

    Args:
        encoder: of single images.
        images: sRGB.
        imagenet: whether ImageNet's mean and deviation are taken out, see `to_float`.
    """
    single = images.flatten(0, 1)
    parts = (single,) if torch.is_grad_enabled() else single.split(_SCORED_AT_ONCE)
    return torch.cat([encoder.encode(to_float(part, imagenet)) for part in parts]).unflatten(0, images.shape[:2])
