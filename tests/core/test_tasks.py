"""Tasks and regimes: what is refused, what tells tasks apart, and what a regime keeps."""

import dataclasses
import itertools

import pytest

from gsbench.core import tasks
from gsbench.core.tasks import Task

LABELS = {f"{label}_{i:04d}": label for label, n in (("chair", 101), ("sofa", 40), ("table", 3)) for i in range(n)}


@pytest.fixture
def task() -> Task:
    return Task("mini", "1.0", "ab" * 32, "test", "gaussians", "supervised", 50, 1, "xyz+geo", "fps", 1024, None, None)


@pytest.fixture
def image_task(task) -> Task:
    images = {"modality": "images", "num_views": 12, "views_from": "meshes"}
    return dataclasses.replace(task, features=None, sampling=None, num_points=None, **images)


def test_slug(task, image_task):
    assert task.slug() == "mini@abababab-test-gaussians-supervised-xyz+geo-fps-n1024-r50d1"
    assert image_task.slug() == "mini@abababab-test-images-supervised-meshes-v12-r50d1"


def test_novel_cameras_are_another_task(image_task):
    renders = dataclasses.replace(image_task, views_from="gaussians")
    novel = dataclasses.replace(renders, cameras="novel")
    assert renders.slug() == "mini@abababab-test-images-supervised-gaussians-v12-r50d1"
    assert novel.slug() == "mini@abababab-test-images-supervised-gaussians-novel-v12-r50d1"


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "other"},
        {"fingerprint": "cd" * 32},
        {"split": "val"},
        {"modality": "points", "features": "xyz"},
        {"protocol": "probe"},
        {"regime": 10},
        {"draw": 2},
        {"features": "xyz"},
        {"sampling": "uniform"},
        {"num_points": 512},
    ],
)
def test_slugs_tell_tasks_apart(task, change):
    assert dataclasses.replace(task, **change).slug() != task.slug()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"regime": 30}, r"regime is 30 \(allowed: 100, 50, 10, 1\)"),
        ({"draw": 3}, r"draw is 3 \(allowed: 0 to 2\)"),
        ({"draw": -1}, "draw is -1"),
        ({"regime": 100}, "draw is 1 at regime 100"),
        ({"features": None}, "features is None"),
        ({"modality": "points"}, r"features is 'xyz\+geo' \(allowed: xyz, unknown\)"),
        ({"num_points": 0}, "num_points is 0"),
        ({"cameras": "novel"}, r"cameras is 'novel' \(allowed: train\)"),
        ({"modality": "images"}, "views_from is None"),
        ({"modality": "images", "views_from": "meshes"}, "features is 'xyz"),
    ],
)
def test_values_that_are_not_allowed(task, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(task, **change)


def test_a_regime_is_stratified_and_keeps_one_of_each_class_at_least():
    def count(regime: int) -> dict[str, int]:
        chosen = [LABELS[i] for i in tasks.regime_ids(LABELS, regime, 0)]
        return {label: chosen.count(label) for label in ("chair", "sofa", "table")}

    assert count(100) == {"chair": 101, "sofa": 40, "table": 3}
    assert count(50) == {"chair": 50, "sofa": 20, "table": 1}
    assert count(10) == {"chair": 10, "sofa": 4, "table": 1}
    assert count(1) == {"chair": 1, "sofa": 1, "table": 1}


@pytest.mark.parametrize(
    ("regime", "used", "of", "words"),
    [
        (100, 60, 60, "100 %"),
        (50, 30, 60, "50 % (30 of 60 objects)"),
        (10, 395, 3991, "10 % (395 of 3991 objects)"),
        (1, 10, 60, "1 % (10 of 60 objects, at least one a class)"),
        (1, 10, None, "1 % (10 objects)"),
    ],
)
def test_a_regime_in_words_says_how_many_objects_it_is(regime, used, of, words):
    assert tasks.describe_share(regime, used, of) == words


@pytest.mark.parametrize("draw", range(tasks.DRAWS))
def test_regimes_of_a_draw_are_nested(draw):
    sets = [set(tasks.regime_ids(LABELS, regime, draw)) for regime in sorted(tasks.REGIMES)]
    assert all(small < large for small, large in itertools.pairwise(sets))


def test_draws_differ_and_do_not_depend_on_order_or_other_objects():
    first, second = (tasks.regime_ids(LABELS, 10, draw) for draw in (0, 1))
    assert first != second
    assert tasks.regime_ids(dict(reversed(LABELS.items())), 10, 0) == first
    chairs = {i: label for i, label in LABELS.items() if label == "chair"}
    assert set(tasks.regime_ids(chairs, 10, 0)) == {i for i in first if i.startswith("chair")}


def test_a_draw_is_frozen():
    """The draws are part of published results: this changes only with a new name for the regimes."""
    chairs = {f"chair_{i:04d}": "chair" for i in range(40)}
    assert tasks.regime_ids(chairs, 10, 0) == ["chair_0002", "chair_0004", "chair_0012", "chair_0036"]


def test_all_regimes():
    assert tasks.all_regimes() == [(100, 0), *((r, d) for r in (50, 10, 1) for d in range(3))]


def test_hashes_of_sets_do_not_depend_on_order():
    assert tasks.ids_sha256(["b", "a"]) == tasks.ids_sha256(["a", "b"]) != tasks.ids_sha256(["ab"])
    shards = {"b": "2", "a": "1"}
    assert tasks.fingerprint(shards) == tasks.fingerprint(dict(sorted(shards.items())))
    assert tasks.fingerprint(shards) != tasks.fingerprint({"b": "1", "a": "2"})
