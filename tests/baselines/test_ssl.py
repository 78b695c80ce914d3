"""The models of pairs: published sizes, losses against their formulas, and what each part learns from."""

import dataclasses
import math

import pytest
import torch
from gsbench_baselines.ssl.contrast import Contrast, _halved, chamfer
from gsbench_baselines.ssl.model import CrossModal

from gsbench.core.baseline import PairBaseline, build_model, find_recipe
from gsbench.core.recipe import Augment
from gsbench.core.types import Batch
from gsbench.learn.data import open_pairs
from gsbench.learn.evaluation import make_task
from gsbench.learn.schedule import schedule
from gsbench.learn.train import train
from gsbench.store.folder import open_folder
from gsbench.store.load import resolve
from tests.baselines.conftest import make_batch


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def pairs(objects: int = 4, channels: int = 3) -> Batch:
    images = torch.randint(
        0, 256, (objects, 3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return dataclasses.replace(make_batch(objects, 48, channels), images=images.permute(0, 1, 4, 2, 3))


def points_of(batch: Batch) -> Batch:
    return dataclasses.replace(batch, images=None)


def views_of(batch: Batch, views: list[int]) -> Batch:
    return Batch(batch.ids, batch.labels, images=batch.images[:, views])


@pytest.fixture(scope="module")
def net() -> CrossModal:
    torch.manual_seed(0)
    return CrossModal(3, margin=0.2).eval()


@pytest.mark.parametrize(
    ("points", "channels", "expected"),
    [
        ("pointnet", 3, 2_736_457),
        ("pointnet", 10, 2_737_353),
        ("pointnet", 54, 2_742_985),
        ("pointnet++", 3, 502_912),
        ("pointnet++", 10, 504_032),
        ("pointnet++", 54, 511_072),
    ],
)
def test_the_published_parameters(points, channels, expected):
    with torch.device("meta"):
        net = CrossModal(channels, points)
    assert isinstance(net, PairBaseline)
    assert count(net.points) == expected
    assert count(net.images) == 11_176_512
    assert count(net.fusion) == 262_914
    assert count(net) == expected + 11_176_512 + 262_914


@torch.no_grad()
@pytest.mark.parametrize("points", ["pointnet", "pointnet++"])
def test_features_have_512_channels_in_either_modality(points):
    net, batch = CrossModal(3, points).eval(), pairs()
    of_points, of_images = net.embed(points_of(batch)), net.embed(views_of(batch, [0, 1, 2]))
    assert of_points.shape == of_images.shape == (4, 512)
    alone = torch.stack([net.embed(views_of(batch, [view])) for view in range(3)])
    torch.testing.assert_close(of_images, alone.amax(0))
    with pytest.raises(ValueError, match=r"embed is given images and Gaussians \(must be either\)"):
        net.embed(batch)


@torch.no_grad()
@pytest.mark.parametrize(
    ("points", "width"),
    [
        ("pointnet-vanilla", 1024),
        ("pointnet-vanilla-narrow", 256),
        ("pointnet-vanilla-wide", 4096),
        ("pointnet++-ssg", 1024),
    ],
)
def test_a_code_is_a_linear_map_of_the_pooled_features(points, width):
    net, batch = Contrast(3, points, code=16).eval(), points_of(pairs())
    pooled = net.points.embed(batch)
    assert pooled.shape == (4, width)
    torch.testing.assert_close(net.embed(batch), pooled @ net.code.weight.T + net.code.bias)
    assert net.code.weight.shape == (16, width)


def test_widths_differ_in_nothing_else():
    short, narrow, wide = (find_recipe(f"ssl-plus:{name}")[0] for name in ("short", "short-narrow", "short-wide"))
    assert {narrow.options["points"], wide.options["points"]} == {"pointnet-vanilla-narrow", "pointnet-vanilla-wide"}
    for other in (narrow, wide):
        options = {**other.options, "points": short.options["points"]}
        assert dataclasses.replace(other, name=short.name, title=short.title, options=options) == short


@torch.no_grad()
def test_the_loss_is_the_published_formula(net):
    """Triplet(f1, f2, f3) + 3 (CE(1) + CE(1) + CE(0)), written out."""
    batch = pairs()
    first, second, third = (net.embed(views_of(batch, [view])) for view in range(3))
    points = net.embed(points_of(batch))
    near, far = ((first - other + 1e-6).square().sum(1).sqrt() for other in (second, third))
    triplet = (near - far + 0.2).clamp(min=0).mean()
    entropy = 0.0
    for view, answer in ((first, 1), (second, 1), (third, 0)):
        hidden = (torch.cat([view, points], 1) @ net.fusion[0].weight.T + net.fusion[0].bias).clamp(min=0)
        scores = hidden @ net.fusion[2].weight.T + net.fusion[2].bias
        entropy -= scores.log_softmax(1)[:, answer].mean()
        torch.testing.assert_close(net.same_object(view, points), scores[:, 1] - scores[:, 0])
    assert triplet > 0
    torch.testing.assert_close(net.loss(batch, 0.0), triplet + 3 * entropy)


@torch.no_grad()
def test_margin_and_weights(net, monkeypatch):
    """A margin that no triplet meets adds itself to the loss."""
    losses = {}
    for margin in (1000.0, 1001.0):
        monkeypatch.setattr(net, "margin", margin)
        losses[margin] = net.loss(pairs(), 0.0)
    torch.testing.assert_close(losses[1001.0] - losses[1000.0], torch.tensor(1.0), atol=1e-3, rtol=0)
    monkeypatch.setattr(net, "triplet_weight", 0.0)
    matching = net.loss(pairs(), 0.0)
    monkeypatch.setattr(net, "match_weight", 6.0)
    torch.testing.assert_close(net.loss(pairs(), 0.0), 2 * matching)
    assert net.loss(pairs(), 0.3) != net.loss(pairs(), 0.0)


def test_each_set_of_views_has_its_own_batch_statistics():
    net = CrossModal(3)
    net.loss(pairs(), 0.0)
    assert net.images.bn1.num_batches_tracked == 3
    assert net.points.trunk.norms[0].num_batches_tracked == 1


@pytest.mark.parametrize(
    "make",
    [CrossModal, lambda channels: CrossModal(channels, "pointnet++"), Contrast],
    ids=["F_p", "F_p++", "contrast"],
)
def test_the_gradient_reaches_every_layer(make):
    torch.manual_seed(0)
    net = make(3)
    loss = net.loss(pairs(), 0.0)
    assert loss.isfinite()
    loss.backward()
    for name, parameter in net.named_parameters():
        if parameter.ndim > 1:
            assert parameter.grad.abs().sum() > 0, name


def test_the_transforms_start_off_the_identity(net):
    assert net.points.feature_transform.head.last.weight.std() > 0.01


@torch.no_grad()
def test_published_spherical_harmonics():
    """The 44 coefficients: neither the base color nor the last coefficient of blue is looked at."""
    torch.manual_seed(0)
    net, batch = CrossModal(58, published_sh=True).eval(), points_of(pairs(channels=58))
    assert count(net.points) == 2_742_985
    before = net.embed(batch)
    batch.points[..., [10, 11, 12, 57]] += 1
    assert torch.equal(net.embed(batch), before)
    for channel in (9, 13, 56):
        changed = dataclasses.replace(batch, points=batch.points.clone())
        changed.points[..., channel] += 1
        assert not torch.equal(net.embed(changed), before), channel


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossModal(3, "pointnet+"), r"points is 'pointnet\+' \(allowed: pointnet, pointnet-vanilla, pointnet"),
        (lambda: CrossModal(22, published_sh=True), r"published_sh is true for 22 channels \(allowed: 58, those of"),
        (lambda: CrossModal(3, margin=-1.0), r"margin is -1\.0 \(must be at least 0\)"),
        (lambda: Contrast(3, code=0), r"code is 0 \(must be at least 1\)"),
        (lambda: Contrast(3, temperature=0.0), r"temperature is 0\.0 \(must be above 0\)"),
    ],
)
def test_refused_options(make, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        make()


def test_the_halves_are_those_of_the_augmentation():
    """What `augment.halves` puts side by side comes apart again; every half of an object is a cloud of its own."""
    batch = make_batch(5, 42)
    halves = _halved(batch)
    assert halves.ids == batch.ids * 2
    for chunk, part in zip(halves.points.chunk(2), (slice(0, 21), slice(21, 42)), strict=True):
        assert torch.equal(chunk, batch.points[:, part])
    assert torch.equal(torch.cat(halves.mask.chunk(2), 1), batch.mask)


def test_chamfer_is_the_mean_distance_to_the_nearest_both_ways():
    generator = torch.Generator().manual_seed(0)
    drawn, cloud = (torch.rand(3, count, 3, generator=generator) for count in (5, 7))
    mask = torch.arange(7) < torch.tensor([7, 3, 1])[:, None]
    there, back = [], []
    for own, other, kept in zip(drawn, cloud, mask, strict=True):
        distances = torch.cdist(own, other[kept])
        there += distances.amin(1)
        back += distances.amin(0)
    torch.testing.assert_close(chamfer(drawn, cloud, mask), torch.stack(there).mean() + torch.stack(back).mean())
    assert chamfer(cloud, cloud, mask.new_ones(mask.shape)) < 1e-3


def test_contrast_of_what_is_told_apart():
    net = Contrast(3, "pointnet", temperature=0.5)
    own = torch.eye(4, 128)
    expected = math.log(1 + 3 * math.exp(-2))
    assert net._contrast(own, own, 0.0).item() == pytest.approx(expected)
    assert net._contrast(own, own.roll(1, 0), 0.0).item() == pytest.approx(expected + 2)


def test_matching_does_not_change_the_features():
    """The encoders get the same gradient whatever the fusion head answers."""
    torch.manual_seed(0)
    net, batch, gradients = Contrast(3, "pointnet"), pairs(), []
    for _ in range(2):
        net.zero_grad()
        torch.manual_seed(1)
        net.loss(batch, 0.0).backward()
        gradients.append([net.images.conv1.weight.grad.clone(), net.points.trunk.layers[0].weight.grad.clone()])
        assert net.fusion[0].weight.grad.abs().sum() > 0
        torch.nn.init.normal_(net.fusion[0].weight)
    for before, after in zip(*gradients, strict=True):
        torch.testing.assert_close(before, after)


@pytest.mark.parametrize("name", ["ssl-pointnet", "ssl-pointnet++"])
def test_the_full_variant_is_the_published_schedule(name):
    recipe, _ = find_recipe(f"{name}:full")
    assert recipe.supervision == "pairs"
    assert recipe.options == {"points": name[4:], "margin": 2.0, "triplet_weight": 1.0, "match_weight": 3.0}
    assert (recipe.train.optimizer, recipe.train.batch_size, recipe.train.weight_decay) == ("sgd", 32, 5e-4)
    steps = 3991 // 32  # of an epoch
    assert recipe.train.epochs * steps == 12_400
    rates = [schedule(recipe.train, step / steps)[0] for step in (0, 4990, 5010, 9980, 10_010, 12_399)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])
    assert (recipe.images.size, recipe.images.crop_scale, recipe.images.flip) == (224, (0.08, 1.0), True)
    assert recipe.points.min_opacity == pytest.approx(1 / (1 + math.exp(-0.3)), abs=5e-4)
    assert recipe.augment == Augment()


@pytest.mark.parametrize(("name", "half"), [("ssl-pointnet", (0.88, 0.95)), ("ssl-pointnet++", (0.90, 0.95))])
def test_published_figures_of_tables_3_to_5(name, half):
    figures = find_recipe(name)[0].reported
    assert {figure.protocol for figure in figures} == {"probe"}
    of_images = {(f.features, f.num_views, f.views_from) for f in figures if f.modality == "images" and f.regime == 100}
    views = ((1, "meshes"), (4, "meshes"), (32, "meshes"), (64, "meshes"), (64, "gaussians"))
    assert of_images == {(kind, *seen) for kind in ("xyz", "xyz+geo", "xyz+geo+sh") for seen in views}
    assert len(figures) == 15 + 3 + 2
    assert tuple(figure.accuracy for figure in figures if figure.regime == 50) == half


def test_published_scores_of_the_pretext_tasks():
    """Table 1 has each backbone; each of Table 2's six cells is of one of them."""
    figures = [
        figure for name in ("ssl-pointnet", "ssl-pointnet++") for figure in find_recipe(name)[0].reported_pretext
    ]
    assert len(figures) == 12
    assert max(figure.cross_modality_accuracy for figure in figures) == 0.952
    cells = {(f.features, f.sampling): (f.mpd_positive, f.mpd_negative) for f in figures if f.mpd_positive is not None}
    assert len(cells) == len([figure for figure in figures if figure.mpd_negative is not None]) == 6
    assert cells["xyz", "fps"] == (5.34, 13.57)


@pytest.mark.parametrize("name", ["ssl-pointnet", "ssl-pointnet++", "ssl-plus"])
def test_what_is_scaled_down_says_so(name):
    recipe, _ = find_recipe(name)
    for variant in (recipe, *(find_recipe(f"{name}:{variant}")[0] for variant in recipe.variants)):
        assert (f"{variant.images.size} px" in variant.title) == (variant.images.size != 224), variant.name
        length = f"{variant.train.epochs} epoch" if variant.train.epochs else "untrained"
        assert (length in variant.title) == (variant.train.epochs < 100), variant.name


def test_a_smoke_run_on_the_embedded_data():
    """Gaussians and views of mini, 16 objects of them, through the loop: both modalities then have features."""
    recipe, path = find_recipe("ssl-pointnet:smoke")
    folder = open_folder(resolve("mini"))
    gaussians = make_task(folder, "gaussians", 10, 0, "xyz", "fps", 64, "meshes")
    images = make_task(folder, "images", 10, 0, "xyz", "fps", 2, "meshes")
    objects = open_pairs(folder, gaussians, images, "train", recipe.images, min_opacity=recipe.points.min_opacity)
    torch.manual_seed(0)
    net = build_model(recipe, path, objects.channels, 10)
    before = net.images.conv1.weight.detach().clone()
    assert train(net, objects, recipe, 0, torch.device("cpu")).epochs == 1
    assert not torch.equal(net.images.conv1.weight, before)
    batch = objects.batch(torch.arange(4))
    with torch.no_grad():
        features = [net.eval().embed(part) for part in (views_of(batch, [0, 1]), points_of(batch))]
    assert net.same_object(*features).isfinite().all()
