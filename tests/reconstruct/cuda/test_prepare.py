"""Hull, targets, views and scores on a device, against those of the CPU."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from gsbench.core.image_metrics import psnr, ssim
from gsbench.core.types import Cameras, Views
from gsbench.reconstruct import Stage, fit
from gsbench.reconstruct.cuda import batch, hull
from gsbench.reconstruct.cuda.batch import fit_batch
from gsbench.reconstruct.cuda.hull import prepare, target_images
from gsbench.reconstruct.hull import cpu
from gsbench.reconstruct.hull import visual_hull as cpu_hull
from gsbench.reconstruct.targets import target_planes
from gsbench.render.splats import cpu as splats_cpu
from tests.reconstruct.test_fit import ball
from tests.render.splat_reference import FIELDS

from .conftest import RECIPE, SIZE


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("noisy", [False, True])
def test_targets_are_those_of_the_cpu(views, device, factor, noisy):
    rgba = views.rgba
    if noisy:
        rgba = np.random.default_rng(0).integers(0, 256, rgba.shape).astype(np.uint8)
        rgba[0, :9] = 0
    images = target_images(torch.from_numpy(rgba).to(device), factor).cpu().numpy()
    planes = target_planes(Views(rgba, views.cameras), SIZE // factor)
    np.testing.assert_array_equal(images, np.moveaxis(planes, 1, -1))


def enlarged(views: Views, factor: int) -> Views:
    """The same images in pixels of which `factor`^2 make one."""
    rgba = views.rgba.repeat(factor, 1).repeat(factor, 2)
    Ks = (views.cameras.Ks * np.array([[factor], [factor], [1]])).astype(np.float32)
    return Views(rgba, Cameras(views.cameras.viewmats, Ks, rgba.shape[2], rgba.shape[1]))


@pytest.mark.parametrize(("count", "size", "factor"), [(12, SIZE, 1), (12, SIZE, 7), (8, 33, 13)])
def test_hull_is_that_of_the_cpu(device, count, size, factor):
    some = enlarged(ball(count, size), factor)
    vectors = splats_cpu.camera_vectors(some.cameras)
    masks = cpu_hull._silhouettes(some, np.arange(count), vectors)
    origin, voxel, occupied = cpu_hull._carve(*masks, 40)
    ours = hull.carve(torch.from_numpy(some.rgba).to(device), some.cameras, 40)
    np.testing.assert_array_equal(ours[0], origin)
    assert ours[1] == voxel
    # A center that falls on a pixel's edge may go either way.
    assert np.sum(ours[2].cpu().numpy() != occupied) <= 1e-4 * occupied.sum()
    expected = cpu_hull.hull_gaussians(some, RECIPE, np.random.default_rng(0))
    found = hull.hull_gaussians(torch.from_numpy(some.rgba).to(device), some.cameras, RECIPE, np.random.default_rng(0))
    if np.array_equal(ours[2].cpu().numpy(), occupied):
        for name in FIELDS:
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-5, err_msg=name)


def test_views_without_a_common_point_are_refused(views, held_out, device):
    with pytest.raises(ValueError, match="silhouettes have no point in common"):
        prepare(Views(np.zeros_like(views.rgba), views.cameras), held_out, RECIPE, 0, device)


def test_preparing_refuses_what_the_cpu_refuses(views, held_out, device):
    with pytest.raises(ValueError, match="views: 1 given"):
        prepare(views[:1], held_out, RECIPE, 0, device)
    with pytest.raises(ValueError, match="resolution 24 does not divide views of 32x32"):
        prepare(views, held_out, dataclasses.replace(RECIPE, stages=(Stage(24, 1),)), 0, device)


def test_views_come_in_the_order_of_the_cpu(views, held_out, device, monkeypatch):
    orders = []
    monkeypatch.setattr(cpu, "view_order", lambda *args: orders.append(original(*args)) or orders[-1])
    from gsbench.reconstruct.targets import view_order as original

    fit(views, RECIPE, 5, held_out)
    ours = prepare(views, held_out, RECIPE, 5, device).orders
    assert [each.tolist() for each in ours] == orders


def test_scores_are_those_of_the_cpu(device):
    rng = np.random.default_rng(0)
    a = rng.random((3, 40, 56, 3)).astype(np.float32)
    b = np.clip(a + 0.05 * rng.normal(size=a.shape), 0, 1).astype(np.float32)
    x, y = (torch.from_numpy(each).to(device) for each in (a, b))
    assert batch.psnr(x, y).mean().item() == pytest.approx(psnr(a, b), abs=1e-4)
    assert batch.ssim(x, y).mean().item() == pytest.approx(ssim(a, b), abs=1e-5)
    assert batch.psnr(x, y).tolist() == pytest.approx([psnr(*pair) for pair in zip(a, b, strict=True)], abs=1e-4)
    assert batch.psnr(x, x).tolist() == [math.inf] * 3


def test_score_is_that_of_the_stored_gaussians(views, held_out, device, rasterize):
    from gsbench.render import splats

    (fitted,) = fit_batch([prepare(views, held_out, RECIPE, 0, device)], RECIPE, rasterize)
    seen = np.clip(splats.rasterize(fitted.gaussians, held_out.cameras).rgb, 0, 1)
    expected = np.moveaxis(target_planes(held_out, SIZE)[:, :3], 1, -1).astype(np.float32) / 255
    assert fitted.psnr == pytest.approx(psnr(seen, expected), abs=0.02)
    assert fitted.ssim == pytest.approx(ssim(seen, expected), abs=1e-3)
