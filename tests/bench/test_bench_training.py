"""A training step of PointNet and PointNet++ on 1,024 points, beside the usual formulation in torch modules.

The usual one keeps every activation: 1x1 convolutions, batch norm and ReLU over `[b c k s]`, in float32, with
neighborhoods filled up by copies.
"""

import itertools
import math

import pytest
import torch
from gsbench_baselines.pointnet2.model import GROUPINGS
from torch import nn

from gsbench.core.baseline import build_model, find_recipe
from gsbench.core.environment import keep_freed_memory
from gsbench.core.types import Batch
from gsbench.learn.augment import augment
from gsbench.learn.precision import resolve_precision

pytestmark = pytest.mark.slow

CPU, POINTS, BATCH = torch.device("cpu"), 1024, 24


def shells() -> Batch:
    """Noisy spheres, in furthest-point order as nearly as random points are."""
    points = nn.functional.normalize(torch.randn(BATCH, POINTS, 3, generator=torch.Generator().manual_seed(0)), dim=2)
    labels = torch.arange(BATCH) % 10
    return Batch(tuple(map(str, range(BATCH))), labels, points, torch.ones(BATCH, POINTS, dtype=torch.bool))


def convolutions(channels: list[int], kind: type, norm: type) -> nn.Sequential:
    pairs = itertools.pairwise(channels)
    return nn.Sequential(*(part for i, o in pairs for part in (kind(i, o, 1), norm(o), nn.ReLU())))


def head(outputs: int) -> nn.Sequential:
    hidden = ((1024, 512), (512, 256))
    layers = [part for i, o in hidden for part in (nn.Linear(i, o), nn.BatchNorm1d(o), nn.ReLU(), nn.Dropout(0.3))]
    return nn.Sequential(*layers, nn.Linear(256, outputs))


class UsualPointNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(convolutions([i, 64, 128, 1024], nn.Conv1d, nn.BatchNorm1d) for i in (3, 64, 3))
        self.heads = nn.ModuleList(head(outputs) for outputs in (9, 64 * 64, 10))

    def loss(self, batch: Batch, label_smoothing: float) -> torch.Tensor:
        x = batch.points.mT
        positions = self.heads[0](self.trunks[0](x).amax(2)).view(-1, 3, 3) + torch.eye(3)
        x = self.trunks[2][:3](positions.mT @ x)
        features = self.heads[1](self.trunks[1](x).amax(2)).view(-1, 64, 64) + torch.eye(64)
        scores = self.heads[2](self.trunks[2][3:](features.mT @ x).amax(2))
        excess = features @ features.mT - torch.eye(64)
        return nn.functional.cross_entropy(scores, batch.labels) + 0.0005 * excess.square().sum()


class UsualPointNet2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.levels, channels = [(level.centers, level.scales[0]) for level in GROUPINGS["ssg"]], 0
        self.nets = nn.ModuleList()
        for _, scale in self.levels:
            self.nets.append(convolutions([3 + channels, *scale.widths], nn.Conv2d, nn.BatchNorm2d))
            channels = scale.widths[-1]
        self.last = convolutions([3 + channels, 256, 512, 1024], nn.Conv1d, nn.BatchNorm1d)
        self.head = head(10)

    def loss(self, batch: Batch, label_smoothing: float) -> torch.Tensor:
        x, features = batch.points, None
        every = torch.arange(len(x))[:, None]
        for (count, scale), net in zip(self.levels, self.nets, strict=True):
            centers = x[every, self.furthest(x, count)]
            distances = (centers[:, :, None] - x[:, None]).square().sum(3)
            index = torch.where(distances <= scale.radius**2, torch.arange(x.shape[1]), x.shape[1])
            index = index.sort(2).values[:, :, : scale.limit]
            index = torch.where(index == x.shape[1], index[:, :, :1], index)
            grouped = x[every[:, :, None], index] - centers[:, :, None]
            if features is not None:
                grouped = torch.cat([grouped, features[every[:, :, None], index]], 3)
            x, features = centers, net(grouped.permute(0, 3, 2, 1)).amax(2).mT
        scores = self.head(self.last(torch.cat([x, features], 2).mT).amax(2))
        return nn.functional.cross_entropy(scores, batch.labels, label_smoothing=label_smoothing)

    def furthest(self, x: torch.Tensor, count: int) -> torch.Tensor:
        every, nearest, last = torch.arange(len(x)), torch.full(x.shape[:2], torch.inf), torch.zeros(len(x)).long()
        chosen = []
        for _ in range(count):
            chosen.append(last)
            nearest = torch.minimum(nearest, (x - x[every, last][:, None]).square().sum(2))
            last = nearest.argmax(1)
        return torch.stack(chosen, 1)


def stepper(model: nn.Module, precision: str, recipe_name: str, removes_points: bool):
    """A function that takes one training step, augmentation and optimizer included."""
    recipe, _ = find_recipe(recipe_name)
    keep_freed_memory()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=1e-4, fused=True)
    batch, generator = shells(), torch.Generator().manual_seed(0)

    def step() -> float:
        changed = augment(batch, recipe.augment, generator)
        if not removes_points:  # the usual formulation keeps their place, filled with the first point
            points = torch.where(changed.mask[..., None], changed.points, changed.points[:, :1])
            changed = Batch(batch.ids, batch.labels, points, batch.mask)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model.loss(changed, 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


@pytest.mark.parametrize("usual", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["gsbench", "usual"])
@pytest.mark.parametrize("name", ["pointnet", "pointnet++"])
def test_step(benchmark, name, usual):
    torch.manual_seed(0)
    if usual:
        model, precision = UsualPointNet() if name == "pointnet" else UsualPointNet2(), "fp32"
    else:
        model, precision = build_model(*find_recipe(name), 3, 10), resolve_precision("auto", CPU)
    step = stepper(model, precision, name, removes_points=not usual)
    step()
    loss = benchmark.pedantic(step, rounds=5, warmup_rounds=1)
    assert math.isfinite(loss)
