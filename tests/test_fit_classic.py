"""The published optimisation on CPU: its loss, its schedule, the coming and going of Gaussians, and what it reaches."""

import dataclasses

import numpy as np
import pytest
import torch

from gsbench.build.preset import load_preset
from gsbench.fit import ClassicRecipe, Fitted, fit
from gsbench.fit.classic import cuda
from gsbench.fit.classic.density import Population
from gsbench.fit.classic.loss import ImageLoss
from gsbench.fit.classic.schedule import densifies_at, means_rate_at, resets_at, sh_degree_at
from gsbench.fit.classic.start import neighbour_squares, random_gaussians, scene_extent
from gsbench.geometry import dc_to_rgb, normalize_quats, quats_to_matrices, spiral_rig
from gsbench.image_metrics import ssim
from gsbench.recipe import parse
from gsbench.render import layout, splats_cpu
from gsbench.render.splats import rasterize
from gsbench.types import Cameras, Gaussians, Views

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


def colours(target: np.ndarray) -> torch.Tensor:
    """The colour planes of bytes as one view in 0..1."""
    return torch.from_numpy(np.moveaxis(target[:3], 0, -1)[None] / 255)


@pytest.mark.parametrize(("height", "width"), [(45, 50), (32, 48), (9, 7)])
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_loss_gradient_is_that_of_autograd(height, width, weight):
    rng = np.random.default_rng(height)
    shape = (splats_cpu.padded(height), splats_cpu.padded(width))
    planes = rng.uniform(-0.1, 1.2, (5, *shape)).astype(np.float32)
    target = rng.integers(0, 256, (4, *shape)).astype(np.uint8)
    target[:3, :8] = 255  # flat areas, some reached and some not
    planes[:3, :4] = 1
    loss = ImageLoss(width, height)
    loss.gradient(planes[::-1].copy(), target, weight)  # buffers that are used again start afresh
    ours = loss.gradient(planes, target, weight)
    image = torch.from_numpy(np.moveaxis(planes[:3, :height, :width], 0, -1)[None].astype(np.float64)).requires_grad_()
    cuda.loss(image, colours(target[:, :height, :width]), weight).backward()
    expected = np.moveaxis(image.grad[0].numpy(), -1, 0)
    # Where a colour is reached, |x| has no derivative: 0 is ours and torch's.
    assert np.abs(ours[:3, :height, :width] - expected).max() < 1e-5 * np.abs(expected).max()
    assert not ours[3:].any()
    assert not ours[:, height:].any()
    assert not ours[:, :, width:].any()


def test_loss_holds_the_usual_ssim():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 24, 30, 3)), rng.random((2, 24, 30, 3))
    images = [torch.from_numpy(image) for image in (a, b)]
    assert cuda.loss(*images, 1.0).item() == pytest.approx(1 - ssim(a, b), abs=1e-6)
    assert cuda.loss(*images, 0.0).item() == pytest.approx(np.abs(a - b).mean())


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
def test_neighbours(kind):
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
    np.testing.assert_allclose(neighbour_squares(points), expected, rtol=1e-4, atol=1e-12)


def test_start_is_grey_balls_all_over_the_cube():
    recipe = dataclasses.replace(RECIPE, init_points=2000, max_gaussians=2000, init_cube=1.5, sh_degree=2)
    start = random_gaussians(recipe, np.random.default_rng(0))
    assert start.sh.shape == (2000, 9, 3)
    assert not start.sh[:, 1:].any()
    assert np.abs(dc_to_rgb(start.sh[:, 0]) - 0.5).max() < 0.0012
    assert len(np.unique(start.sh[:, 0])) > 5000
    np.testing.assert_allclose(start.means.min(0), -1.5, atol=0.02)
    np.testing.assert_allclose(start.means.max(0), 1.5, atol=0.02)
    np.testing.assert_allclose(start.scales, np.sqrt(neighbour_squares(start.means))[:, None].repeat(3, 1), rtol=1e-6)
    assert (start.opacities == np.float32(0.1)).all()


def test_extent():
    cameras = spiral_rig(9, 3.0, 45.0, 8 / 9, 0.0, 1e-3, 8, 8)  # evenly on a circle
    assert scene_extent(cameras) == pytest.approx(1.1 * 3.0, rel=1e-4)


def test_gradient_is_by_position_in_image_halves():
    """One Gaussian's gradient is the loss's by a shift of the whole image; a step of 2 is the image's size."""
    width, height = 40, 24
    cameras = spiral_rig(2, 2.8, 45.0, 1.0, 0.0, 30.0, width, height)[[0]]
    fields = [[0.05, 0.1, 0]], [[1, 0, 0, 0]], [[0.1, 0.2, 0.3]], [0.8], [[[-1, -1, 0]]]
    one = Gaussians(*(np.array(field, np.float32) for field in fields))
    target = np.full((4, 32, 48), 255, np.uint8)
    target[:3, 4:11, 9:20] = 0
    wanted = colours(target[:, :height, :width])

    def loss_at(dx: float, dy: float) -> float:
        Ks = cameras.Ks.copy()
        Ks[0, :2, 2] += dx, dy
        rgb = rasterize(one, Cameras(cameras.viewmats, Ks, width, height)).rgb
        return cuda.loss(torch.from_numpy(rgb.astype(np.float64)), wanted, 0.2).item()

    step = 0.02
    by_x = (loss_at(step, 0) - loss_at(-step, 0)) / (2 * step) * width / 2
    by_y = (loss_at(0, step) - loss_at(0, -step)) / (2 * step) * height / 2
    params = splats_cpu.pack(one)
    workspace = splats_cpu.Workspace(params.shape, width, height)
    planes = np.empty((5, 32, 48), np.float32)
    workspace.project(params, splats_cpu.camera_vectors(cameras)[0], 0, False)
    workspace.composite(np.ones(3, np.float32), planes)
    d_planes = ImageLoss(width, height).gradient(planes, target, 0.2)
    workspace.backward(params, np.ones(3, np.float32), d_planes, False, np.zeros_like(params))
    assert len(workspace.visible) == 1
    # The difference quotient also sees the Gaussian's cut at alpha 1/255 move.
    for threshold, count in ((0.95, 2), (1.05, 1)):
        grown = population(1)
        grown.observe(workspace.visible, workspace.image_gradients, width, height)
        recipe = dataclasses.replace(PUBLISHED, densify_gradient=threshold * float(np.hypot(by_x, by_y)))
        grown.densify(recipe, 1.0, False, np.random.default_rng(0))
        assert grown.count == count


def population(count: int) -> Population:
    """Small, opaque Gaussians, all different."""
    raw = np.random.default_rng(count).normal(size=(23, count)).astype(np.float32)
    raw[layout.SCALE : layout.OPACITY] = np.log(0.001)
    raw[layout.OPACITY] = 1 + 0.1 * raw[layout.OPACITY]
    return Population(raw)


def trained(made: Population) -> np.ndarray:
    """Gives every Gaussian moments of its own, 2 and 3 times its parameters; returns these."""
    made.first[:], made.second[:] = 2 * made.raw, 3 * made.raw
    return made.raw[:, : made.count].copy()


def observed(made: Population, gradients: dict[int, float]) -> None:
    """As if a view of 2 pixels showed these Gaussians with these gradients."""
    by_image = np.zeros((2, made.raw.shape[1]), np.float32)
    by_image[1, list(gradients)] = list(gradients.values())
    made.observe(np.array(list(gradients), np.int32), by_image, 2, 2)


def columns(array: np.ndarray, count: int) -> set[bytes]:
    return {column.tobytes() for column in np.ascontiguousarray(array[:, :count].T)}


def test_clone_copies_and_its_moments_are_zero():
    made = population(20)
    before = trained(made)
    observed(made, {3: 1e-3, 7: 3e-4, 9: 1e-4})
    observed(made, {3: 0.0, 7: 3e-4, 11: 1e-4})  # means over the views that show it: 5e-4, 3e-4; 1e-4 is not enough
    made.densify(PUBLISHED, 1.0, True, np.random.default_rng(0))
    assert made.count == 22
    np.testing.assert_array_equal(made.raw[:, :20], before)
    np.testing.assert_array_equal(made.raw[:, 20:22], before[:, [3, 7]])
    for moment, factor in ((made.first, 2), (made.second, 3)):
        np.testing.assert_array_equal(moment[:, :20], factor * before)
        assert not moment[:, 20:].any()
    made.densify(PUBLISHED, 1.0, True, np.random.default_rng(0))
    assert made.count == 22, "gradients are forgotten"


def test_split_replaces_a_large_one_by_two():
    made = population(20)
    made.raw[layout.SCALE + 1, [4, 5]] = np.log([0.02, 0.02])
    before = trained(made)
    observed(made, {4: 1e-3, 6: 1e-3})
    made.densify(PUBLISHED, 1.0, True, np.random.default_rng(0))
    assert made.count == 22
    stayed = np.delete(before, 4, axis=1)
    np.testing.assert_array_equal(made.raw[:, :19], stayed)
    np.testing.assert_array_equal(made.first[:, :19], 2 * stayed)
    np.testing.assert_array_equal(made.raw[:, 19], before[:, 6])
    halves = made.raw[:, 20:22]
    others = np.r_[layout.QUAT : layout.SCALE, layout.OPACITY : 23]
    np.testing.assert_array_equal(halves[others], before[others][:, [4, 4]])
    shrunk = before[layout.SCALE : layout.OPACITY, [4]] - np.log(1.6)
    np.testing.assert_allclose(halves[layout.SCALE : layout.OPACITY], shrunk.repeat(2, 1), rtol=1e-6)
    assert (halves[:3, 0] != halves[:3, 1]).all()
    assert np.abs(halves[:3] - before[:3, [4]]).max() < 6 * 0.02
    assert not made.first[:, 19:].any()
    assert not made.second[:, 19:].any()


def test_split_draws_from_the_gaussian():
    count = 4000
    made = population(count)
    made.raw[: layout.OPACITY] = 0
    quat, scales = np.array([[0.3, -0.5, 0.7, 0.1]], np.float32), np.array([0.5, 0.1, 0.02])
    made.raw[layout.QUAT : layout.SCALE] = 3 * quat.T  # as long as it likes
    made.raw[layout.SCALE : layout.OPACITY] = np.log(scales)[:, None]
    observed(made, dict.fromkeys(range(count), 1.0))
    made.densify(PUBLISHED, 1.0, False, np.random.default_rng(0))
    assert made.count == 2 * count
    rotation = quats_to_matrices(normalize_quats(quat))[0]
    drawn = rotation.T @ made.raw[:3, : 2 * count]
    np.testing.assert_allclose(np.cov(drawn) / np.outer(scales, scales), np.eye(3), atol=0.06)


def test_densification_stops_at_the_limit_with_the_largest_gradients():
    made = population(20)
    made.raw[layout.SCALE, 5] = np.log(0.02)
    before = trained(made)
    observed(made, {i: 1e-3 * (1 + i % 7) for i in range(20)})  # 6, 13: 7e-3; 5, 12, 19: 6e-3
    made.densify(dataclasses.replace(PUBLISHED, max_gaussians=23, init_points=20), 1.0, True, np.random.default_rng(0))
    assert made.count == 23
    np.testing.assert_array_equal(made.raw[:, 19:21], before[:, [6, 13]])
    assert before[:, 5].tobytes() not in columns(made.raw, 23), "of equal gradients the first: 5, which is split"
    observed(made, {0: 1.0})
    made.densify(dataclasses.replace(PUBLISHED, max_gaussians=22, init_points=20), 1.0, True, np.random.default_rng(0))
    assert made.count == 23


@pytest.mark.parametrize(("prune_large", "gone"), [(False, {2, 8}), (True, {2, 8, 15})])
def test_pruning(prune_large, gone):
    made = population(20)
    made.raw[layout.OPACITY, [2, 8]] = np.log(0.004 / 0.996)
    made.raw[layout.OPACITY, 9] = np.log(0.006 / 0.994)
    made.raw[layout.SCALE + 2, [15, 16]] = np.log([0.31, 0.29])
    before = trained(made)
    observed(made, {8: 1e-3})  # what is transparent is no better twice
    made.densify(PUBLISHED, 3.0, prune_large, np.random.default_rng(0))
    stayed = np.delete(before, sorted(gone), axis=1)
    assert made.count == 20 - len(gone)
    np.testing.assert_array_equal(made.raw[:, : made.count], stayed)
    np.testing.assert_array_equal(made.second[:, : made.count], 3 * stayed)


def test_pruning_everything_is_an_error():
    made = population(20)
    with pytest.raises(ValueError, match="views: pruning left no Gaussian"):
        made.densify(dataclasses.replace(PUBLISHED, prune_opacity=1.0), 1.0, False, np.random.default_rng(0))


def test_reset_lowers_opacities_and_forgets_their_moments():
    made = population(20)
    made.raw[layout.OPACITY, 3] = np.log(0.006 / 0.994)
    before = trained(made)
    made.reset_opacities(0.01)
    opacities = 1 / (1 + np.exp(-made.raw[layout.OPACITY, :20]))
    np.testing.assert_allclose(np.delete(opacities, 3), 0.01, rtol=1e-5)
    assert opacities[3] == pytest.approx(0.006, rel=1e-5)
    others = np.delete(np.arange(23), layout.OPACITY)
    np.testing.assert_array_equal(made.raw[others, :20], before[others])
    np.testing.assert_array_equal(made.first[others, :20], 2 * before[others])
    assert not made.first[layout.OPACITY].any()
    assert not made.second[layout.OPACITY].any()


def test_arrays_grow_and_shrink_by_steps_and_their_room_is_invisible():
    made = population(100)
    sizes = set()
    for _ in range(40):
        observed(made, {0: 1.0, 1: 0.9, 2: 0.8})
        made.densify(PUBLISHED, 1.0, False, np.random.default_rng(0))
        sizes.add(made.raw.shape[1])
        assert made.raw.shape == made.first.shape == made.second.shape
        assert made.raw.shape[1] % 16 == 0
        assert made.count <= made.raw.shape[1] < 1.5 * made.count
        assert (made.raw[layout.OPACITY, made.count :] == -50).all()
    assert made.count == 220
    assert len(sizes) < 10
    made.raw[layout.OPACITY, 10:] = -20
    made.densify(PUBLISHED, 1.0, False, np.random.default_rng(0))
    assert made.count == 10
    assert made.raw.shape[1] < 40


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
        ({"init_points": 3}, r"init_points: 3, allowed 4 to max_gaussians \(1000000\)"),
        ({"max_gaussians": 99_999}, r"init_points: 100000, allowed 4 to max_gaussians \(99999\)"),
        ({"iterations": 0}, "iterations: 0, it must be >= 1"),
        ({"densify_every": 0}, "densify_every: 0, it must be >= 1"),
        ({"densify_from": -1}, "densify_from: -1, it must be >= 0"),
        ({"sh_degree": 4}, "sh_degree: 4, allowed 0 to 3"),
        ({"init_opacity": 1.0}, "init_opacity: 1.0, allowed above 0, below 1"),
        ({"reset_opacity": 0.0}, "reset_opacity: 0.0, allowed above 0, below 1"),
        ({"beta_2": 1.0}, "beta_2: 1.0, allowed above 0, below 1"),
        ({"ssim_weight": 1.5}, "ssim_weight: 1.5, allowed 0 to 1"),
        ({"lr_means_final": 0.0}, "lr_means_final: 0.0, it must be > 0"),
        ({"lr_scales": float("nan")}, "lr_scales: nan, it must be >= 0"),
        ({"split_shrink": 0.0}, "split_shrink: 0.0, it must be > 0"),
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
    assert "classic" in preset.about.title


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
