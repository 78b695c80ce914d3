"""A data set that is made from ModelNet10 holds the objects of ModelNet10, each in its place, or says why not."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gsbench.meshes.split import official_objects
from gsbench.produce.verification import Report, verify
from gsbench.store.create import Contents, create_folder
from gsbench.store.folder import open_folder
from gsbench.store.leaks import audit_of, shipped_audit
from gsbench.store.origin import MODELNET10, Origin, origin_of, published_name
from tests.store.conftest import ABOUT, points_row

RIGHT = {
    "train": {"bathtub_0001": "bathtub", "bed_0515": "bed"},
    "test": {"bathtub_0107": "bathtub", "bed_0516": "bed"},
}


def check(
    out: Path, objects: dict[str, dict[str, str]], missing: set[str], derived_from: str | None = MODELNET10, **more: Any
) -> Report:
    aside, lacks = {"sofa_0001": "it is flat"}, tuple(sorted(missing))
    contents = Contents(ABOUT, objects, set_aside=aside, missing=lacks, derived_from=derived_from, **more)
    rows = {("points", split): map(points_row, sorted(labels)) for split, labels in objects.items()}
    create_folder(out, contents, rows)
    return verify(out)


def others() -> set[str]:
    return official_objects().keys() - {name for labels in RIGHT.values() for name in labels} - {"sofa_0001"}


def test_what_is_missing_is_listed_and_no_problem_if_it_is_said(tmp_path: Path) -> None:
    report = check(tmp_path / "data", RIGHT, others())
    assert report.problems == ()
    assert set(report.missing) == others() | {"sofa_0001"}
    assert len(report.missing) == 4899 - 4
    assert report.set_aside == {"sofa_0001": "it is flat"}


def test_what_is_missing_in_silence_is_a_problem(tmp_path: Path) -> None:
    report = check(tmp_path / "data", RIGHT, others() - {"bed_0001", "toilet_0444"})
    (problem,) = report.problems
    assert "2 objects of the official split are neither in the data" in problem
    assert problem.endswith("bed_0001, toilet_0444")
    (problem,) = check(tmp_path / "again", RIGHT, set()).problems
    assert "4894 objects" in problem
    assert problem.endswith("and 4884 more")


def test_objects_in_the_wrong_place_are_named(tmp_path: Path) -> None:
    objects = {
        "train": {"bathtub_0107": "bathtub", "bed_0515": "bed", "bed_9999": "bed"},
        "test": {"bathtub_0001": "bathtub", "bed_0516": "bathtub", "bed_0517": "bed"},
    }
    report = check(tmp_path / "data", objects, others() - {"bed_0517"})
    assert report.problems == (
        "1 objects are not in the official split: bed_9999",
        "3 objects are not where the official split has them: bathtub_0001 (bathtub/test, not bathtub/train), "
        "bathtub_0107 (bathtub/train, not bathtub/test), bed_0516 (bathtub/test, not bed/test)",
    )


def test_objects_that_are_there_cannot_be_missing(tmp_path: Path) -> None:
    (problem,) = check(tmp_path / "data", RIGHT, others() | {"bed_0515"}).problems
    assert problem == "manifest.json: 1 objects are said to be missing and yet in the data: bed_0515"


@pytest.mark.parametrize("derived_from", [None, "modelnet40"])
def test_other_data_sets_have_no_official_split(tmp_path: Path, derived_from: str | None) -> None:
    report = check(tmp_path / "data", RIGHT, set(), derived_from)
    assert report.problems == ()
    assert report.missing == ()


def test_a_part_need_not_say_what_it_lacks(tmp_path: Path) -> None:
    report = check(tmp_path / "data", RIGHT, set(), part=True)
    assert report.problems == ()
    assert report.missing == ()
    wrong = {**RIGHT, "train": {**RIGHT["train"], "bed_0517": "bed"}}
    (problem,) = check(tmp_path / "wrong", wrong, set(), part=True).problems
    assert "bed_0517 (bed/train, not bed/test)" in problem


def test_points_alone_state_their_origin_in_manifest_and_card(tmp_path: Path) -> None:
    check(tmp_path / "data", RIGHT, others())
    folder = open_folder(tmp_path / "data")
    assert folder.manifest.derived_from == MODELNET10
    assert origin_of(folder) == Origin(MODELNET10, False)
    assert published_name(folder) == MODELNET10
    assert audit_of(folder) == shipped_audit()
    assert "derived from `modelnet10`" in (tmp_path / "data/README.md").read_text()


def test_a_name_alone_is_no_origin(tmp_path: Path) -> None:
    about = dataclasses.replace(ABOUT, name="modelnet10-points")
    rows = {("points", split): map(points_row, sorted(labels)) for split, labels in RIGHT.items()}
    create_folder(tmp_path / "data", Contents(about, RIGHT), rows)
    (problem,) = verify(tmp_path / "data").problems
    assert "name is modelnet10-points, and neither derived_from nor hashes of meshes say so" in problem
    assert published_name(open_folder(tmp_path / "data")) is None
