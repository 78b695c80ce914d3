"""MVCNN (Su et al. 2015, arXiv 1505.00880): one network for each view, the maximum over views, a classifier.

As in the authors' PyTorch version: the maximum is taken behind the convolutions, and training has two stages, single
views and then all views of an object, which a recipe writes as `pretraining` with `views_per_sample = 1`.
"""

from typing import ClassVar

import torch.nn.functional as F
from gsbench_baselines.images.backbones import VGG11, ResNet18
from gsbench_baselines.images.views import encode_views
from gsbench_baselines.images.weights import load_weights
from torch import Tensor, nn

from gsbench.core.parsing import InputError
from gsbench.core.types import Batch


class MVCNN(nn.Module):
    """A multi-view network.

    Args:
        in_channels: channels of an image, 3.
        num_classes: number of classes.
        backbone: `vgg11` or `resnet18`.
        pretrained: whether it starts from ImageNet's weights (`start_from`): its mean and deviation are then taken out
            of the pixels, which are in 0..1 otherwise.
    """

    inputs: ClassVar[tuple[str, ...]] = ("images",)

    def __init__(self, in_channels: int, num_classes: int, backbone: str = "vgg11", pretrained: bool = False) -> None:
        super().__init__()
        if in_channels != 3:
            raise InputError(f"in_channels is {in_channels} (must be 3, the channels of an image)")
        if backbone not in ("vgg11", "resnet18"):
            raise InputError(f"backbone is '{backbone}' (allowed: vgg11, resnet18)")
        self.imagenet = pretrained
        self.backbone = VGG11(num_classes) if backbone == "vgg11" else ResNet18(num_classes)

    def start_from(self, source: str) -> None:
        """Takes stored weights: see `load_weights`."""
        load_weights(self.backbone, source, self.backbone.classifier_layer)

    def loss(self, batch: Batch, label_smoothing: float) -> Tensor:
        """Cross-entropy of each sample of views."""
        return F.cross_entropy(self.logits(batch), batch.labels, label_smoothing=label_smoothing)

    def embed(self, batch: Batch) -> Tensor:
        """What the last layer sees: `[b 512]` of ResNet-18, `[b 4096]` of VGG-11."""
        return self.backbone.hidden(self._pooled(batch))

    def logits(self, batch: Batch) -> Tensor:
        """Class scores `[b c]`."""
        return self.backbone.classify(self._pooled(batch)).float()

    def _pooled(self, batch: Batch) -> Tensor:
        """The maximum `[b d]` over the features of each object's views."""
        assert batch.images is not None, "a model of images is given images"
        return encode_views(self.backbone, batch.images, self.imagenet).amax(1)
