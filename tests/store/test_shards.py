from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gsbench.store.arrays import Row
from gsbench.store.schema import Schema
from gsbench.store.shards import file_sha256, write_shards
from tests.store.conftest import points_row

SCHEMA = Schema("points", ("chair", "sofa"))
LIMIT = 10_000


def rows(count: int) -> list[Row]:
    return [{**points_row(f"chair_{i:04d}"), "label": "sofa" if i % 4 == 0 else "chair"} for i in range(count)]


def test_shards_are_numbered_within_their_size_and_hashed(tmp_path: Path) -> None:
    written = write_shards(tmp_path, SCHEMA, "train", rows(60), LIMIT)
    count = len(written.shards)
    assert count > 2
    assert list(written.shards) == [f"points/train-{i:05d}-of-{count:05d}.parquet" for i in range(count)]
    for name, shard in written.shards.items():
        path = tmp_path / name
        assert shard.bytes == path.stat().st_size <= LIMIT
        assert shard.sha256 == file_sha256(path)
        assert shard.rows == pq.read_metadata(path).num_rows
    assert written.counts == {"chair": 45, "sofa": 15}
    assert {path.name for path in (tmp_path / "points").iterdir()} == {Path(name).name for name in written.shards}


def test_rows_keep_their_order_across_shards(tmp_path: Path) -> None:
    written = write_shards(tmp_path, SCHEMA, "train", rows(60), LIMIT)
    tables = [pq.read_table(tmp_path / name) for name in written.shards]
    ids = [object_id for table in tables for object_id in table["object_id"].to_pylist()]
    assert ids == [row["object_id"] for row in rows(60)]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    once = write_shards(tmp_path / "a", SCHEMA, "test", iter(rows(30)), LIMIT)
    again = write_shards(tmp_path / "b", SCHEMA, "test", rows(30), LIMIT)
    assert once == again


def test_floats_are_split_into_byte_streams(tmp_path: Path) -> None:
    (name,) = write_shards(tmp_path, SCHEMA, "train", rows(3)).shards
    group = pq.read_metadata(tmp_path / name).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    for leaf in ("points.list.element.list.element", "normals.list.element.list.element"):
        assert "BYTE_STREAM_SPLIT" in columns[leaf].encodings
        assert columns[leaf].compression == "ZSTD"


def failing_rows() -> object:
    yield from rows(40)
    raise OSError(28, "No space left on device")


def test_a_failure_leaves_no_shard(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        write_shards(tmp_path, SCHEMA, "train", failing_rows(), LIMIT)
    assert list((tmp_path / "points").iterdir()) == []


def test_no_rows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rows to write for split test"):
        write_shards(tmp_path, SCHEMA, "test", [])


@pytest.mark.parametrize("limit", [0, 500_000_001])
def test_shard_sizes_beyond_the_contract_are_refused(tmp_path: Path, limit: int) -> None:
    with pytest.raises(ValueError, match="allowed: 1 to 500000000"):
        write_shards(tmp_path, SCHEMA, "train", rows(1), limit)
