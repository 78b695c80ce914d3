"""PointNet++ (Qi et al. 2017, arXiv 1706.02413): PointNet on neighborhoods, and on neighborhoods of those.

Single-scale (`ssg`) and multi-scale grouping (`msg`), with the widths, radii and limits of the paper's ModelNet
classifiers (charlesq34/pointnet2).
"""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from gsbench_baselines.fused_mlp import Activations, activation_dtype, difference, flatten, linear, pool
from gsbench_baselines.heads import Head
from gsbench_baselines.pointnet2.neighbors import choose_centers, find_neighbors
from torch import Tensor, nn

from gsbench.core.parsing import InputError
from gsbench.core.types import Batch


@dataclass(frozen=True, slots=True)
class Scale:
    """One neighborhood size: its radius, the most neighbors, and the widths of its perceptron."""

    radius: float
    limit: int
    widths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """One set abstraction: the number of centers, and the scales around each."""

    centers: int
    scales: tuple[Scale, ...]

    def times(self, mult: float) -> "Level":
        """With so many times the centers, and the neighbors around each."""
        scales = tuple(dataclasses.replace(scale, limit=max(1, round(mult * scale.limit))) for scale in self.scales)
        return Level(max(1, round(mult * self.centers)), scales)


GROUPINGS = {
    "ssg": (
        Level(512, (Scale(0.2, 32, (64, 64, 128)),)),
        Level(128, (Scale(0.4, 64, (128, 128, 256)),)),
    ),
    "msg": (
        Level(512, (Scale(0.1, 16, (32, 32, 64)), Scale(0.2, 32, (64, 64, 128)), Scale(0.4, 128, (64, 96, 128)))),
        Level(128, (Scale(0.2, 32, (64, 64, 128)), Scale(0.4, 64, (128, 128, 256)), Scale(0.8, 128, (128, 128, 256)))),
    ),
}


@dataclass(frozen=True, slots=True)
class PointSets:
    """The sets at one level: positions `[r 3]`, features `[r c]` or None, and where each set begins."""

    positions: Tensor
    features: Tensor | None
    offsets: tuple[int, ...]


class _Perceptron(nn.Module):
    """Layers shared by all rows; the last one's maximum is taken over each set."""

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        channels = (in_channels, *widths)
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise(channels))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths)

    def around(
        self, points: PointSets, centers: Tensor, starts: Sequence[int], scale: Scale, dtype: torch.dtype
    ) -> Tensor:
        """Features `[m o]` of the neighborhoods around `centers` (rows of `points`)."""
        pairs = find_neighbors(points.positions, points.offsets, centers, starts, scale.radius, scale.limit)
        first = self.layers[0]
        # W (x_j - c_i, f_j) = W (x_j, f_j) - W_x c_i: one product a point in place of one a pair.
        at_points = F.linear(_channels(points), first.weight)  # type: ignore[arg-type]
        at_centers = F.linear(points.positions[centers], first.weight[:, :3])  # type: ignore[index]
        rows = difference(at_points, at_centers, pairs, first, self.norms[0], dtype)
        for layer, norm in zip(self.layers[1:-1], self.norms[1:-1], strict=True):
            rows = linear(rows, layer, norm, ())
        return pool(rows, self.layers[-1], self.norms[-1], pairs.starts).relu()

    def over_all(self, points: PointSets, dtype: torch.dtype) -> Tensor:
        """Features `[s o]` of whole sets."""
        rows = Activations(_channels(points), dtype)
        for layer, norm in zip(self.layers[:-1], self.norms[:-1], strict=True):
            rows = linear(rows, layer, norm, ())
        return pool(rows, self.layers[-1], self.norms[-1], torch.tensor(points.offsets)).relu()


class _Abstraction(nn.Module):
    """One level: every scale's features around the level's centers, side by side."""

    def __init__(self, in_channels: int, level: Level) -> None:
        super().__init__()
        self.level = level
        self.scales = nn.ModuleList(_Perceptron(3 + in_channels, scale.widths) for scale in level.scales)
        self.out_channels = sum(scale.widths[-1] for scale in level.scales)

    def forward(self, points: PointSets, dtype: torch.dtype) -> PointSets:
        centers, starts = choose_centers(points.positions, points.offsets, self.level.centers)
        features = [
            perceptron.around(points, centers, starts, scale, dtype)  # type: ignore[operator]
            for perceptron, scale in zip(self.scales, self.level.scales, strict=True)
        ]
        return PointSets(points.positions[centers], torch.cat(features, 1), starts)


class PointNet2Encoder(nn.Module):
    """PointNet++ up to the features of the whole set: two set abstractions and one over what is left.

    Args:
        in_channels: channels of a point; the first three are positions.
        grouping: `ssg`, one neighborhood size a level, or `msg`, three.
        widths: of the last abstraction's layers.
        points_mult: centers and neighbors of each level as a multiple of the paper's, which are for 1,024 points.
    """

    def __init__(
        self, in_channels: int, grouping: str, widths: Sequence[int] = (256, 512, 1024), points_mult: float = 1.0
    ) -> None:
        super().__init__()
        if grouping not in GROUPINGS:
            raise InputError(f"grouping is '{grouping}' (allowed: {', '.join(GROUPINGS)})")
        if not 0 < points_mult <= 1:
            raise InputError(f"points_mult is {points_mult} (allowed: above 0, up to 1)")
        first, second = (level.times(points_mult) for level in GROUPINGS[grouping])
        self.first = _Abstraction(in_channels - 3, first)
        self.second = _Abstraction(self.first.out_channels, second)
        self.last = _Perceptron(3 + self.second.out_channels, widths)

    def embed(self, batch: Batch) -> Tensor:
        """The features of the whole set `[b d]`, as many as the last width."""
        rows, offsets = flatten(batch)
        features = rows[:, 3:] if rows.shape[1] > 3 else None
        points = PointSets(rows[:, :3].contiguous(), features, offsets)
        with activation_dtype(rows.device) as dtype:
            return self.last.over_all(self.second(self.first(points, dtype), dtype), dtype)


class PointNet2(PointNet2Encoder):
    """PointNet++'s classifier.

    Args:
        in_channels: channels of a point; the first three are positions.
        num_classes: number of classes.
        grouping: `ssg`, one neighborhood size a level, or `msg`, three.
        dropout: share of the classifier's features that are dropped after each hidden layer.
        points_mult: as in `PointNet2Encoder`.
    """

    inputs: ClassVar[tuple[str, ...]] = ("points", "gaussians")

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        grouping: str = "ssg",
        dropout: float = 0.5,
        points_mult: float = 1.0,
    ) -> None:
        if not 0 <= dropout < 1:
            raise InputError(f"dropout is {dropout} (allowed: 0 up to, not including, 1)")
        super().__init__(in_channels, grouping, points_mult=points_mult)
        self.head = Head(1024, (512, 256), num_classes, dropout)

    def loss(self, batch: Batch, label_smoothing: float) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(self.logits(batch), batch.labels, label_smoothing=label_smoothing)

    def logits(self, batch: Batch) -> Tensor:
        """Class scores `[b c]`."""
        return self.head(self.embed(batch))


def _channels(points: PointSets) -> Tensor:
    return points.positions if points.features is None else torch.cat([points.positions, points.features], 1)
