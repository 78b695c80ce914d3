"""Adam on batches of objects, and what it starts from and ends with."""

import dataclasses

import numpy as np
import pytest
import torch

from gsbench.core.types import Cameras, Views
from gsbench.reconstruct import fit
from gsbench.reconstruct.cuda.batch import fit_batch
from gsbench.reconstruct.cuda.hull import prepare, target_images
from gsbench.reconstruct.cuda.optimize import activated, optimize, slopes, to_raw
from gsbench.reconstruct.hull import visual_hull as cpu_hull
from gsbench.reconstruct.targets import target_planes, to_frame, unit_frame
from gsbench.render.splats import cpu as splats_cpu
from tests.render.splat_reference import FIELDS

from .conftest import RECIPE, SHORT, SIZE


def test_reaches_the_object_as_the_cpu_does(views, held_out, device, rasterize):
    (fitted,) = fit_batch([prepare(views, held_out, RECIPE, 0, device)], RECIPE, rasterize)
    on_cpu = fit(views, RECIPE, 0, held_out)
    assert fitted.psnr == pytest.approx(on_cpu.psnr, abs=0.2)
    assert fitted.ssim == pytest.approx(on_cpu.ssim, abs=0.01)
    for name in FIELDS:
        ours, theirs = getattr(fitted.gaussians, name), getattr(on_cpu.gaussians, name)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        # Adam takes a whole step wherever a gradient is nothing but rounding: most must agree, not all.
        assert np.mean(np.abs(ours - theirs) < 0.02) > 0.85, name


def test_colors_may_be_without_bands(views, held_out, device, rasterize):
    recipe = dataclasses.replace(SHORT, sh_degree=0, relocate_at=(0.5,))
    (fitted,) = fit_batch([prepare(views, held_out, recipe, 0, device)], recipe, rasterize)
    assert fitted.gaussians.sh.shape == (150, 1, 3)
    assert fitted.psnr > 14


def test_the_frame_is_that_of_the_views(views, held_out, device, rasterize):
    shift, size = np.array([3.0, -2.0, 5.0]), 4.0

    def moved(some: Views) -> Views:
        viewmats = some.cameras.viewmats.astype(np.float64)
        viewmats[:, :3, 3] = viewmats[:, :3, 3] * size - viewmats[:, :3, :3] @ shift
        cameras = Cameras(viewmats.astype(np.float32), some.cameras.Ks, some.cameras.width, some.cameras.height)
        return Views(some.rgba, cameras)

    batch = [prepare(views, held_out, RECIPE, 0, device), prepare(moved(views), moved(held_out), RECIPE, 0, device)]
    here, there = fit_batch(batch, RECIPE, rasterize)
    assert there.psnr == pytest.approx(here.psnr, abs=0.7)
    visible = there.gaussians.opacities > 0.3
    distances = np.linalg.norm(there.gaussians.means[visible] - shift, axis=1)
    assert 0.5 * size < np.median(distances) < 0.75 * size


def test_objects_of_a_batch_do_not_see_each_other(views, flat, held_out, device, rasterize):
    objects = [prepare(each, held_out, SHORT, seed, device) for each, seed in ((views, 0), (flat, 1), (views, 2))]
    together = optimize(objects, SHORT, rasterize)
    (alone,) = optimize(objects[1:2], SHORT, rasterize)
    if device.type == "cpu":
        for name in FIELDS:
            np.testing.assert_allclose(getattr(together[1], name), getattr(alone, name), atol=2e-3, err_msg=name)
    red, blue = (np.mean(together[1].sh[:, 0, channel]) for channel in (0, 2))
    assert red > 0.5 > -0.5 > blue
    assert not np.array_equal(together[0].means, together[2].means)


def test_objects_with_fewer_gaussians_are_padded(views, held_out, device, rasterize):
    few, many = (prepare(views, held_out, SHORT, seed, device) for seed in (0, 1))
    few = dataclasses.replace(few, start=few.start[:90])
    together = optimize([few, many], SHORT, rasterize)
    (alone,) = optimize([few], SHORT, rasterize)
    assert [len(each) for each in together] == [90, 150]
    if device.type == "cpu":
        for name in FIELDS:
            np.testing.assert_allclose(getattr(together[0], name), getattr(alone, name), atol=2e-3, err_msg=name)


def test_padding_is_invisible_and_stays_so(views, held_out, device, rasterize):
    start = prepare(views, held_out, RECIPE, 0, device).start
    raw, real = to_raw([start, start[:90]], device)
    assert real.sum(1).tolist() == [150, 90]
    camera = [torch.from_numpy(array[:1]).to(device)[None] for array in (views.cameras.viewmats, views.cameras.Ks)]
    white = torch.ones(3, device=device)
    padded = [tensor[1:] for tensor in activated(raw)]
    rgb, alpha = rasterize(*padded, *camera, SIZE, SIZE, white, False, 1)
    cut, _ = to_raw([start[:90]], device)
    expected, _ = rasterize(*activated(cut), *camera, SIZE, SIZE, white, False, 1)
    torch.testing.assert_close(rgb, expected)
    torch.autograd.backward([rgb, alpha], [torch.ones_like(rgb), torch.ones_like(alpha)])
    assert not any(tensor.grad[1, 90:].any() for tensor in raw.values())


@pytest.mark.parametrize("antialiased", [False, True])
def test_slopes_are_those_of_the_cpu_kernel(views, device, rasterize, antialiased):
    """From the loss through the rasterizer to the activated parameters, against the fused kernel."""
    recipe = dataclasses.replace(RECIPE, antialiased=antialiased)
    gaussians = cpu_hull.hull_gaussians(to_frame(views, *unit_frame(views)), recipe, np.random.default_rng(0))
    # Away from black, where a color's derivative is a matter of taste.
    gaussians.sh[:] = np.random.default_rng(1).normal(size=gaussians.sh.shape) * 0.2
    params, cameras = splats_cpu.pack(gaussians), views.cameras
    d_params, workspace = np.zeros_like(params), splats_cpu.Workspace(params.shape, SIZE, SIZE)
    workspace.project(params, splats_cpu.camera_vectors(cameras)[0], 1, antialiased)
    planes = target_planes(views, SIZE, 16)
    workspace.fit(params, np.ones(3, np.float32), planes[0], recipe.huber, recipe.alpha_weight, d_params)
    expected = splats_cpu.unpack(d_params, len(gaussians))
    scene = [torch.from_numpy(getattr(gaussians, name)).to(device)[None].requires_grad_() for name in FIELDS]
    camera = [torch.from_numpy(array[:1]).to(device)[None] for array in (cameras.viewmats, cameras.Ks)]
    rgb, alpha = rasterize(*scene, *camera, SIZE, SIZE, torch.ones(3, device=device), antialiased, 1)
    target = target_images(torch.from_numpy(views.rgba[:1]).to(device), 1)[None]
    torch.autograd.backward([rgb, alpha], slopes(rgb.detach(), alpha.detach(), target, recipe))
    for name, tensor in zip(FIELDS, scene, strict=True):
        theirs = getattr(expected, name)
        assert np.linalg.norm(tensor.grad[0].cpu().numpy() - theirs) < 2e-3 * np.linalg.norm(theirs), name
