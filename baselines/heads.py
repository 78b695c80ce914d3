"""The classifier of the point baselines: hidden layers with batch norm, ReLU and dropout, then a linear one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """Linear, batch norm, ReLU, dropout for each hidden width, then linear.

    Args:
        in_channels: channels of the features.
        hidden: widths of the hidden layers.
        out_channels: outputs.
        dropout: share of features dropped after each hidden layer.
    """

    def __init__(self, in_channels: int, hidden: Sequence[int], out_channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(in_channels, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]
            in_channels = width
        self.hidden = nn.Sequential(*layers)
        self.last = nn.Linear(in_channels, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Outputs `[b out_channels]` of features `[b in_channels]`, in float32 also under autocast.

        A batch is a few dozen rows: converting the weights would take longer than the products.
        """
        with torch.autocast(features.device.type, enabled=False):
            return self.last(self.hidden(features.float()))
