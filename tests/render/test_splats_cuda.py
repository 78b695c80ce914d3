"""The CUDA rasterizer against the CPU one, in images and gradients."""

import numpy as np
import pytest
import torch

from gsbench.render.splats import cpu as splats_cpu
from gsbench.render.splats import cuda as splats_cuda
from gsbench.render.splats import rasterize

from .splat_reference import FIELDS, random_gaussians, rig

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("antialiased", [False, True])
def test_images_match_the_cpu(degree, antialiased):
    gaussians, cameras = random_gaussians(300, degree), rig(3, 90, 70)
    options = {"background": (0.2, 0.5, 0.9), "antialiased": antialiased, "sh_degree": degree}
    on_cpu, on_cuda = (rasterize(gaussians, cameras, device=device, **options) for device in ("cpu", "cuda"))
    for name, step in (("rgb", 0.02), ("alpha", 0.01)):
        difference = np.abs(getattr(on_cpu, name) - getattr(on_cuda, name))
        assert difference.max() < step
        assert np.mean(difference > 2e-5) < 5e-3
    solid = on_cpu.alpha > 0.05
    assert np.mean(np.abs(on_cpu.depth - on_cuda.depth)[solid] > 1e-4) < 5e-3


@pytest.mark.parametrize("antialiased", [False, True])
def test_gradients_match_the_cpu(antialiased):
    gaussians, cameras = random_gaussians(200, 3), rig(2, 64, 48)
    d_rgb = np.random.default_rng(0).normal(size=(48, 64, 3)).astype(np.float32)
    params = splats_cpu.pack(gaussians)
    d_params = np.zeros_like(params)
    d_planes = np.zeros((5, 48, 64), np.float32)
    d_planes[:3] = np.moveaxis(d_rgb, -1, 0)
    workspace = splats_cpu.Workspace(params.shape, 64, 48)
    workspace.project(params, splats_cpu.camera_vectors(cameras)[0], 3, antialiased)
    workspace.backward(params, np.ones(3, np.float32), d_planes, False, d_params)
    ours = splats_cpu.unpack(d_params, len(gaussians))
    scene = [torch.from_numpy(getattr(gaussians, name)).cuda()[None].requires_grad_() for name in FIELDS]
    camera = [torch.from_numpy(array[:1]).cuda()[None] for array in (cameras.viewmats, cameras.Ks)]
    rgb, _ = splats_cuda.rasterize_tensors(*scene, *camera, 64, 48, torch.ones(3).cuda(), antialiased, 3)
    (rgb[0, 0] * torch.from_numpy(d_rgb).cuda()).sum().backward()
    for name, tensor in zip(FIELDS, scene, strict=True):
        expected = tensor.grad[0].cpu().numpy()
        assert np.linalg.norm(getattr(ours, name) - expected) < 1e-3 * np.linalg.norm(expected), name


def test_a_batch_is_its_scenes():
    """Two scenes of two cameras each in one call, against each alone, colors of all bands over a background."""
    scenes, cameras = [random_gaussians(150, 3, seed) for seed in (0, 1)], rig(2, 90, 70)
    batch = [torch.from_numpy(np.stack([getattr(each, name) for each in scenes])).cuda() for name in FIELDS]
    views = [torch.from_numpy(np.stack([array] * 2)).cuda() for array in (cameras.viewmats, cameras.Ks)]
    background = torch.tensor([0.2, 0.5, 0.9]).cuda()
    rgb, alpha = splats_cuda.rasterize_tensors(*batch, *views, 90, 70, background, False, 3)
    for place, scene in enumerate(scenes):
        alone = rasterize(scene, cameras, (0.2, 0.5, 0.9), device="cuda")
        np.testing.assert_allclose(rgb[place].cpu().numpy(), alone.rgb, atol=1e-4)
        np.testing.assert_allclose(alpha[place].cpu().numpy(), alone.alpha, atol=1e-5)
