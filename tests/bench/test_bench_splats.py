"""Milliseconds of the CPU rasterizer, forward and backward, beside dense torch."""

import numpy as np
import pytest
import torch

from gsbench.core.geometry import normalize_quats, rgb_to_dc
from gsbench.core.types import Gaussians
from gsbench.render.splats import cpu as splats_cpu
from tests.render.splat_reference import FIELDS, naive, rig

pytestmark = pytest.mark.slow

COUNT = 4096


def shell() -> Gaussians:
    """Discs on a sphere that just cover it: what a fitted object costs, front and back."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(COUNT, 3))
    means *= 0.8 / np.linalg.norm(means, axis=1, keepdims=True)
    fields = (
        means,
        normalize_quats(rng.normal(size=(COUNT, 4))),
        0.02 * np.exp(rng.normal(size=(COUNT, 3)) / 2),
        rng.uniform(0.2, 0.95, COUNT),
        rgb_to_dc(rng.random((COUNT, 1, 3))),
    )
    return Gaussians(*(field.astype(np.float32) for field in fields))


@pytest.mark.parametrize("size", [32, 224, 800])
def test_forward_and_backward(benchmark, size):
    gaussians, cameras = shell(), rig(2, size, size)
    params, camera = splats_cpu.pack(gaussians), splats_cpu.camera_vectors(cameras)[0]
    d_params, workspace = np.zeros_like(params), splats_cpu.Workspace(params.shape, size, size)
    planes = np.zeros((5, splats_cpu.padded(size), splats_cpu.padded(size)), np.float32)
    d_planes, white = np.ones_like(planes), np.ones(3, np.float32)

    def step():
        workspace.project(params, camera, 0, False)
        workspace.composite(white, planes)
        workspace.backward(params, white, d_planes, False, d_params)

    benchmark(step)
    assert np.isfinite(d_params).all()


@pytest.mark.parametrize("size", [224, 800])
def test_fused_fit_step(benchmark, size):
    gaussians, cameras = shell(), rig(2, size, size)
    params, camera = splats_cpu.pack(gaussians), splats_cpu.camera_vectors(cameras)[0]
    d_params, workspace = np.zeros_like(params), splats_cpu.Workspace(params.shape, size, size)
    target = np.zeros((4, splats_cpu.padded(size), splats_cpu.padded(size)), np.uint8)

    def step():
        workspace.project(params, camera, 0, False)
        workspace.fit(params, np.ones(3, np.float32), target, 0.05, 0.3, d_params)

    benchmark(step)
    assert np.isfinite(d_params).all()


def test_dense_torch_forward_and_backward(benchmark):
    """The same 4,096 Gaussians at 32x32, the most that dense compositing does in bearable time and memory."""
    gaussians, cameras = shell(), rig(2, 32, 32)
    scene = {name: torch.tensor(getattr(gaussians, name), requires_grad=True) for name in FIELDS}

    def step():
        rgb, _, _ = naive(scene, cameras[:1], (1.0, 1.0, 1.0), False, 0)
        rgb.sum().backward()

    benchmark.pedantic(step, rounds=3, iterations=1)
    assert torch.isfinite(scene["means"].grad).all()
