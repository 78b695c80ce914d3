"""A data set that is called ModelNet10-GS holds the objects of ModelNet10, each in its place, or says why not."""

import dataclasses
from pathlib import Path

import pytest

from gsbench.meshes.official import official_objects
from gsbench.store.create import Contents, create_folder
from gsbench.store.folder import MODELNET10
from gsbench.verification import Report, verify
from tests.store.conftest import ABOUT, points_row

RIGHT = {
    "train": {"bathtub_0001": "bathtub", "bed_0515": "bed"},
    "test": {"bathtub_0107": "bathtub", "bed_0516": "bed"},
}


def check(out: Path, objects: dict[str, dict[str, str]], missing: set[str], name: str = MODELNET10) -> Report:
    about = dataclasses.replace(ABOUT, name=name)
    contents = Contents(about, objects, set_aside={"sofa_0001": "it is flat"}, missing=tuple(sorted(missing)))
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


@pytest.mark.parametrize("name", ["tiny", "modelnet40-gs"])
def test_other_data_sets_have_no_official_split(tmp_path: Path, name: str) -> None:
    report = check(tmp_path / "data", RIGHT, set(), name)
    assert report.problems == ()
    assert report.missing == ()
