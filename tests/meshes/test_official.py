"""The official split of ModelNet10."""

import os
from pathlib import Path

import pytest

from gsbench.meshes.split import CLASSES, IDENTICAL_FILES, SPLITS, list_meshes, official_ids, official_split


def test_counts_are_those_of_the_distribution():
    sizes = {split: {label: len(official_ids(label, split)) for label in CLASSES} for split in SPLITS}
    assert {split: sum(of_class.values()) for split, of_class in sizes.items()} == {"train": 3991, "test": 908}
    assert list(CLASSES) == sorted(CLASSES)
    assert len(CLASSES) == 10
    assert sizes["train"]["chair"] == 889
    assert sizes["test"]["night_stand"] == 86


def test_every_id_has_the_split_it_is_listed_under():
    listed = [(i, split) for label in CLASSES for split in SPLITS for i in official_ids(label, split)]
    assert len({object_id for object_id, _ in listed}) == len(listed)
    assert all(official_split(object_id) == split for object_id, split in listed)


@pytest.mark.parametrize(
    ("object_id", "split"),
    [("bathtub_0106", "train"), ("bathtub_0107", "test"), ("night_stand_0286", "test"), ("toilet_0444", "test")],
)
def test_the_seam_between_the_splits(object_id, split):
    assert official_split(object_id) == split


def test_identical_files_are_of_two_classes_and_four_pairs_cross_the_split():
    assert all(one.rpartition("_")[0] != other.rpartition("_")[0] for one, other in IDENTICAL_FILES)
    splits = [{official_split(object_id) for object_id in pair} for pair in IDENTICAL_FILES]
    assert splits.count({"train", "test"}) == 4
    assert splits.count({"train"}) == 4
    assert len({object_id for pair in IDENTICAL_FILES for object_id in pair}) == 16


@pytest.mark.parametrize(
    "object_id",
    ["bathtub_0000", "bathtub_0157", "bathtub_106", "bathtub_00106", "car_0001", "Bathtub_0001", "bathtub_0106\n", ""],
)
def test_other_ids_have_none(object_id):
    assert official_split(object_id) is None


def test_what_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"label is 'car' \(allowed: bathtub, bed, .*toilet\)"):
        official_ids("car", "train")
    with pytest.raises(ValueError, match=r"split is 'val' \(allowed: train, test\)"):
        official_ids("bed", "val")


@pytest.mark.modelnet
def test_the_real_folder_agrees():
    root = os.environ.get("GSBENCH_MODELNET10")
    if root is None:
        pytest.skip("GSBENCH_MODELNET10 is not set: no folder of the real meshes")
    meshes = list_meshes(Path(root))
    assert {mesh.label for mesh in meshes} <= set(CLASSES)
    assert [mesh.object_id for mesh in meshes if official_split(mesh.object_id) != mesh.split] == []
