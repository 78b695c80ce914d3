"""Objects, devices and rasterizers for the tests of the CUDA fit.

Each test that takes `device` runs on CPU tensors with a plain rasterizer, and on CUDA, marked `gpu`, with gsplat.
"""

import dataclasses

import numpy as np
import pytest
import torch

from gsbench.core.types import Views
from gsbench.reconstruct import FitRecipe, Stage
from gsbench.render.splats.cuda import rasterize_tensors
from tests.reconstruct.test_fit import ball
from tests.render.splat_reference import dense

RECIPE = FitRecipe((Stage(16, 12), Stage(32, 15)), num_gaussians=150, sh_degree=1, hull_resolution=24)
SHORT = dataclasses.replace(RECIPE, stages=(Stage(16, 8), Stage(32, 2)))
SIZE = 32


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture
def rasterize(device: torch.device):
    return rasterize_tensors if device.type == "cuda" else dense


@pytest.fixture(scope="module")
def views() -> Views:
    return ball(12, SIZE)


@pytest.fixture(scope="module")
def held_out() -> Views:
    return ball(12, SIZE, phase=0.5)[[2, 5, 8]]


@pytest.fixture(scope="module")
def flat(views: Views) -> Views:
    """The same ball, red all over."""
    rgba = views.rgba.copy()
    rgba[..., :3] = np.where(rgba[..., 3:] > 0, np.array([255, 0, 0], np.uint8), 0)
    return Views(rgba, views.cameras)
