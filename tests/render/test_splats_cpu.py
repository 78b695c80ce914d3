"""The CPU rasterizer against a dense float64 composite on gsplat's torch code, and its gradients against autograd."""

import numpy as np
import pytest
import torch

from gsbench.core.types import Cameras, Gaussians
from gsbench.render.splats import cpu as splats_cpu
from gsbench.render.splats import rasterize

from .splat_reference import FIELDS, naive, random_gaussians, rig, tensors

BACKGROUNDS = [(1.0, 1.0, 1.0), (0.1, 0.6, 0.3)]


def compare_images(gaussians: Gaussians, cameras: Cameras, antialiased: bool, background: tuple, degree: int) -> None:
    rendered = rasterize(gaussians, cameras, background, antialiased, degree)
    rgb, alpha, depth = (
        image.detach().numpy() for image in naive(tensors(gaussians), cameras, background, antialiased, degree)
    )
    # float32 puts a few pixels on the other side of alpha 1/255 or of the stop: each may move by one such step.
    for ours, expected, step in ((rendered.rgb, rgb, 0.02), (rendered.alpha, alpha, 0.01)):
        assert np.abs(ours - expected).max() < step
        assert np.mean(np.abs(ours - expected) > 2e-5) < 2e-3
    solid = alpha > 0.05
    assert np.abs(rendered.depth - depth)[solid].max() < 0.02
    assert np.mean(np.abs(rendered.depth - depth)[solid] > 1e-4) < 5e-3


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("antialiased", [False, True])
def test_images_match_the_reference(degree, antialiased):
    compare_images(random_gaussians(150, degree), rig(3, 70, 45), antialiased, BACKGROUNDS[degree % 2], degree)


def test_lower_degree_leaves_higher_bands_out():
    gaussians, cameras = random_gaussians(40, 3), rig(2, 32, 32)
    truncated = Gaussians(*(getattr(gaussians, name) for name in FIELDS[:4]), gaussians.sh[:, :4])
    expected = rasterize(truncated, cameras)
    np.testing.assert_array_equal(rasterize(gaussians, cameras, sh_degree=1).rgb, expected.rgb)
    assert np.abs(rasterize(gaussians, cameras).rgb - expected.rgb).max() > 0.01


def test_hard_cases_match_the_reference():
    """Gaussians behind the camera, at the near plane, far outside; needles, huge, tiny, transparent; equal depths."""
    cameras = rig(2, 48, 48)
    gaussians = random_gaussians(64, 1, seed=3)
    center = -cameras.viewmats[0, :3, :3].T @ cameras.viewmats[0, :3, 3]
    gaussians.means[:8] = center * np.linspace(0.9, 1.1, 8)[:, None]
    gaussians.means[8:12] *= 20
    gaussians.scales[12:20] = [0.3, 1e-4, 1e-4]
    gaussians.scales[20:22] = 2.0
    gaussians.scales[22:26] = 1e-6
    gaussians.opacities[26:30] = [0, 1e-3, 1 / 255, 1.0]
    gaussians.means[30:40] = gaussians.means[30]
    compare_images(gaussians, cameras, False, (1.0, 1.0, 1.0), 1)
    compare_images(gaussians, cameras, True, (1.0, 1.0, 1.0), 1)


def test_nothing_in_view_is_background():
    gaussians, cameras = random_gaussians(5, 0), rig(1 + 1, 20, 36)
    gaussians.means[:] = 100
    rendered = rasterize(gaussians, cameras, (0.25, 0.5, 0.75))
    assert (rendered.rgb == np.float32([0.25, 0.5, 0.75])).all()
    assert not rendered.alpha.any()
    assert not rendered.depth.any()
    assert rendered.rgb.shape == (2, 36, 20, 3)


def analytic_gradients(gaussians, cameras, background, antialiased, degree, d_rgb, d_alpha, d_weighted_depth):
    params = splats_cpu.pack(gaussians)
    d_params = np.zeros_like(params)
    workspace = splats_cpu.Workspace(params.shape, cameras.width, cameras.height)
    color = np.float32(background)
    for view, camera in enumerate(splats_cpu.camera_vectors(cameras)):
        d_planes = np.zeros((5, splats_cpu.padded(cameras.height), splats_cpu.padded(cameras.width)), np.float32)
        parts = (*np.moveaxis(d_rgb[view], -1, 0), d_alpha[view], d_weighted_depth[view])
        d_planes[:, : cameras.height, : cameras.width] = np.stack(parts)
        workspace.project(params, camera, degree, antialiased)
        workspace.backward(params, color, d_planes, True, d_params)
    return splats_cpu.unpack(d_params, len(gaussians))


def assert_close_gradients(ours: Gaussians, scene: dict[str, torch.Tensor]) -> None:
    for name in FIELDS:
        mine, expected = getattr(ours, name).astype(np.float64), scene[name].grad.numpy()
        assert np.abs(expected).max() > 0, name
        error = np.linalg.norm(mine - expected) / np.linalg.norm(expected)
        assert error < 1e-3, f"{name}: relative error {error:.2e}"


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("antialiased", [False, True])
def test_gradients_match_autograd(degree, antialiased):
    gaussians, cameras = random_gaussians(100, degree, seed=degree), rig(2, 50, 37)
    background = BACKGROUNDS[degree % 2]
    rng = np.random.default_rng(degree)
    d_rgb, d_alpha, d_depth = (rng.normal(size=(2, 37, 50, *tail)).astype(np.float32) for tail in ((3,), (), ()))
    scene = tensors(gaussians)
    rgb, alpha, depth = naive(scene, cameras, background, antialiased, degree)
    upstream = [torch.from_numpy(array).double() for array in (d_rgb, d_alpha, d_depth)]
    # The reference's depth is expected depth: times alpha it is the sum that the kernels differentiate.
    ((rgb * upstream[0]).sum() + (alpha * upstream[1]).sum() + (depth * alpha * upstream[2]).sum()).backward()
    ours = analytic_gradients(gaussians, cameras, background, antialiased, degree, d_rgb, d_alpha, d_depth)
    assert_close_gradients(ours, scene)


@pytest.mark.parametrize(("antialiased", "low_pass"), [(False, 0.3), (True, 0.3), (False, 0.1)])
def test_fused_loss_matches_autograd(antialiased, low_pass):
    gaussians, cameras = random_gaussians(80, 1, seed=7), rig(2, 40, 56)
    rng = np.random.default_rng(1)
    target = rng.integers(0, 256, (4, 56, 40)).astype(np.uint8)
    padded = np.zeros((4, splats_cpu.padded(56), splats_cpu.padded(40)), np.uint8)
    padded[:, :56, :40] = target
    params = splats_cpu.pack(gaussians)
    d_params = np.zeros_like(params)
    workspace = splats_cpu.Workspace(params.shape, cameras.width, cameras.height)
    workspace.project(params, splats_cpu.camera_vectors(cameras, low_pass)[1], 1, antialiased)
    workspace.fit(params, np.ones(3, np.float32), padded, 0.05, 0.3, d_params)
    scene = tensors(gaussians)
    rgb, alpha, _ = naive(scene, cameras[1:], (1.0, 1.0, 1.0), antialiased, 1, low_pass)
    wanted = torch.from_numpy(target / 255.0)
    loss = torch.nn.functional.huber_loss(rgb[0], wanted[:3].permute(1, 2, 0), delta=0.05, reduction="sum") / 0.05
    (loss + 0.3 * (alpha[0] - wanted[3]).abs().sum()).backward()
    assert_close_gradients(splats_cpu.unpack(d_params, len(gaussians)), scene)


def test_gradients_add_up():
    gaussians, cameras = random_gaussians(30, 0), rig(2, 24, 24)
    ones, zeros = np.ones((2, 24, 24, 3), np.float32), np.zeros((2, 24, 24), np.float32)
    both = analytic_gradients(gaussians, cameras, (0.0, 0.0, 0.0), False, 0, ones, zeros, zeros)
    each = [
        analytic_gradients(gaussians, cameras[v : v + 1], (0.0, 0.0, 0.0), False, 0, ones, zeros, zeros) for v in (0, 1)
    ]
    np.testing.assert_allclose(both.means, each[0].means + each[1].means, rtol=1e-4, atol=1e-3)


def test_images_are_deterministic():
    gaussians, cameras = random_gaussians(200, 2), rig(2, 64, 64)
    first, second = rasterize(gaussians, cameras), rasterize(gaussians, cameras)
    assert first.rgb.tobytes() == second.rgb.tobytes()


def test_pack_round_trip():
    gaussians = random_gaussians(21, 2)
    params = splats_cpu.pack(gaussians)
    assert params.shape == (11 + 27, 48)
    assert not params[:, 21:].any()
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(splats_cpu.unpack(params, 21), name), getattr(gaussians, name))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "device: 'tpu', allowed 'cpu' or 'cuda'"),
        ({"sh_degree": 2}, "sh_degree: 2, allowed 0 to 1"),
        ({"background": (1.0, 1.0)}, "background: .* three numbers"),
    ],
)
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        rasterize(random_gaussians(4, 1), rig(2, 16, 16), **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_a_gpu_says_so():
    with pytest.raises(ValueError, match=r"needs an NVIDIA GPU .* use device 'cpu'"):
        rasterize(random_gaussians(4, 1), rig(2, 16, 16), device="cuda")
