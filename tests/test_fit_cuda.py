"""The fit of many objects at once: on CPU tensors with a plain rasteriser, and the same on CUDA with gsplat."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch

from gsbench.fit import FitRecipe, Stage, cpu, fit, fit_many
from gsbench.fit import hull as cpu_hull
from gsbench.fit.cuda import hull, scores
from gsbench.fit.cuda.batch import fit_batch
from gsbench.fit.cuda.memory import MOST_OBJECTS, objects_at_once
from gsbench.fit.cuda.optimise import activated, optimise, slopes, to_raw
from gsbench.fit.cuda.prepared import prepare
from gsbench.fit.cuda.relocation import choose, relocate, share
from gsbench.fit.cuda.targets import target_images
from gsbench.fit.frame import to_frame, unit_frame
from gsbench.fit.schedule import relocates_after
from gsbench.fit.targets import target_planes
from gsbench.image_metrics import psnr, ssim
from gsbench.render import splats_cpu
from gsbench.render.splats_cuda import rasterize_tensors
from gsbench.types import Cameras, Gaussians, Views
from tests.render.splat_reference import FIELDS, dense
from tests.test_fit import ball

RECIPE = FitRecipe((Stage(16, 12), Stage(32, 15)), num_gaussians=150, sh_degree=1, hull_resolution=24)
SHORT = dataclasses.replace(RECIPE, stages=(Stage(16, 8), Stage(32, 2)))
SIZE = 32


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture
def rasterise(device: torch.device):
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


def test_reaches_the_object_as_the_cpu_does(views, held_out, device, rasterise):
    (fitted,) = fit_batch([prepare(views, held_out, RECIPE, 0, device)], RECIPE, rasterise)
    on_cpu = fit(views, RECIPE, 0, held_out)
    assert fitted.psnr == pytest.approx(on_cpu.psnr, abs=0.2)
    assert fitted.ssim == pytest.approx(on_cpu.ssim, abs=0.01)
    for name in FIELDS:
        ours, theirs = getattr(fitted.gaussians, name), getattr(on_cpu.gaussians, name)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        # Adam takes a whole step wherever a gradient is nothing but rounding: most must agree, not all.
        assert np.mean(np.abs(ours - theirs) < 0.02) > 0.85, name


def test_colours_may_be_without_bands(views, held_out, device, rasterise):
    recipe = dataclasses.replace(SHORT, sh_degree=0, relocate_every=5)
    (fitted,) = fit_batch([prepare(views, held_out, recipe, 0, device)], recipe, rasterise)
    assert fitted.gaussians.sh.shape == (150, 1, 3)
    assert fitted.psnr > 14


def test_the_frame_is_that_of_the_views(views, held_out, device, rasterise):
    shift, size = np.array([3.0, -2.0, 5.0]), 4.0

    def moved(some: Views) -> Views:
        viewmats = some.cameras.viewmats.astype(np.float64)
        viewmats[:, :3, 3] = viewmats[:, :3, 3] * size - viewmats[:, :3, :3] @ shift
        cameras = Cameras(viewmats.astype(np.float32), some.cameras.Ks, some.cameras.width, some.cameras.height)
        return Views(some.rgba, cameras)

    batch = [prepare(views, held_out, RECIPE, 0, device), prepare(moved(views), moved(held_out), RECIPE, 0, device)]
    here, there = fit_batch(batch, RECIPE, rasterise)
    assert there.psnr == pytest.approx(here.psnr, abs=0.7)
    visible = there.gaussians.opacities > 0.3
    distances = np.linalg.norm(there.gaussians.means[visible] - shift, axis=1)
    assert 0.5 * size < np.median(distances) < 0.75 * size


def test_objects_of_a_batch_do_not_see_each_other(views, flat, held_out, device, rasterise):
    objects = [prepare(each, held_out, SHORT, seed, device) for each, seed in ((views, 0), (flat, 1), (views, 2))]
    together = optimise(objects, SHORT, rasterise)
    (alone,) = optimise(objects[1:2], SHORT, rasterise)
    if device.type == "cpu":
        for name in FIELDS:
            np.testing.assert_allclose(getattr(together[1], name), getattr(alone, name), atol=2e-3, err_msg=name)
    red, blue = (np.mean(together[1].sh[:, 0, channel]) for channel in (0, 2))
    assert red > 0.5 > -0.5 > blue
    assert not np.array_equal(together[0].means, together[2].means)


def test_objects_with_fewer_gaussians_are_padded(views, held_out, device, rasterise):
    few, many = (prepare(views, held_out, SHORT, seed, device) for seed in (0, 1))
    few = dataclasses.replace(few, start=few.start[:90])
    together = optimise([few, many], SHORT, rasterise)
    (alone,) = optimise([few], SHORT, rasterise)
    assert [len(each) for each in together] == [90, 150]
    if device.type == "cpu":
        for name in FIELDS:
            np.testing.assert_allclose(getattr(together[0], name), getattr(alone, name), atol=2e-3, err_msg=name)


def test_padding_is_invisible_and_stays_so(views, held_out, device, rasterise):
    start = prepare(views, held_out, RECIPE, 0, device).start
    raw, real = to_raw([start, start[:90]], device)
    assert real.sum(1).tolist() == [150, 90]
    camera = [torch.from_numpy(array[:1]).to(device)[None] for array in (views.cameras.viewmats, views.cameras.Ks)]
    white = torch.ones(3, device=device)
    padded = [tensor[1:] for tensor in activated(raw)]
    rgb, alpha = rasterise(*padded, *camera, SIZE, SIZE, white, False, 1)
    cut, _ = to_raw([start[:90]], device)
    expected, _ = rasterise(*activated(cut), *camera, SIZE, SIZE, white, False, 1)
    torch.testing.assert_close(rgb, expected)
    torch.autograd.backward([rgb, alpha], [torch.ones_like(rgb), torch.ones_like(alpha)])
    assert not any(tensor.grad[1, 90:].any() for tensor in raw.values())


@pytest.mark.parametrize("antialiased", [False, True])
def test_slopes_are_those_of_the_cpu_kernel(views, device, rasterise, antialiased):
    """From the loss through the rasteriser to the activated parameters, against the fused kernel."""
    recipe = dataclasses.replace(RECIPE, antialiased=antialiased)
    gaussians = cpu_hull.hull_gaussians(to_frame(views, *unit_frame(views)), recipe, np.random.default_rng(0))
    # Away from black, where a colour's derivative is a matter of taste.
    gaussians.sh[:] = np.random.default_rng(1).normal(size=gaussians.sh.shape) * 0.2
    params, cameras = splats_cpu.pack(gaussians), views.cameras
    d_params, workspace = np.zeros_like(params), splats_cpu.Workspace(params.shape, SIZE, SIZE)
    workspace.project(params, splats_cpu.camera_vectors(cameras)[0], 1, antialiased)
    planes = target_planes(views, SIZE, 16)
    workspace.fit(params, np.ones(3, np.float32), planes[0], recipe.huber, recipe.alpha_weight, d_params)
    expected = splats_cpu.unpack(d_params, len(gaussians))
    scene = [torch.from_numpy(getattr(gaussians, name)).to(device)[None].requires_grad_() for name in FIELDS]
    camera = [torch.from_numpy(array[:1]).to(device)[None] for array in (cameras.viewmats, cameras.Ks)]
    rgb, alpha = rasterise(*scene, *camera, SIZE, SIZE, torch.ones(3, device=device), antialiased, 1)
    target = target_images(torch.from_numpy(views.rgba[:1]).to(device), 1)[None]
    torch.autograd.backward([rgb, alpha], slopes(rgb.detach(), alpha.detach(), target, recipe))
    for name, tensor in zip(FIELDS, scene, strict=True):
        theirs = getattr(expected, name)
        assert np.linalg.norm(tensor.grad[0].cpu().numpy() - theirs) < 2e-3 * np.linalg.norm(theirs), name


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
    # A centre that falls on a pixel's edge may go either way.
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
    from gsbench.fit.schedule import view_order as original

    fit(views, RECIPE, 5, held_out)
    ours = prepare(views, held_out, RECIPE, 5, device).orders
    assert [each.tolist() for each in ours] == orders


def test_scores_are_those_of_the_cpu(device):
    rng = np.random.default_rng(0)
    a = rng.random((3, 40, 56, 3)).astype(np.float32)
    b = np.clip(a + 0.05 * rng.normal(size=a.shape), 0, 1).astype(np.float32)
    x, y = (torch.from_numpy(each).to(device) for each in (a, b))
    assert scores.psnr(x, y).mean().item() == pytest.approx(psnr(a, b), abs=1e-4)
    assert scores.ssim(x, y).mean().item() == pytest.approx(ssim(a, b), abs=1e-5)
    assert scores.psnr(x, y).tolist() == pytest.approx([psnr(*pair) for pair in zip(a, b, strict=True)], abs=1e-4)
    assert scores.psnr(x, x).tolist() == [math.inf] * 3


def test_score_is_that_of_the_stored_gaussians(views, held_out, device, rasterise):
    from gsbench.render.splats import rasterize

    (fitted,) = fit_batch([prepare(views, held_out, RECIPE, 0, device)], RECIPE, rasterise)
    seen = np.clip(rasterize(fitted.gaussians, held_out.cameras).rgb, 0, 1)
    expected = np.moveaxis(target_planes(held_out, SIZE)[:, :3], 1, -1).astype(np.float32) / 255
    assert fitted.psnr == pytest.approx(psnr(seen, expected), abs=0.02)
    assert fitted.ssim == pytest.approx(ssim(seen, expected), abs=1e-3)


def scene(device: torch.device, objects: int = 3, count: int = 40) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Raw parameters of some Gaussians, the last ten of object 1 padding, every fourth faded."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"means": (3,), "quats": (4,), "scales": (3,), "opacities": (), "dc": (1, 3), "sh": (3, 3)}
    raw = {name: torch.randn(objects, count, *shape, generator=generator) for name, shape in shapes.items()}
    raw["opacities"][:, ::4] = -9.0
    real = torch.ones(objects, count, dtype=torch.bool)
    real[1, -10:] = False
    raw["opacities"][1, -10:] = -50.0
    return {name: tensor.to(device) for name, tensor in raw.items()}, real.to(device)


def moved(device: torch.device, raw: dict[str, torch.Tensor], real: torch.Tensor) -> tuple[dict, dict]:
    """What relocation makes of a scene and of moments that are all one."""
    after = {name: tensor.clone() for name, tensor in raw.items()}
    moments = {name: torch.ones_like(tensor) for name, tensor in raw.items()}
    draws = np.stack([np.random.default_rng(row).random(real.shape[1]) for row in range(len(real))])
    relocate(after, [moments], real, 0.005, torch.from_numpy(draws).to(device))
    return after, moments


def test_faded_gaussians_move_onto_living_ones(device):
    raw, real = scene(device)
    after, moments = moved(device, raw, real)
    dead = real & (raw["opacities"].sigmoid() < 0.005)
    assert dead.sum(1).tolist() == [10, 8, 10]
    same = (after["means"][:, :, None] == raw["means"][:, None]).all(-1)
    living = real & ~dead
    for row in range(3):
        sources = same[row].int().argmax(1)
        chosen = sources[dead[row]]
        assert living[row][chosen].all()
        counts = torch.bincount(chosen, minlength=40)
        for place in torch.cat([chosen, dead[row].nonzero()[:, 0]]).tolist():
            source = int(sources[place])
            opacity, factor = by_the_book(float(raw["opacities"][row, source].sigmoid()), int(counts[source]) + 1)
            assert float(after["opacities"][row, place].sigmoid()) == pytest.approx(max(opacity, 0.005), abs=1e-5)
            expected = raw["scales"][row, source] + math.log(factor)
            torch.testing.assert_close(after["scales"][row, place], expected, atol=1e-5, rtol=0)
            for name in ("quats", "dc", "sh"):
                assert torch.equal(after[name][row, place], raw[name][row, source])
        untouched = ~dead[row] & (counts == 0)
        for name, tensor in raw.items():
            assert torch.equal(after[name][row][untouched], tensor[row][untouched])
            assert moments[name][row][untouched].all()
            assert not moments[name][row][~untouched].any()


def by_the_book(opacity: float, count: int) -> tuple[float, float]:
    """Kheradmand 2024, equation 9, as it is written."""
    shared = 1 - (1 - opacity) ** (1 / count)
    total = sum(
        math.comb(i - 1, k) * (-1) ** k / math.sqrt(k + 1) * shared ** (k + 1)
        for i in range(1, count + 1)
        for k in range(i)
    )
    return shared, opacity / total


@pytest.mark.parametrize("count", [1, 2, 3, 20, 51])
def test_shares_are_those_of_the_paper(device, count):
    opacities = torch.tensor([[0.006, 0.3, 0.9, 0.999]], device=device)
    shared, factor = share(opacities, torch.full((1, 4), count, device=device))
    expected = [by_the_book(each, count) for each in opacities[0].tolist()]
    np.testing.assert_allclose(torch.stack([shared, factor], -1)[0].cpu().numpy(), expected, rtol=1e-4)
    more, _ = share(opacities, torch.full((1, 4), 1000, device=device))
    assert torch.equal(more, share(opacities, torch.full((1, 4), 51, device=device))[0])


def test_many_share_the_light_of_one(device):
    """Drawn over each other, the Gaussians that share one's place look like it: that is what equation 9 is for."""
    offsets = torch.linspace(-9, 9, 2001, dtype=torch.float64, device=device)
    for opacity, count in ((0.5, 3), (0.9, 5)):
        shared, factor = share(torch.tensor([[opacity]], device=device), torch.tensor([[count]], device=device))
        alone = opacity * torch.exp(-offsets.square() / 2)
        each = shared.double() * torch.exp(-(offsets / factor.double()).square() / 2)
        together = 1 - (1 - each[0]) ** count
        assert (together - alone).abs().max() < 0.08
        assert together.sum().item() == pytest.approx(alone.sum().item(), rel=1e-4)


def test_choice_follows_the_weights(device):
    weights = torch.tensor([[0.0, 1.0, 3.0, 0.0], [0.0, 0.0, 0.0, 2.0]], device=device)
    draws = torch.linspace(0, 1, 4001, dtype=torch.float64, device=device).expand(2, -1).contiguous()
    counts = torch.stack([torch.bincount(row, minlength=4) for row in choose(weights, draws)])
    np.testing.assert_allclose(counts.cpu().numpy() / 4001, [[0, 0.25, 0.75, 0], [0, 0, 0, 1]], atol=1e-3)


def test_an_object_without_living_gaussians_keeps_them(device):
    raw, real = scene(device)
    raw["opacities"][2] = -9.0
    after, moments = moved(device, raw, real)
    for name, tensor in raw.items():
        assert torch.equal(after[name][2], tensor[2])
        assert moments[name][2].all()
        assert not torch.equal(after[name][0], tensor[0])


def test_faded_gaussians_come_back_during_the_fit(views, held_out, device, rasterise):
    recipe = dataclasses.replace(RECIPE, relocate_every=6)
    prepared = prepare(views, held_out, recipe, 0, device)
    opacities = prepared.start.opacities.copy()
    opacities[::3] = 1e-4
    start = Gaussians(*(getattr(prepared.start, name) for name in FIELDS if name not in ("opacities", "sh")), opacities,
                      prepared.start.sh)  # fmt: skip
    faded = dataclasses.replace(prepared, start=start)
    (without,) = optimise([faded], dataclasses.replace(recipe, relocate_every=0), rasterise)
    together = optimise([prepared, faded], recipe, rasterise)
    assert np.sum(without.opacities < 0.005) >= 50
    assert np.sum(together[1].opacities < 0.005) < 10
    if device.type == "cpu":
        (alone,) = optimise([faded], recipe, rasterise)
        np.testing.assert_allclose(together[1].means, alone.means, atol=2e-3)


def test_times_of_relocation():
    recipe = dataclasses.replace(RECIPE, relocate_every=10)
    assert [steps for steps in range(30) if relocates_after(recipe, steps)] == [0, 10]
    assert not any(relocates_after(RECIPE, steps) for steps in range(30))


def test_the_cpu_refuses_to_relocate(views, held_out):
    with pytest.raises(ValueError, match="relocate_every: 10, on 'cpu' only 0 is allowed"):
        fit(views, dataclasses.replace(RECIPE, relocate_every=10), 0, held_out)


def test_a_batch_is_as_large_as_memory_allows(views, held_out):
    def at_once(free_bytes: float, recipe: FitRecipe = RECIPE) -> int:
        return objects_at_once(views, held_out, recipe, int(free_bytes))

    sizes = [at_once(free) for free in np.geomspace(1e3, 1e12, 40)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (1, MOST_OBJECTS)
    finer = dataclasses.replace(RECIPE, stages=(Stage(32, 1), Stage(32, 1)))
    more = dataclasses.replace(RECIPE, num_gaussians=10_000)
    assert max(at_once(3e7, finer), at_once(3e7, more)) < at_once(3e7) < MOST_OBJECTS


def test_the_estimate_covers_what_an_object_holds(views, held_out):
    prepared = prepare(views, held_out, RECIPE, 0, torch.device("cpu"))
    raw, _ = to_raw([prepared.start], torch.device("cpu"))
    held = sum(tensor.nbytes for tensor in (*prepared.targets, prepared.held_out, prepared.targets[-1]))
    held += 4 * sum(tensor.nbytes for tensor in raw.values()) + 2 * 4 * 4 * SIZE * SIZE
    for count in (2, 20):
        area = SIZE * SIZE
        shared = area * (4 * 12 + 480 + 3 * 160)
        assert objects_at_once(views, held_out, RECIPE, int((shared + count * held) / 0.9)) <= count


def test_a_batch_beyond_memory_is_halved(views, flat, held_out, device, rasterise, caplog):
    calls = []

    def small(means, *rest):
        calls.append(len(means))
        if len(means) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return rasterise(means, *rest)

    objects = [prepare(each, held_out, SHORT, seed, device) for each, seed in ((views, 0), (flat, 1), (views, 2))]
    fitted = fit_batch(objects, SHORT, small)
    assert calls[:2] == [3, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "the GPU's memory does not hold 3 objects at once, going on with 1",
        "the GPU's memory does not hold 2 objects at once, going on with 1",
    ]
    if device.type == "cpu":
        (alone,) = fit_batch(objects[1:2], SHORT, rasterise)
        assert all(np.array_equal(getattr(fitted[1].gaussians, f), getattr(alone.gaussians, f)) for f in FIELDS)
        assert (fitted[1].psnr, fitted[1].ssim) == (alone.psnr, alone.ssim)


def test_an_object_beyond_memory_is_told(views, held_out):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        fit_batch([prepare(views, held_out, RECIPE, 0, torch.device("cpu"))], RECIPE, full)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_message_says_so(views, held_out):
    with pytest.raises(ValueError, match=r"device: 'cuda' needs an NVIDIA GPU .* use device 'cpu'"):
        fit_many([views], RECIPE, [0], [held_out], device="cuda")


@pytest.mark.gpu
def test_what_repeats_on_cuda_and_what_does_not(views, held_out):
    """The start, the targets and every image are the same bits; a fit is the same to some hundredths of a dB."""
    device = torch.device("cuda")
    once, again = (prepare(views, held_out, RECIPE, 0, device) for _ in range(2))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(once.start, name), getattr(again.start, name))
    assert all(torch.equal(*pair) for pair in zip(once.targets, again.targets, strict=True))
    raw, _ = to_raw([once.start], device)
    camera = [torch.from_numpy(array).to(device)[None] for array in (views.cameras.viewmats, views.cameras.Ks)]
    white = torch.ones(3, device=device)
    images = [rasterize_tensors(*activated(raw), *camera, SIZE, SIZE, white, False, 1) for _ in range(5)]
    assert all(torch.equal(image[0], images[0][0]) and torch.equal(image[1], images[0][1]) for image in images)
    scores = [fit_batch([once], RECIPE, rasterize_tensors)[0].psnr for _ in range(4)]
    assert max(scores) - min(scores) < 0.1


@pytest.mark.gpu
def test_batches_on_cuda_do_not_change_an_object(views, flat, held_out):
    prepared = {
        name: prepare(each, held_out, RECIPE, 0, torch.device("cuda")) for name, each in (("a", views), ("b", flat))
    }
    first = fit_batch([prepared["a"]], RECIPE, rasterize_tensors)[0]
    second = fit_batch([prepared[name] for name in "bab"], RECIPE, rasterize_tensors)[1]
    assert first.psnr == pytest.approx(second.psnr, abs=0.1)


@pytest.mark.gpu
def test_the_host_waits_once_a_step(views, held_out):
    """For gsplat's number of intersections, and for nothing of ours."""
    objects = [prepare(views, held_out, RECIPE, seed, torch.device("cuda")) for seed in (0, 1)]
    optimise(objects, RECIPE, rasterize_tensors)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            optimise(objects, RECIPE, rasterize_tensors)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = sum("synchronizing CUDA operation" in str(each.message) for each in told)
    assert waits >= RECIPE.iterations
    # Uploads at the beginning of each stage and downloads at the end come on top.
    assert waits <= RECIPE.iterations + 40


@pytest.mark.gpu
def test_fit_many_makes_batches_of_any_size(views, held_out):
    from gsbench.fit.cuda.many import fit_many as on_cuda

    fitted = [on_cuda([views] * 3, RECIPE, [0, 1, 2], [held_out] * 3, at_once) for at_once in (None, 1, 2)]
    for each in fitted[1:]:
        assert [one.psnr for one in each] == pytest.approx([one.psnr for one in fitted[0]], abs=0.1)
    with pytest.raises(ValueError, match="at_once: 0, it must be at least 1"):
        on_cuda([views], RECIPE, [0], [held_out], 0)
    with pytest.raises(ValueError, match="views: a batch on CUDA needs equal numbers and sizes"):
        fit_many([views, views[:5]], RECIPE, [0, 1], [held_out] * 2, device="cuda")
