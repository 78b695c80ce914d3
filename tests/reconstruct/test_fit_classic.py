"""The published optimization on CPU: its start, its schedule, what it reaches, and its presets."""

import dataclasses

import numpy as np
import pytest

from gsbench.core.geometry import dc_to_rgb, spiral_rig
from gsbench.core.parsing import parse
from gsbench.core.types import Gaussians, Views
from gsbench.produce.preset import load_preset
from gsbench.reconstruct import ClassicRecipe, Fitted, fit
from gsbench.reconstruct.classic.recipe import (
    densifies_at,
    means_rate_at,
    neighbor_squares,
    random_gaussians,
    resets_at,
    scene_extent,
    sh_degree_at,
)

PUBLISHED = ClassicRecipe()
# Everything of the published schedule, in 240 iterations.
RECIPE = ClassicRecipe(
    iterations=240,
    init_points=500,
    sh_degree=1,
    sh_every=120,
    densify_from=20,
    densify_until=160,
    densify_every=20,
    reset_every=1000,
    max_gaussians=1500,
)
BALL = 0.7


def ball(count: int, phase: float = 0.0, size: int = 48) -> Views:
    """Views of a ball, one half reddish, one bluish."""
    cameras = spiral_rig(count, 2.8, 45.0, 3.3, -40.0, 70.0, size, size, phase)
    eyes = -np.einsum("vji,vj->vi", cameras.viewmats[:, :3, :3], cameras.viewmats[:, :3, 3])
    y, x = np.meshgrid(*[np.arange(size) + 0.5] * 2, indexing="ij")
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(cameras.Ks[0]).T
    rays = np.einsum("vji,hwj->vhwi", cameras.viewmats[:, :3, :3], rays / np.linalg.norm(rays, axis=-1, keepdims=True))
    along = -np.einsum("vhwi,vi->vhw", rays, eyes)
    inside = BALL**2 + along**2 - np.sum(eyes**2, -1)[:, None, None]
    points = eyes[:, None, None] + (along - np.sqrt(np.maximum(inside, 0)))[..., None] * rays
    red = 0.4 + 0.2 * (points[..., 0] > 0)
    rgba = np.stack([red, np.full_like(red, 0.4), 1 - red, np.clip(inside * 10, 0, 1)], -1)
    return Views((rgba * 255 + 0.5).astype(np.uint8), cameras)


@pytest.fixture(scope="module")
def views() -> Views:
    return ball(20)


@pytest.fixture(scope="module")
def held_out() -> Views:
    return ball(20, phase=0.5)[[4, 11, 17]]


@pytest.fixture(scope="module")
def fitted(views: Views, held_out: Views) -> Fitted:
    return fit(views, RECIPE, 0, held_out)


def equal(a: Gaussians, b: Gaussians) -> bool:
    fields = (field.name for field in dataclasses.fields(Gaussians))
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in fields)


def test_published_schedule():
    iterations = range(1, PUBLISHED.iterations + 1)
    assert [i for i in iterations if densifies_at(PUBLISHED, i)] == list(range(600, 15_000, 100))
    assert [i for i in iterations if resets_at(PUBLISHED, i)] == [500, 3000, 6000, 9000, 12_000]
    late = dataclasses.replace(PUBLISHED, reset_first=False)
    assert [i for i in iterations if resets_at(late, i)] == [3000, 6000, 9000, 12_000]
    assert [sh_degree_at(PUBLISHED, i) for i in (1, 999, 1000, 2999, 3000, 30_000)] == [0, 0, 1, 2, 3, 3]
    rates = [means_rate_at(PUBLISHED, i) for i in (0, 15_000, 30_000)]
    np.testing.assert_allclose(rates, [1.6e-4, 1.6e-5, 1.6e-6])


@pytest.mark.parametrize("kind", ["cube", "plane", "clusters", "coincident", "four"])
def test_neighbors(kind):
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (4 if kind == "four" else 400, 3))
    if kind == "plane":
        points[:, 2] = 0.3
    elif kind == "clusters":
        points = np.sign(points) + 1e-3 * points
    elif kind == "coincident":
        points[:] = 0.5
    points = points.astype(np.float32)
    squares = np.sum((points[:, None].astype(np.float64) - points) ** 2, -1)
    expected = np.sort(squares, axis=1)[:, 1:4].mean(1)
    np.testing.assert_allclose(neighbor_squares(points), expected, rtol=1e-4, atol=1e-12)


def test_start_is_grey_balls_all_over_the_cube():
    recipe = dataclasses.replace(RECIPE, init_points=2000, max_gaussians=2000, init_cube=1.5, sh_degree=2)
    start = random_gaussians(recipe, np.random.default_rng(0))
    assert start.sh.shape == (2000, 9, 3)
    assert not start.sh[:, 1:].any()
    assert np.abs(dc_to_rgb(start.sh[:, 0]) - 0.5).max() < 0.0012
    assert len(np.unique(start.sh[:, 0])) > 5000
    np.testing.assert_allclose(start.means.min(0), -1.5, atol=0.02)
    np.testing.assert_allclose(start.means.max(0), 1.5, atol=0.02)
    np.testing.assert_allclose(start.scales, np.sqrt(neighbor_squares(start.means))[:, None].repeat(3, 1), rtol=1e-6)
    assert (start.opacities == np.float32(0.1)).all()


def test_extent():
    cameras = spiral_rig(9, 3.0, 45.0, 8 / 9, 0.0, 1e-3, 8, 8)  # evenly on a circle
    assert scene_extent(cameras) == pytest.approx(1.1 * 3.0, rel=1e-4)


def test_it_gets_better_and_denser(fitted, views, held_out):
    start = fit(views, dataclasses.replace(RECIPE, iterations=1), 0, held_out)
    assert len(start.gaussians) == 500
    assert len(fitted.gaussians) > 700
    assert fitted.psnr > start.psnr + 10
    assert fitted.psnr > 22
    assert fitted.ssim > max(start.ssim + 0.2, 0.85)
    gaussians = fitted.gaussians
    np.testing.assert_allclose(np.linalg.norm(gaussians.quats, axis=1), 1, atol=1e-5)
    assert (gaussians.scales > 0).all()
    assert gaussians.sh.shape[1:] == (4, 3)
    assert gaussians.sh[:, 1:].any()
    opaque = gaussians.means[gaussians.opacities > 0.5]
    assert len(opaque) > 50
    assert np.median(np.linalg.norm(opaque, axis=1)) < BALL + 0.05


def test_same_seed_same_bits(fitted, views, held_out):
    again = fit(views, RECIPE, 0, held_out)
    assert equal(again.gaussians, fitted.gaussians)
    assert (again.psnr, again.ssim) == (fitted.psnr, fitted.ssim)
    short = dataclasses.replace(RECIPE, iterations=30)
    assert not equal(fit(views, short, 1, held_out).gaussians, fit(views, short, 0, held_out).gaussians)


def test_limit_holds(views, held_out):
    recipe = dataclasses.replace(RECIPE, max_gaussians=550, iterations=170)
    assert 500 < len(fit(views, recipe, 0, held_out).gaussians) <= 550


def test_reset_shows_in_the_result(views, held_out):
    """A reset at the last iteration: nothing is left but .01."""
    recipe = dataclasses.replace(RECIPE, iterations=40, reset_every=40, reset_first=False)
    assert fit(views, recipe, 0, held_out).gaussians.opacities.max() == pytest.approx(0.01, rel=1e-4)


def test_a_fit_that_prunes_everything_says_so(views, held_out):
    recipe = dataclasses.replace(RECIPE, prune_opacity=0.999)
    with pytest.raises(ValueError, match="views: pruning left no Gaussian, is there an object in them"):
        fit(views, recipe, 0, held_out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init_points": 3}, "init_points is 3 .allowed: 4 to"),
        ({"max_gaussians": 99_999}, "init_points is 100000 .allowed: 4 to 99999"),
        ({"iterations": 0}, "iterations is 0 .allowed: 1 to"),
        ({"densify_every": 0}, "densify_every is 0 .allowed: 1 to"),
        ({"densify_from": -1}, "densify_from is -1 .allowed: 0 to"),
        ({"sh_degree": 4}, "sh_degree is 4 .allowed: 0 to 3"),
        ({"init_opacity": 1.0}, "init_opacity is 1.0 .allowed: above 0 to below 1"),
        ({"reset_opacity": 0.0}, "reset_opacity is 0.0 .allowed: above 0 to below 1"),
        ({"beta_2": 1.0}, "beta_2 is 1.0 .allowed: above 0 to below 1"),
        ({"ssim_weight": 1.5}, "ssim_weight is 1.5 .allowed: 0 to 1"),
        ({"lr_means_final": 0.0}, "lr_means_final is 0.0 .allowed: above 0"),
        ({"lr_scales": float("nan")}, "lr_scales is nan"),
        ({"split_shrink": 0.0}, "split_shrink is 0.0 .allowed: above 0"),
        ({"split_shrink": float("inf")}, "split_shrink is inf"),
        ({"max_gaussians": 10**9}, "max_gaussians is 1000000000"),
    ],
)
def test_recipe_rejects(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PUBLISHED, **change)


@pytest.mark.parametrize(("name", "like"), [("classic", "lite"), ("classic-full", "full")])
def test_presets_differ_from_the_others_in_the_fit_alone(name, like):
    preset, other = load_preset(name), load_preset(like)
    assert isinstance(preset.fit, ClassicRecipe)
    assert (preset.rig, preset.render, preset.store) == (other.rig, other.render, other.store)
    assert preset.about.version != other.about.version
    assert "classic" in preset.about.variant


def test_what_the_presets_scale_down():
    assert load_preset("classic-full").fit == PUBLISHED
    scaled = dataclasses.asdict(load_preset("classic").fit)
    changed = {name for name, value in dataclasses.asdict(PUBLISHED).items() if scaled[name] != value}
    iterations = {"iterations", "sh_every", "densify_from", "densify_until", "densify_every", "reset_every"}
    assert changed == iterations | {"init_points", "sh_degree", "max_gaussians"}


def test_recipe_from_a_table():
    assert parse({"method": "classic", "iterations": 7}, ClassicRecipe, "x.toml").iterations == 7
    with pytest.raises(ValueError, match=r"x\.toml: method: 'hull' is not allowed \(must be classic\)"):
        parse({"method": "hull"}, ClassicRecipe, "x.toml")
