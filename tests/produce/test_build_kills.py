"""Builds that are killed at random moments lose nothing, do nothing twice, and end in the same bytes."""

from pathlib import Path

import pytest

from gsbench.meshes.off import save_off
from gsbench.meshes.shapes import make_shape
from gsbench.produce.build import build
from gsbench.produce.work import work_path
from tests.killing import PRESET, Report, finished, kill_again_and_again
from tests.produce.test_build import assert_same_bytes

CLASSES = ("bathtub", "bed", "chair", "desk", "dresser", "monitor", "night_stand", "sofa", "table", "toilet")


def put_shapes(root: Path, classes: int, train: int, test: int) -> Path:
    for label in CLASSES[:classes]:
        for number in range(train + test):
            path = root / label / ("train" if number < train else "test") / f"{label}_{number:04d}.off"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_off(path, make_shape(label, number))
    return root


def kill_and_compare(tmp_path: Path, meshes: Path, kills: int) -> Report:
    build(meshes, tmp_path / "uninterrupted", PRESET, workers=2)
    report = kill_again_and_again(meshes, tmp_path / "killed", kills)
    told: list[tuple[str, int, int, int]] = []
    done = len([name for name in finished(tmp_path / "killed") if name.startswith("objects")])
    build(meshes, tmp_path / "killed", PRESET, workers=1, progress=lambda *step: told.append(step))
    objects = [step[1] for step in told if step[0] == "objects"]
    assert objects == list(range(done, told[0][2] + 1)), "what was finished before the last run is not made in it"
    assert_same_bytes(tmp_path / "killed", tmp_path / "uninterrupted")
    assert not work_path(tmp_path / "killed").exists()
    assert (report.kills, report.lost, report.again, report.orphans) == (kills, 0, 0, 0)
    return report


@pytest.mark.slow
def test_a_build_that_is_killed_goes_on(tmp_path: Path) -> None:
    kill_and_compare(tmp_path, put_shapes(tmp_path / "meshes", 4, 1, 1), kills=2)


@pytest.mark.slow
def test_a_build_survives_twenty_kills(tmp_path: Path) -> None:
    """Half of them while objects are made, half while shards are written, of which there are many."""
    report = kill_and_compare(tmp_path, put_shapes(tmp_path / "meshes", 10, 5, 2), kills=20)
    assert min(report.in_objects, report.in_shards, report.whole, report.kills - report.whole) > 0
