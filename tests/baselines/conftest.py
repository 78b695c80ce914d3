"""Models with every parameter and running statistic away from its start, and batches of sets of unequal size."""

import pytest
import torch
from gsbench_baselines.pointnet.model import PointNet
from gsbench_baselines.pointnet2.model import PointNet2
from torch import nn

from gsbench.core.types import Batch


def unsettle(model: nn.Module) -> nn.Module:
    """Draws what starts at 0 or 1: batch norms, of which half get a negative scale, and the transforms' last layers."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, -1, 1)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    for name, module in model.named_modules():
        if name.endswith("transform.head.last"):
            nn.init.normal_(module.weight, std=0.02)
    return model


def make_batch(objects: int = 4, most: int = 200, channels: int = 3, seed: int = 0) -> Batch:
    """Random points with about a third of them masked out, from one object to the next."""
    generator = torch.Generator().manual_seed(seed)
    points = 0.4 * torch.randn(objects, most, channels, generator=generator)
    mask = torch.rand(objects, most, generator=generator) > torch.rand(objects, 1, generator=generator) * 0.6
    labels = torch.randint(10, (objects,), generator=generator)
    return Batch(tuple(f"object_{i}" for i in range(objects)), labels, points, mask)


MODELS = {
    "pointnet": lambda channels: PointNet(channels, 10),
    "ssg": lambda channels: PointNet2(channels, 10, grouping="ssg"),
    "msg": lambda channels: PointNet2(channels, 10, grouping="msg"),
}


@pytest.fixture(params=sorted(MODELS))
def build(request: pytest.FixtureRequest):
    """A function from a number of channels to a model in evaluation mode, for each architecture."""

    def make(channels: int = 3) -> nn.Module:
        torch.manual_seed(0)
        return unsettle(MODELS[request.param](channels)).eval()

    return make
