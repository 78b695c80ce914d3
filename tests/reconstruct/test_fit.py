"""The fit on an object whose appearance is known: what it reaches, what it must not look at, and what it refuses."""

import dataclasses
import functools
import os
import subprocess
import sys

import numpy as np
import pytest

from gsbench.core.geometry import camera_centers, quats_to_matrices, spiral_rig
from gsbench.core.types import Cameras, Gaussians, Views
from gsbench.reconstruct import FitRecipe, Stage, fit, fit_many
from gsbench.reconstruct.hull import hull_kernels
from gsbench.reconstruct.hull.visual_hull import choose, hull_gaussians
from gsbench.reconstruct.targets import low_pass_of, pixel_words, scaled_cameras, target_planes
from gsbench.render.splats import cpu as splats_cpu
from gsbench.render.splats import rasterize
from tests.render.splat_reference import random_gaussians, rig

RECIPE = FitRecipe((Stage(32, 60), Stage(64, 100)), num_gaussians=600, sh_degree=1, hull_resolution=40)
FIELDS = tuple(field.name for field in dataclasses.fields(Gaussians))
RADIUS = 0.7


def ball(count: int, size: int = 64, phase: float = 0.0) -> Views:
    """Analytic views of a ball with smooth bands of color, 16 rays a pixel."""
    cameras = spiral_rig(count, 2.8, 45.0, 3.3, -40.0, 70.0, size, size, phase)
    eyes, rotations = camera_centers(cameras.viewmats), cameras.viewmats[:, :3, :3]
    y, x = np.meshgrid(*[(np.arange(4 * size) + 0.5) / 4] * 2, indexing="ij")
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(cameras.Ks[0]).T
    rays = np.einsum("vji,hwj->vhwi", rotations, rays / np.linalg.norm(rays, axis=-1, keepdims=True))
    along = -np.einsum("vhwi,vi->vhw", rays, eyes)
    inside = along**2 - (np.sum(eyes**2, -1) - RADIUS**2)[:, None, None]
    points = eyes[:, None, None] + (along - np.sqrt(np.maximum(inside, 0)))[..., None] * rays
    color = 0.5 + 0.3 * np.sin(5 * points + np.array([0, 1, 2]))
    hit = (inside > 0)[..., None]
    boxes = np.concatenate([color * hit, hit], -1).reshape(count, size, 4, size, 4, 4).mean((2, 4))
    straight = boxes / np.where(boxes[..., 3:] > 0, boxes[..., 3:], 1)
    straight[..., 3] = boxes[..., 3]
    return Views((straight * 255 + 0.5).astype(np.uint8), cameras)


@pytest.fixture(scope="module")
def views() -> Views:
    return ball(24)


@pytest.fixture(scope="module")
def held_out() -> Views:
    return ball(24, phase=0.5)[[4, 11, 18]]


@pytest.fixture(scope="module")
def fitted(views, held_out):
    return fit(views, RECIPE, 0, held_out)


def equal(a: Gaussians, b: Gaussians) -> bool:
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in FIELDS)


def test_reaches_the_object(fitted):
    gaussians = fitted.gaussians
    assert fitted.psnr > 32
    assert fitted.ssim > 0.95
    assert len(gaussians) == 600
    assert gaussians.sh.shape == (600, 4, 3)
    np.testing.assert_allclose(np.linalg.norm(gaussians.quats, axis=1), 1, atol=1e-5)
    assert (gaussians.scales > 0).all()
    visible = gaussians.opacities > 0.3
    # A disc's center sits under the surface that it makes up with its neighbors.
    assert RADIUS - 0.06 < np.median(np.linalg.norm(gaussians.means[visible], axis=1)) < RADIUS


def test_same_seed_same_bits(fitted, views, held_out):
    again = fit(views, RECIPE, 0, held_out)
    assert equal(again.gaussians, fitted.gaussians)
    assert (again.psnr, again.ssim) == (fitted.psnr, fitted.ssim)
    assert not equal(fit(views, RECIPE, 1, held_out).gaussians, fitted.gaussians)


@pytest.mark.slow
def test_a_process_that_compiles_gets_the_same_bits(tmp_path):
    """Machine code straight from the compiler and out of numba's cache must round alike."""
    code = (
        "import hashlib; from tests.reconstruct.test_fit import *;"
        "g = fit(ball(24), RECIPE, 0, ball(24, phase=0.5)[[4]]).gaussians;"
        "print(hashlib.sha256(b''.join(getattr(g, name).tobytes() for name in FIELDS)).hexdigest())"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    run = functools.partial(
        subprocess.run, [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    first, second = run(check=True).stdout, run(check=True).stdout
    assert len(first) == 65
    assert first == second


def test_held_out_views_only_score(fitted, views, held_out):
    noise = np.random.default_rng(0).integers(0, 256, held_out.rgba.shape).astype(np.uint8)
    corrupted = fit(views, RECIPE, 0, Views(noise, held_out.cameras))
    assert equal(corrupted.gaussians, fitted.gaussians)
    assert corrupted.psnr < 15 < fitted.psnr


def test_training_views_do_matter(fitted, views, held_out):
    dimmed = views.rgba.copy()
    dimmed[..., :3] //= 2
    assert fit(Views(dimmed, views.cameras), RECIPE, 0, held_out).psnr < fitted.psnr - 8


def test_many_is_one_by_one(fitted, views, held_out):
    many = fit_many([views, views], RECIPE, [1, 0], [held_out, held_out])
    assert equal(many[1].gaussians, fitted.gaussians)
    assert not equal(many[0].gaussians, fitted.gaussians)


def test_frame_of_the_cameras_is_free(fitted, views, held_out):
    """The same scene ten times larger and elsewhere gives the same picture: no step depends on the scene's extent."""
    shift, size = np.array([30.0, -20.0, 5.0]), 10.0

    def moved(some: Views) -> Views:
        viewmats = some.cameras.viewmats.astype(np.float64)
        viewmats[:, :3, 3] = viewmats[:, :3, 3] * size - viewmats[:, :3, :3] @ shift
        cameras = Cameras(viewmats.astype(np.float32), some.cameras.Ks, some.cameras.width, some.cameras.height)
        return Views(some.rgba, cameras)

    elsewhere = fit(moved(views), RECIPE, 0, moved(held_out))
    assert elsewhere.psnr == pytest.approx(fitted.psnr, abs=0.7)
    visible = elsewhere.gaussians.opacities > 0.3
    distances = np.linalg.norm(elsewhere.gaussians.means[visible] - shift, axis=1)
    assert (RADIUS - 0.06) * size < np.median(distances) < RADIUS * size


def test_hull_lies_on_the_surface(views):
    start = hull_gaussians(views, RECIPE, np.random.default_rng(0))
    distances = np.linalg.norm(start.means, axis=1)
    assert np.percentile(distances, 5) > RADIUS - 0.08
    assert np.percentile(distances, 95) < RADIUS + 0.08
    normals = quats_to_matrices(start.quats)[:, :, 2]
    outward = np.einsum("ni,ni->n", normals, start.means / distances[:, None])
    assert np.median(outward) > 0.97
    colors = start.sh[:, 0] * 0.28209479 + 0.5
    expected = 0.5 + 0.3 * np.sin(5 * start.means + np.array([0, 1, 2]))
    assert np.median(np.abs(colors - expected)) < 0.06


def test_more_start_where_the_hull_is_thin():
    """A plate one voxel thick gets 2^detail times as many Gaussians as the wall of a block, and smaller ones."""
    blurred = np.array([9**3 * 2 / 3] * 800 + [9**3 / 3] * 200, np.float32)
    rng = np.random.default_rng(0)
    for detail, share in ((0.0, 0.2), (2.0, 0.5), (3.0, 2 / 3)):
        recipe = dataclasses.replace(RECIPE, init_detail=detail)
        places, spacings = choose(blurred, recipe, rng)
        assert (np.diff(places) >= 0).all()
        assert abs(np.mean(places >= 800) - share) < 2 / len(places)
        # Each covers its part of the surface: squares of the spacing add up to the number of voxels.
        assert np.sum(spacings**2) == pytest.approx(1000, rel=0.02)
    sparse = blurred.copy()
    sparse[0] = 1
    assert choose(sparse, recipe, rng)[1].min() == pytest.approx(spacings.min(), rel=0.02)


@pytest.mark.parametrize(("size", "thin"), [(128, 0.025), (600, 0.004)])
def test_hull_keeps_what_is_thinner_than_a_coarse_voxel(size, thin):
    """A big ball and, out on its own, one between the centers of the first, coarse grid, or of the last one."""
    cameras = spiral_rig(24, 2.9, 45.0, 3.3, -40.0, 70.0, size, size)
    y, x = np.meshgrid(*[np.arange(size) + 0.5] * 2, indexing="ij")
    rgba = np.zeros((24, size, size, 4), np.uint8)
    small = np.array([0.0, 0.0, -0.83])
    for center, radius in ((np.zeros(3), 0.3), (small, thin)):
        seen = cameras.viewmats[:, :3, :3] @ center + cameras.viewmats[:, :3, 3]
        focal, column, row = (cameras.Ks[0, i, j] for i, j in ((0, 0), (0, 2), (1, 2)))
        u, v = (focal * seen[:, axis] / seen[:, 2] + offset for axis, offset in ((0, column), (1, row)))
        distance = np.hypot(x - u[:, None, None], y - v[:, None, None])
        rgba[distance < (focal * radius / seen[:, 2])[:, None, None]] = 255
    means = hull_gaussians(Views(rgba, cameras), RECIPE, np.random.default_rng(0)).means
    assert np.linalg.norm(means - small, axis=1).min() < 0.05


@pytest.mark.parametrize("block", [1, 3, 4])
def test_masks_of_large_pixels(block):
    """A large pixel is set where one of its pixels or of its neighbors' is; the last ones hang over the edge."""
    rng = np.random.default_rng(block)
    alpha = np.where(rng.random((5, 22, 31)) < 0.03, rng.integers(100, 256, (5, 22, 31)), 0).astype(np.uint8)
    rgba = np.concatenate([rng.integers(0, 256, (5, 22, 31, 3)).astype(np.uint8), alpha[..., None]], -1)
    order = np.array([3, 0, 4, 1, 2])
    rows, columns = -(-22 // block), -(-31 // block)
    framed = np.zeros((5, (rows + 2) * block, (columns + 2) * block), bool)
    framed[:, block : block + 22, block : block + 31] = alpha[order] > 127
    found = framed.reshape(5, rows + 2, block, columns + 2, block).any((2, 4))
    near = [found[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    expected = np.any(near, axis=0)
    views = Views(rgba, spiral_rig(5, 2.8, 45.0, 1.0, 0.0, 30.0, 31, 22))
    masks, wide = np.full((2, 5, rows, columns), 7, np.uint8)
    hull_kernels.fill_silhouettes(pixel_words(views), order, block, masks)
    hull_kernels.fill_wide((alpha[order] > 127).view(np.uint8), block, wide)
    np.testing.assert_array_equal(masks, expected)
    np.testing.assert_array_equal(wide, expected)


def test_higher_bands_wait(views, held_out):
    """With their start at the end of the fit, the bands above 0 stay zero, and cost nothing."""
    late = fit(views, dataclasses.replace(RECIPE, sh_start=1.0), 0, held_out)
    flat = fit(views, dataclasses.replace(RECIPE, sh_degree=0), 0, held_out)
    assert not late.gaussians.sh[:, 1:].any()
    np.testing.assert_array_equal(late.gaussians.sh[:, :1], flat.gaussians.sh)


def test_targets_are_box_averages_over_white():
    rng = np.random.default_rng(0)
    cameras = spiral_rig(2, 2.8, 45.0, 1.0, 0.0, 30.0, 12, 8)
    rgba = rng.integers(0, 256, (2, 8, 12, 4)).astype(np.uint8)
    rgba[0, :4] = 0
    views = Views(rgba, cameras)
    planes = target_planes(views, 6, multiple=16)
    assert planes.shape == (2, 4, 16, 16)
    assert not planes[:, :, 4:].any()
    assert not planes[..., 6:].any()
    alpha = rgba[..., 3:] / 255
    exact = np.concatenate([rgba[..., :3] * alpha + 255 * (1 - alpha), rgba[..., 3:]], -1)
    exact = exact.reshape(2, 4, 2, 6, 2, 4).mean((2, 4))
    assert np.abs(np.moveaxis(planes[:, :, :4, :6], 1, -1) - exact).max() <= 0.5 + 1e-9
    scaled = scaled_cameras(cameras, 6)
    assert (scaled.width, scaled.height) == (6, 4)
    point = np.array([0.1, -0.2, 0.3])
    full, half = (c.Ks[0] @ (c.viewmats[0, :3, :3] @ point + c.viewmats[0, :3, 3]) for c in (cameras, scaled))
    np.testing.assert_allclose(half[:2] / half[2], full[:2] / full[2] / 2, rtol=1e-5)


@pytest.mark.parametrize("factor", [2, 4])
def test_a_coarse_stage_shows_what_the_box_averages(factor):
    """Gaussians drawn for a coarse stage look as the same Gaussians drawn in full and box-averaged."""
    size = 32 * factor
    gaussians, cameras = random_gaussians(40, 0), rig(2, size, size)
    gaussians.scales[:] = np.clip(gaussians.scales, 0.01, 0.03)
    gaussians.opacities[:] = 0.3
    exact = np.moveaxis(rasterize(gaussians, cameras).rgb, -1, 1).reshape(2, 3, 32, factor, 32, factor).mean((3, 5))
    coarse, params = scaled_cameras(cameras, 32), splats_cpu.pack(gaussians)
    errors = []
    for low_pass in (low_pass_of(Stage(32, 1), size), 0.3):
        workspace, planes = splats_cpu.Workspace(params.shape, 32, 32), np.empty((5, 32, 32), np.float32)
        workspace.project(params, splats_cpu.camera_vectors(coarse, low_pass)[0], 0, False)
        workspace.composite(np.ones(3, np.float32), planes)
        errors.append(np.sqrt(np.mean((planes[:3] - exact[0]) ** 2)))
    assert errors[0] < errors[1] / 2
    assert low_pass_of(Stage(size, 1), size) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": ()}, "stages: empty"),
        ({"sh_degree": 4}, r"sh_degree is 4 \(allowed: 0 to 3\)"),
        ({"num_gaussians": 0}, "num_gaussians is 0 .allowed: 1 to"),
        ({"lr_decay": 0.0}, r"lr_decay is 0.0 \(allowed: above 0 to 1\)"),
        ({"lr_means": -1.0}, "lr_means is -1.0 .allowed: 0 to"),
        ({"lr_means": float("nan")}, "lr_means is nan"),
        ({"lr_sh": float("inf")}, "lr_sh is inf"),
        ({"sh_start": 1.5}, "sh_start is 1.5"),
        ({"relocate_at": (0.5, 1.0)}, "relocate_at is 1.0"),
        ({"hull_resolution": 100_000}, r"hull_resolution is 100000 \(allowed: 1 to 256\)"),
        ({"num_gaussians": 10**9}, "num_gaussians is 1000000000"),
        ({"stages": (Stage(32, 600_000), Stage(64, 600_000))}, "iterations is 1200000"),
    ],
)
def test_recipe_rejects(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, **change)


def test_stage_rejects():
    with pytest.raises(ValueError, match="iterations is 0"):
        Stage(32, 0)


def test_fit_rejects(views, held_out):
    with pytest.raises(ValueError, match="views: 1 given"):
        fit(views[:1], RECIPE, 0, held_out)
    with pytest.raises(ValueError, match="resolution 48 does not divide views of 64x64"):
        fit(views, dataclasses.replace(RECIPE, stages=(Stage(48, 1),)), 0, held_out)
    with pytest.raises(ValueError, match="device: 'tpu', allowed"):
        fit(views, RECIPE, 0, held_out, device="tpu")
    empty = views.rgba.copy()
    empty[3] = 0
    with pytest.raises(ValueError, match="silhouettes have no point in common"):
        fit(Views(empty, views.cameras), RECIPE, 0, held_out)


@pytest.mark.gpu
def test_cuda_agrees_with_cpu(fitted, views, held_out):
    on_cuda = fit_many([views, views], RECIPE, [0, 1], [held_out, held_out], device="cuda")
    assert len(on_cuda) == 2
    assert on_cuda[0].psnr == pytest.approx(fitted.psnr, abs=0.5)
    assert not equal(on_cuda[0].gaussians, on_cuda[1].gaussians)
