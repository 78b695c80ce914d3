import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gsbench.core.tasks import fingerprint, ids_sha256, regime_ids
from gsbench.store.create import Contents, create_folder
from gsbench.store.folder import open_folder
from tests.disks import small_disk
from tests.store.conftest import ABOUT, MAX_SHARD_BYTES, OBJECTS, points_row, rows_of_everything

POINTS = Contents(ABOUT, OBJECTS)


def points_rows(drop: str | None = None) -> dict[tuple[str, str], Iterator[object]]:
    return {
        ("points", split): (points_row(object_id) for object_id in sorted(labels) if object_id != drop)
        for split, labels in OBJECTS.items()
    }


def test_the_manifest_says_what_is_there(made: Path) -> None:
    manifest = open_folder(made).manifest
    assert (manifest.name, manifest.version, manifest.classes) == ("tiny", "0.1", ("chair", "sofa"))
    assert manifest.counts["gaussians"] == {"train": {"chair": 10, "sofa": 10}, "test": {"chair": 3, "sofa": 3}}
    assert manifest.counts["views"]["test"] == {"chair": 9, "sofa": 9}
    assert manifest.recipe == {"seed": 1}
    assert {"gsbench", "numpy", "pyarrow"} <= set(manifest.created_by)
    assert set(manifest.shards) == {str(path.relative_to(made)) for path in made.glob("*/*.parquet")}
    assert manifest.fingerprint() == fingerprint({path: shard.sha256 for path, shard in manifest.shards.items()})
    half = manifest.regimes["50/1"]
    assert (half.count, half.sha256) == (10, ids_sha256(regime_ids(OBJECTS["train"], 50, 1)))


def test_a_folder_of_points_alone_is_a_data_set(tmp_path: Path) -> None:
    manifest = create_folder(tmp_path / "points", POINTS, points_rows())
    assert list(manifest.counts) == ["points"]
    assert open_folder(tmp_path / "points").manifest == manifest
    assert sorted(path.name for path in (tmp_path / "points").iterdir()) == [
        "README.md",
        "eval.yaml",
        "manifest.json",
        "points",
    ]


def test_the_same_rows_give_the_same_folder(made: Path, tmp_path: Path) -> None:
    contents = Contents(ABOUT, OBJECTS, sh_coefficients=4, recipe={"seed": 1}, max_shard_bytes=MAX_SHARD_BYTES)
    create_folder(tmp_path / "again", contents, rows_of_everything())
    for path in made.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(made)).read_bytes() == path.read_bytes()


def test_a_missing_object_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sofa_0004: row out of order, or of an object that the data set does not"):
        create_folder(tmp_path / "out", POINTS, points_rows(drop="sofa_0003"))
    with pytest.raises(ValueError, match="sofa_0013: the data set lists this object, but there is no row of it"):
        create_folder(tmp_path / "out", POINTS, points_rows(drop="sofa_0013"))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    create_folder(tmp_path / "out", POINTS, points_rows())  # empty: fine
    before = json.loads((tmp_path / "out" / "manifest.json").read_text())
    with pytest.raises(ValueError, match=r"out: exists already .allowed: a new or an empty folder"):
        create_folder(tmp_path / "out", POINTS, points_rows())
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ValueError, match=r"file/out: cannot be written"):
        create_folder(tmp_path / "file" / "out", POINTS, points_rows())


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 kB."""
    with small_disk(tmp_path / "disk", "32k") as folder:
        yield folder


def test_a_full_disk_is_one_line_and_leaves_nothing(disk: Path) -> None:
    contents = Contents(ABOUT, OBJECTS, sh_coefficients=4)
    with pytest.raises(ValueError, match=r"out: cannot be written .No space left on device") as caught:
        create_folder(disk / "out", contents, rows_of_everything())
    assert "\n" not in str(caught.value)
    assert list(disk.iterdir()) == []
