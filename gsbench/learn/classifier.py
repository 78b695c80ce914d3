"""What fine-tuning trains: a classifier on an encoder."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gsbench.core.types import Batch


class Classifier(nn.Module):
    """A linear layer on an encoder's features, which batch norm brings to mean 0 and deviation 1.

    Args:
        encoder: a PairBaseline.
        width: of its features.
        num_classes: number of classes.
    """

    def __init__(self, encoder: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.last = nn.Linear(width, num_classes)

    def loss(self, batch: Batch, label_smoothing: float) -> Tensor:
        """Cross-entropy of a batch of one modality."""
        return F.cross_entropy(self.logits(batch), batch.labels, label_smoothing=label_smoothing)

    def embed(self, batch: Batch) -> Tensor:
        """Features `[b width]` of a batch of one modality."""
        return self.encoder.embed(batch)  # type: ignore[operator]

    def logits(self, batch: Batch) -> Tensor:
        """Class scores `[b num_classes]`."""
        features = self.embed(batch)
        with torch.autocast(features.device.type, enabled=False):
            return self.last(self.norm(features.float()))
