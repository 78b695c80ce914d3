"""Objects of a task: which, in what order, with which channels, and that they are normalized."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from gsbench.core.tasks import Task, regime_ids
from gsbench.learn.data import Objects, most_inputs, most_points, open_objects
from gsbench.meshes.surface import fps_order
from gsbench.store.arrays import rows_of
from gsbench.store.folder import open_folder, read_table
from tests.store.conftest import made as views_folder  # noqa: F401 (a fixture)
from tests.store.conftest import renders
from tests.tiny_training import LARGEST, OBJECTS, make_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return open_folder(make_folder(tmp_path_factory.mktemp("data") / "tiny"))


def task(**changes) -> Task:
    base = Task(
        dataset="tiny", revision="0.1", fingerprint="0" * 64, split="test", modality="gaussians", protocol="supervised",
        regime=100, draw=0, features="xyz", sampling="fps", num_points=32, num_views=None, views_from=None,
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def stored(folder, column, split="test"):
    shapes = {"fps_order": (), "opacities": (), "quats": (4,), "sh": (4, 3)}
    table = read_table(folder, "gaussians", split, ["object_id", column])
    return dict(zip(table["object_id"].to_pylist(), rows_of(table[column], shapes.get(column, (3,))), strict=True))


def normalized(positions):
    positions = positions.astype(np.float64) - positions.astype(np.float64).mean(0)
    radius = np.linalg.norm(positions, axis=1).max()
    return positions / radius, radius


def test_ids_and_labels(folder):
    objects = open_objects(folder, task(), "test")
    assert objects.ids == tuple(sorted(OBJECTS["test"]))
    assert [folder.manifest.classes[label] for label in objects.labels] == [OBJECTS["test"][i] for i in objects.ids]
    assert len(objects) == 12
    assert objects.points.dtype == torch.float32


def test_furthest_points_are_a_slice_of_the_stored_order(folder):
    objects = open_objects(folder, task(), "test")
    means, orders = stored(folder, "means"), stored(folder, "fps_order")
    for object_id, points, mask in zip(objects.ids, objects.points, objects.mask, strict=True):
        expected, _ = normalized(means[object_id][orders[object_id][:32]])
        assert mask.sum() == len(expected) == min(32, len(means[object_id]))
        np.testing.assert_allclose(points[mask].numpy(), expected, atol=1e-6)
        assert not points[~mask].any()


def test_points_are_taken_as_stored(folder):
    objects = open_objects(folder, task(modality="points", num_points=7), "test")
    table = read_table(folder, "points", "test")
    for points, whole in zip(objects.points, rows_of(table["points"], (3,)), strict=True):
        np.testing.assert_allclose(points, normalized(whole[:7])[0], atol=1e-6)


def test_an_object_with_fewer_points_is_padded(folder):
    objects = open_objects(folder, task(num_points=LARGEST), "test")
    counts = objects.mask.sum(1)
    assert counts.tolist() == [len(means) for means in stored(folder, "means").values()]
    assert counts.min() < LARGEST == counts.max()
    assert all(mask[: mask.sum()].all() for mask in objects.mask), "padding comes last"


def test_gaussians_below_an_opacity_stay_out(folder):
    """What is left has a furthest-point order of its own."""
    objects = open_objects(folder, task(num_points=16), "test", min_opacity=0.4)
    means, opacities = stored(folder, "means"), stored(folder, "opacities")
    for object_id, points, mask in zip(objects.ids, objects.points, objects.mask, strict=True):
        left = means[object_id][opacities[object_id] >= 0.4]
        assert len(left) < len(means[object_id])
        expected, _ = normalized(left[fps_order(left, 16)])
        np.testing.assert_allclose(points[mask].numpy(), expected, atol=1e-6)
    assert most_points(folder, "gaussians", "test", 0.4) == max((o >= 0.4).sum() for o in opacities.values())
    surface = task(modality="points", num_points=7)
    assert torch.equal(
        open_objects(folder, surface, "test", min_opacity=0.4).points, open_objects(folder, surface, "test").points
    )
    with pytest.raises(ValueError, match=r"ball_0013: no gaussians, or none opaque enough"):
        open_objects(folder, task(), "test", min_opacity=0.9999999)


def test_uniform_draws_are_fixed_and_without_replacement(folder):
    once = open_objects(folder, task(sampling="uniform"), "test")
    again = open_objects(folder, task(sampling="uniform"), "test")
    assert torch.equal(once.points, again.points)
    assert not torch.equal(once.points, open_objects(folder, task(), "test").points)
    for points, mask in zip(once.points, once.mask, strict=True):
        assert len(points[mask].unique(dim=0)) == mask.sum()
    fewer = open_objects(folder, task(sampling="uniform", num_points=8), "test")
    assert fewer.mask.all()


def test_channels_accumulate_and_scales_move_with_positions(folder):
    columns = {name: stored(folder, name) for name in ("means", "scales", "quats", "sh", "fps_order")}
    widths = {}
    for features in ("xyz", "xyz+geo", "xyz+geo+sh"):
        objects = open_objects(folder, task(features=features), "test")
        widths[features] = objects.channels
    assert widths == {"xyz": 3, "xyz+geo": 10, "xyz+geo+sh": 10 + 3 * 4}
    for object_id, points, mask in zip(objects.ids, objects.points.numpy(), objects.mask, strict=True):
        index = columns["fps_order"][object_id][:32]
        positions, radius = normalized(columns["means"][object_id][index])
        quats = columns["quats"][object_id][index]
        own = points[mask.numpy()]
        np.testing.assert_allclose(own[:, :3], positions, atol=1e-6)
        np.testing.assert_allclose(np.exp(own[:, 3:6]) * radius, columns["scales"][object_id][index], rtol=1e-5)
        np.testing.assert_allclose(np.abs((own[:, 6:10] * quats).sum(1)), 1, atol=1e-5)
        assert (own[:, 6] >= 0).all()
        np.testing.assert_array_equal(own[:, 10:], columns["sh"][object_id][index].reshape(len(index), -1))


@pytest.mark.parametrize(("regime", "draw"), [(100, 0), (50, 0), (50, 2), (10, 1), (1, 0)])
def test_training_objects_are_the_regimes(folder, regime, draw):
    objects = open_objects(folder, task(regime=regime, draw=draw), "train")
    assert list(objects.ids) == regime_ids(OBJECTS["train"], regime, draw)
    assert len(open_objects(folder, task(regime=regime, draw=draw), "test")) == 12


def test_a_regime_that_is_not_the_manifests_is_refused(folder, tmp_path):
    path = make_folder(tmp_path / "tiny")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["regimes"]["50/1"]["sha256"] = "f" * 64
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"regime 50/1 has ids of sha256 .* \(must be ffffffffffff"):
        open_objects(open_folder(path), task(regime=50, draw=1), "train")
    assert len(open_objects(open_folder(path), task(regime=50, draw=0), "train")) == 12


def test_too_many_points(folder):
    with pytest.raises(ValueError, match=rf"num_points is 61 \(allowed: up to {LARGEST}"):
        open_objects(folder, task(num_points=61), "test")
    with pytest.raises(ValueError, match=r"num_points is 4097 \(allowed: up to 4096 with sampling fps\)"):
        open_objects(folder, task(num_points=4097), "test")
    assert most_inputs(folder, "gaussians", "meshes") == most_inputs(folder, "points", "meshes") == LARGEST


def test_a_config_that_is_not_there(tmp_path):
    only_points = open_folder(make_folder(tmp_path / "tiny", ("points",)))
    with pytest.raises(ValueError, match=r"no config 'gaussians' \(it has: points\)"):
        open_objects(only_points, task(), "test")


def test_images(views_folder):  # noqa: F811
    folder = open_folder(views_folder)
    images = {"modality": "images", "features": None, "sampling": None, "num_points": None, "views_from": "meshes"}
    objects = open_objects(folder, task(**images, num_views=2), "test")
    assert objects.images.shape == (6, 2, 3, 8, 8)
    assert objects.channels == 3
    rgba = np.random.default_rng(0).integers(0, 256, (8, 8, 4), np.uint8).astype(float)  # view 0 of any object
    expected = rgba[..., :3] * rgba[..., 3:] / 255 + 255 - rgba[..., 3:]
    np.testing.assert_allclose(objects.images[3, 0].permute(1, 2, 0), expected, atol=0.51)
    assert objects.batch(torch.tensor([4])).images.shape == (1, 2, 3, 8, 8)
    assert most_inputs(folder, "images", "meshes") == 3
    with pytest.raises(ValueError, match=r"num_views is 4 for the views of test \(allowed: up to 3"):
        open_objects(folder, task(**images, num_views=4), "test")
    again = open_objects(folder, task(**images | {"views_from": "gaussians"}, num_views=2), "test")
    np.testing.assert_array_equal(again.images[3, 1].permute(1, 2, 0), renders(objects.ids[3])[0].images[1])
    assert most_inputs(folder, "images", "gaussians") == 2, "novel cameras are no input"


def test_batches_are_drawn_by_index(folder):
    objects = open_objects(folder, task(), "test")
    batch = objects.batch(torch.tensor([5, 1]))
    assert isinstance(objects.to(torch.device("cpu")), Objects)
    assert batch.ids == (objects.ids[5], objects.ids[1])
    assert torch.equal(batch.points, objects.points[[5, 1]])
    assert torch.equal(batch.mask, objects.mask[[5, 1]])
    assert torch.equal(batch.labels, objects.labels[[5, 1]])
    assert batch.images is None


@pytest.mark.parametrize("sampling", ["fps", "uniform"])
def test_other_draws_are_other_points_of_the_same_objects(folder, sampling):
    chosen = task(sampling=sampling, num_points=16)
    first, again, second, third = (
        open_objects(folder, chosen, "test", sampling_draw=draw).points for draw in (0, 0, 1, 2)
    )
    assert torch.equal(first, again)
    assert torch.equal(first, open_objects(folder, chosen, "test").points)
    for a, b in ((first, second), (first, third), (second, third)):
        assert sum(not torch.equal(one, other) for one, other in zip(a, b, strict=True)) >= 9, "a start may repeat"


def test_a_draw_of_furthest_points_is_one_from_another_start(folder):
    means = stored(folder, "means")
    objects = open_objects(folder, task(num_points=12), "test", sampling_draw=1)
    for object_id, points in zip(objects.ids, objects.points.numpy(), strict=True):
        orders = [plain_fps(means[object_id], 12, start) for start in range(len(means[object_id]))]
        assert any(np.abs(normalized(means[object_id][order])[0] - points).max() < 1e-6 for order in orders)


def plain_fps(points: np.ndarray, count: int, start: int) -> list[int]:
    order, nearest = [start], np.full(len(points), np.inf)
    while len(order) < count:
        nearest = np.minimum(nearest, np.square(points - points[order[-1]]).sum(1))
        order.append(int(nearest.argmax()))
    return order


def test_draws_of_objects_with_few_points_hold_all_of_them(folder):
    whole = task(num_points=LARGEST)
    first, other = (open_objects(folder, whole, "test", sampling_draw=draw) for draw in (0, 1))
    assert torch.equal(first.mask, other.mask)
    for a, b, mask in zip(first.points, other.points, first.mask, strict=True):
        np.testing.assert_allclose(*(np.sort(each[mask].numpy(), 0) for each in (a, b)), atol=1e-6)
