"""PointNet (Qi et al. 2017, arXiv 1612.00593): a perceptron shared by all points, a maximum, a classifier.

The widths are those of the common PyTorch version (3,463,763 parameters at xyz and ten classes), which has one
64-channel layer where the paper's first version had two. Dropout, the regulariser and the identity start of the
transforms follow the authors' repository, charlesq34/pointnet.
"""

import itertools
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from gsbench_baselines.fused_mlp import Activations, activation_dtype, flatten, linear, pool
from gsbench_baselines.heads import Head
from torch import Tensor, nn

from gsbench.core.parsing import InputError
from gsbench.core.types import Batch


class _Trunk(nn.Module):
    """The perceptron shared by all points, 64-128-`width`."""

    def __init__(self, in_channels: int, width: int = 1024) -> None:
        super().__init__()
        widths = (64, 128, width)
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise((in_channels, *widths)))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths)

    def first(self, rows: Activations, offsets: Sequence[int], transforms: Tensor | None = None) -> Activations:
        """The first layer, behind a linear map of each set's rows: `[s i i]`, row vectors from the left."""
        return linear(rows, self.layers[0], self.norms[0], offsets, _fold(self.layers[0], transforms))  # type: ignore[arg-type]

    def rest(self, rows: Activations, offsets: Sequence[int], transforms: Tensor | None = None) -> Tensor:
        """The other two layers, the first of them behind a map of each set's rows, and the maximum: `[s width]`."""
        rows = linear(rows, self.layers[1], self.norms[1], offsets, _fold(self.layers[1], transforms))  # type: ignore[arg-type]
        return pool(rows, self.layers[2], self.norms[2], torch.tensor(offsets))


def _fold(layer: nn.Linear, transforms: Tensor | None) -> Tensor | None:
    """The weights `[s o i]` of a layer behind row-vector maps `[s i i]`: (x T) W^T = x (W T^T)^T."""
    return None if transforms is None else layer.weight @ transforms.mT


class _Transform(nn.Module):
    """A T-Net: predicts a map of `size` channels from all points; it starts as the identity."""

    def __init__(self, in_channels: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.trunk = _Trunk(in_channels)
        self.head = Head(1024, (512, 256), size * size)
        nn.init.zeros_(self.head.last.weight)
        nn.init.zeros_(self.head.last.bias)

    def forward(self, rows: Activations, offsets: Sequence[int]) -> Tensor:
        """The map `[s size size]` of each set of rows `[r i]`."""
        features = self.trunk.rest(self.trunk.first(rows, offsets), offsets).relu()
        return self.head(features).view(-1, self.size, self.size) + torch.eye(self.size, device=features.device)


class PointNetEncoder(nn.Module):
    """PointNet up to its pooled features, with both transforms.

    Args:
        in_channels: channels of a point; the first three are positions, and the input transform maps only those.
        width: channels of the features.
    """

    def __init__(self, in_channels: int, width: int = 1024) -> None:
        super().__init__()
        self.input_transform = _Transform(in_channels, 3)
        self.feature_transform = _Transform(64, 64)
        self.trunk = _Trunk(in_channels, width)

    def embed(self, batch: Batch) -> Tensor:
        """The pooled features `[b width]`."""
        return self._features(batch)[0]

    def _features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The pooled features, and half the squared norm of A A^T - I over the batch's feature transforms A."""
        points, offsets = flatten(batch)
        with activation_dtype(points.device) as dtype:
            rows = Activations(points, dtype)
            positions = self.input_transform(rows, offsets)
            first = self.trunk.first(rows, offsets, _extend(positions, points.shape[1]))
            transform = self.feature_transform(first, offsets)
            excess = transform @ transform.mT - torch.eye(transform.shape[-1], device=points.device)
            return self.trunk.rest(first, offsets, transform), 0.5 * excess.square().sum()


class Vanilla(nn.Module):
    """PointNet up to its pooled features, without transforms: what the paper calls the vanilla version.

    Args:
        in_channels: channels of a point.
        width: channels of the features.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.trunk = _Trunk(in_channels, width)

    def embed(self, batch: Batch) -> Tensor:
        """The pooled features `[b width]`."""
        points, offsets = flatten(batch)
        with activation_dtype(points.device) as dtype:
            return self.trunk.rest(self.trunk.first(Activations(points, dtype), offsets), offsets)


class PointNet(PointNetEncoder):
    """PointNet's classifier.

    Args:
        in_channels: channels of a point; the first three are positions, and the input transform maps only those.
        num_classes: number of classes.
        dropout: share of the classifier's features that are dropped after each hidden layer.
        regularizer: factor of half the squared Frobenius norm of A A^T - I, summed over the batch, where A is the
            feature transform.
    """

    inputs: ClassVar[tuple[str, ...]] = ("points", "gaussians")

    def __init__(self, in_channels: int, num_classes: int, dropout: float = 0.3, regularizer: float = 0.001) -> None:
        if not 0 <= dropout < 1:
            raise InputError(f"dropout is {dropout} (allowed: 0 up to, not including, 1)")
        super().__init__(in_channels)
        self.regularizer = regularizer
        self.head = Head(1024, (512, 256), num_classes, dropout)

    def loss(self, batch: Batch, label_smoothing: float) -> Tensor:
        """Cross-entropy, plus the penalty that keeps the feature transform near orthogonal."""
        features, penalty = self._features(batch)
        entropy = F.cross_entropy(self.head(features), batch.labels, label_smoothing=label_smoothing)
        return entropy + self.regularizer * penalty

    def logits(self, batch: Batch) -> Tensor:
        """Class scores `[b c]`."""
        return self.head(self.embed(batch))


def _extend(positions: Tensor, channels: int) -> Tensor:
    """Maps `[s 3 3]` of positions as maps `[s channels channels]` that leave the other channels alone."""
    return F.pad(positions, (0, channels - 3, 0, channels - 3)) + torch.diag(
        (torch.arange(channels, device=positions.device) >= 3).float()
    )
