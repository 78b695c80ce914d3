from pathlib import Path

import numpy as np
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
    count = len(written)
    assert count > 2
    assert list(written) == [f"points/train-{i:05d}-of-{count:05d}.parquet" for i in range(count)]
    for name, one in written.items():
        shard = one.shard
        path = tmp_path / name
        assert shard.bytes == path.stat().st_size <= LIMIT
        assert shard.sha256 == file_sha256(path)
        assert shard.rows == pq.read_metadata(path).num_rows
    assert sum(one.counts["chair"] for one in written.values()) == 45
    assert sum(one.counts["sofa"] for one in written.values()) == 15
    assert {path.name for path in (tmp_path / "points").iterdir()} == {Path(name).name for name in written}


def test_rows_keep_their_order_across_shards(tmp_path: Path) -> None:
    written = write_shards(tmp_path, SCHEMA, "train", rows(60), LIMIT)
    tables = [pq.read_table(tmp_path / name) for name in written]
    ids = [object_id for table in tables for object_id in table["object_id"].to_pylist()]
    assert ids == [row["object_id"] for row in rows(60)]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    once = write_shards(tmp_path / "a", SCHEMA, "test", iter(rows(30)), LIMIT)
    again = write_shards(tmp_path / "b", SCHEMA, "test", rows(30), LIMIT)
    assert once == again


def test_floats_are_split_into_byte_streams(tmp_path: Path) -> None:
    (name,) = write_shards(tmp_path, SCHEMA, "train", rows(3))
    group = pq.read_metadata(tmp_path / name).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    for leaf in ("points.list.element.list.element", "normals.list.element.list.element"):
        assert "BYTE_STREAM_SPLIT" in columns[leaf].encodings
        assert columns[leaf].compression == "ZSTD"


def test_an_object_is_never_cut_in_two(tmp_path: Path) -> None:
    halves = [row for row in rows(20) for _ in range(3)]
    written = write_shards(tmp_path, SCHEMA, "train", halves, LIMIT)
    assert len(written) > 2
    assert all(one.shard.rows % 3 == 0 for one in written.values())


def test_an_object_that_no_shard_can_hold_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"chair_0000: \d+ bytes do not fit a shard of 5000"):
        write_shards(tmp_path, SCHEMA, "train", rows(3), 5_000)
    assert not (tmp_path / "points").exists()


def test_shards_stay_within_their_size_even_if_nothing_compresses(tmp_path: Path) -> None:
    """Random bits in every float, and as many row groups as fit."""
    random = np.random.default_rng(0)
    count = 20_000

    def noise() -> np.ndarray:
        return random.integers(0, 2**32, (count, 3), np.uint32).view(np.float32)

    incompressible = [{**row, "points": noise(), "normals": noise()} for row in rows(160)]
    written = write_shards(tmp_path, SCHEMA, "train", incompressible, limit := 35_000_000)
    assert len(written) - 1 == 2
    for one in written.values():
        assert one.shard.bytes <= limit
    assert max(one.shard.bytes for one in written.values()) > 0.9 * limit


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
