from collections import Counter

import numpy as np
import pytest

from gsbench.core.parsing import InputError
from gsbench.core.tasks import ids_sha256
from gsbench.learn.data import open_images, open_objects, training_ids
from gsbench.learn.evaluation import make_task
from gsbench.store.folder import Folder, open_folder, read_labels, read_table
from gsbench.store.load import resolve
from gsbench.store.validation import hold_out, validation_ids

LABELS = {f"{label}_{i:04d}": label for label in ("chair", "desk") for i in range(40)} | {"lamp_0000": "lamp"}


@pytest.fixture(scope="module")
def mini() -> Folder:
    return open_folder(resolve("mini"))


def test_a_fifth_of_each_class_is_held_out_and_never_a_single_object():
    counts = Counter(LABELS[object_id] for object_id in validation_ids(LABELS))
    assert counts == {"chair": 8, "desk": 8}
    assert validation_ids({"a": "chair", "b": "chair"}) in (["a"], ["b"])


def test_the_choice_depends_on_ids_alone():
    backwards = dict(reversed(LABELS.items()))
    assert validation_ids(LABELS) == validation_ids(backwards)
    assert ids_sha256(validation_ids(LABELS)) == "615fc5f2160ec5b3079510f42d0ba0c8aec674f2cba2bc22476dc64261ca29d4"


def test_twins_stay_on_one_side():
    rng = np.random.default_rng(0)
    ids = sorted(LABELS)
    for _ in range(50):
        twins = [tuple(rng.choice(ids, rng.integers(2, 5), replace=False)) for _ in range(12)]
        chosen = set(validation_ids(LABELS, twins))
        assert chosen
        for group in twins:
            assert len({object_id in chosen for object_id in group}) == 1, group
        counts = Counter(LABELS[object_id] for object_id in chosen)
        assert max(counts.values()) <= 8
        assert counts["lamp"] == 0


def test_groups_are_joined_by_a_shared_object():
    labels = dict.fromkeys("abcdefghijklmnopqrstuvwxyz", "chair")
    chain = list(zip("abcdefghij", "bcdefghijk", strict=True))  # eleven in one group: more than a fifth
    assert not set(validation_ids(labels, chain)) & set("abcdefghijk")


def test_unknown_twins_count_for_nothing():
    assert validation_ids(LABELS, [("nobody", "chair_0000")]) == validation_ids(LABELS)


def test_the_held_out_objects_of_the_mini_are_frozen(mini):
    held = hold_out(mini)
    train, val = read_labels(held, "train"), read_labels(held, "test")
    assert {*train, *val} == {*read_labels(mini, "train")}
    assert not train.keys() & val.keys()
    assert set(Counter(val.values()).values()) == {4}
    assert ids_sha256(val) == "531034d7a22c1c80404cb068864fd57d91fad68217456ca2242af04f44322084"


def test_no_test_object_is_read(mini):
    held, test = hold_out(mini), set(read_labels(mini, "test"))
    for split in ("train", "test"):
        assert not test & set(read_labels(held, split))
        for config in mini.manifest.counts:
            assert not test & set(read_table(held, config, split, ["object_id"])["object_id"].to_pylist())


def test_values_are_those_of_the_same_objects(mini):
    held = hold_out(mini)
    whole = open_objects(mini, make_task(mini, "gaussians", 100, 0, "xyz+geo", "fps", 64, "meshes"), "train")
    rows = {object_id: row for row, object_id in enumerate(whole.ids)}
    for split in ("train", "test"):
        part = open_objects(held, make_task(held, "gaussians", 100, 0, "xyz+geo", "fps", 64, "meshes"), split)
        index = [rows[object_id] for object_id in part.ids]
        assert part.points is not None
        assert whole.points is not None
        assert part.points.equal(whole.points[index])
        assert part.labels.equal(whole.labels[index])


def test_images_are_those_of_the_same_objects(mini):
    held = hold_out(mini)
    ids = sorted(read_labels(held, "test"))[:3]
    ours = open_images(held, "meshes", "test", ids, 4, 32)
    theirs = open_images(mini, "meshes", "train", ids, 4, 32)
    assert ours.ids == theirs.ids
    assert ours.images is not None
    assert theirs.images is not None
    assert ours.images.equal(theirs.images)


def test_regimes_are_of_what_is_left(mini):
    held = hold_out(mini)
    left = set(read_labels(held, "train"))
    half = training_ids(held, 50, 0)
    assert set(half) < left
    assert len(half) == 100
    assert set(training_ids(held, 10, 0)) < set(half)


def test_tasks_say_val(mini):
    task = make_task(hold_out(mini), "points", 100, 0, "xyz", "fps", 64, "meshes")
    assert task.split == "val"
    assert "-val-" in task.slug()


def test_nothing_to_hold_out(mini, monkeypatch):
    monkeypatch.setattr("gsbench.store.validation.read_labels", lambda folder, split: {"a": "chair", "b": "desk"})
    with pytest.raises(InputError, match="no class has two training objects"):
        hold_out(mini)
