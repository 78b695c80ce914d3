"""Views of objects through an encoder of images."""

import torch
from gsbench_baselines.images.pixels import to_float
from gsbench_baselines.images.resnet import ResNet18
from gsbench_baselines.images.vgg import VGG11
from torch import Tensor

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
