"""The same networks written plainly, with the parameters of a given model: what the fast ones are checked by.

Each layer is a linear map, batch norm and ReLU over all rows, in the dtype of the model's parameters; neighborhoods
are found by comparing all distances.
"""

import torch
import torch.nn.functional as F
from gsbench_baselines.pointnet2.model import Scale
from torch import Tensor, nn

from gsbench.core.types import Batch


def normalize(z: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    running = (None, None) if norm.training else (norm.running_mean, norm.running_var)
    return F.batch_norm(z, *running, norm.weight, norm.bias, training=norm.training, eps=norm.eps)


def layer(rows: Tensor, linear: nn.Linear, norm: nn.BatchNorm1d) -> Tensor:
    return normalize(linear(rows), norm)


def segment_max(rows: Tensor, counts: list[int]) -> Tensor:
    return torch.stack([part.amax(0) for part in rows.split(counts)])


def perceptron(rows: Tensor, module: nn.Module, counts: list[int]) -> Tensor:
    """All layers with ReLU, then the maximum over sets of `counts` rows."""
    for linear, norm in zip(module.layers, module.norms, strict=True):
        rows = layer(rows, linear, norm).relu()
    return segment_max(rows, counts)


def sets_of(batch: Batch) -> list[Tensor]:
    return [points[mask] for points, mask in zip(batch.points, batch.mask, strict=True)]


def pointnet(model: nn.Module, batch: Batch) -> Tensor:
    """PointNet's pooled features."""
    sets = sets_of(batch)
    counts = [len(points) for points in sets]

    def transform(rows: Tensor, net: nn.Module) -> Tensor:
        pooled = perceptron(rows, net.trunk, counts)
        return net.head.last(net.head.hidden(pooled)).view(-1, net.size, net.size) + torch.eye(
            net.size, dtype=rows.dtype
        )

    def apply(rows: Tensor, maps: Tensor) -> Tensor:
        return torch.cat([part @ own for part, own in zip(rows.split(counts), maps, strict=True)])

    rows, trunk = torch.cat(sets), model.trunk
    positions = apply(rows[:, :3], transform(rows, model.input_transform))
    rows = layer(torch.cat([positions, rows[:, 3:]], 1), trunk.layers[0], trunk.norms[0]).relu()
    rows = apply(rows, transform(rows, model.feature_transform))
    rows = layer(rows, trunk.layers[1], trunk.norms[1]).relu()
    return segment_max(layer(rows, trunk.layers[2], trunk.norms[2]), counts)


def furthest(points: Tensor, count: int) -> list[int]:
    chosen = [0]
    nearest = torch.full((len(points),), torch.inf)
    for _ in range(min(count, len(points)) - 1):
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).square().sum(1))
        chosen.append(int(nearest.argmax()))
    return chosen


def ball(points: Tensor, center: Tensor, scale: Scale) -> Tensor:
    inside = ((points - center).square().sum(1) <= scale.radius**2).nonzero()[:, 0]
    return inside[: scale.limit]


def pointnet2(model: nn.Module, batch: Batch) -> Tensor:
    """PointNet++'s features of the whole set."""
    sets = [(points[:, :3], points[:, 3:]) for points in sets_of(batch)]
    for module in (model.first, model.second):
        chosen = [furthest(positions.float(), module.level.centers) for positions, _ in sets]
        outputs = []
        for net, scale in zip(module.scales, module.level.scales, strict=True):
            rows, counts = [], []
            for (positions, features), centers in zip(sets, chosen, strict=True):
                for center in centers:
                    near = ball(positions.float(), positions[center].float(), scale)
                    rows.append(torch.cat([positions[near] - positions[center], features[near]], 1))
                    counts.append(len(near))
            outputs.append(perceptron(torch.cat(rows), net, counts))
        pooled = torch.cat(outputs, 1).split([len(centers) for centers in chosen])
        sets = [(p[centers], f) for (p, _), centers, f in zip(sets, chosen, pooled, strict=True)]
    rows = torch.cat([torch.cat(pair, 1) for pair in sets])
    return perceptron(rows, model.last, [len(positions) for positions, _ in sets])
