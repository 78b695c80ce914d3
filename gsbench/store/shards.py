"""Rows to Parquet shards, `<config>/<split>-0000i-of-0000n.parquet`: streamed, in bounded memory, repeatable."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gsbench.store.arrays import Row, encode
from gsbench.store.manifest import Shard
from gsbench.store.schema import Schema, float_leaves

MAX_SHARD_BYTES = 500_000_000
"""Largest shard that a data folder may hold."""

# Small enough that a viewer or a streaming reader gets its first rows at once, large enough to compress.
_ROW_GROUP_BYTES = 32_000_000
_COMPRESSION_LEVEL = 9


@dataclass(frozen=True, slots=True)
class Written:
    """What `write_shards` wrote: the shards by path inside the folder, and the rows of each class."""

    shards: dict[str, Shard]
    counts: dict[str, int]


def write_shards(
    folder: Path, schema: Schema, split: str, rows: Iterable[Row], max_shard_bytes: int = MAX_SHARD_BYTES
) -> Written:
    """Writes the rows of one split of one config; memory stays at a row group whatever the number of rows.

    Args:
        folder: the data folder.
        schema: of the config.
        split: `train` or `test`.
        rows: in their final order.
        max_shard_bytes: a new shard begins before this size is passed.

    Raises:
        ValueError: no rows, or a row that does not fit the schema.
        OSError: the folder cannot be written or the disk is full. No shard with a final name is left then.
    """
    if not 0 < max_shard_bytes <= MAX_SHARD_BYTES:
        raise ValueError(f"max_shard_bytes: {max_shard_bytes} (allowed: 1 to {MAX_SHARD_BYTES})")
    target = folder / schema.config
    target.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    try:
        # A row group is at most half a shard, so that one fits however badly it compresses.
        tables = _tables(schema, rows, min(_ROW_GROUP_BYTES, max_shard_bytes // 2), counts)
        files = list(_write_files(target, schema, split, tables, max_shard_bytes))
        if not files:
            raise ValueError(f"{target}: no rows to write for split {split}")
        shards = {}
        for index, (path, num_rows) in enumerate(files):
            name = f"{schema.config}/{split}-{index:05d}-of-{len(files):05d}.parquet"
            shards[name] = Shard(file_sha256(path), path.stat().st_size, num_rows)
            path.replace(folder / name)
    finally:
        for path in target.glob(f".{split}-*.partial"):
            path.unlink(missing_ok=True)
    return Written(shards, {name: counts[name] for name in schema.classes})


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes; OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tables(schema: Schema, rows: Iterable[Row], limit: int, counts: Counter[str]) -> Iterator[pa.Table]:
    """Tables of about `limit` bytes each, at least one row; tallies the classes on the way."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        counts[row["label"]] += 1
        row_size = _row_bytes(row)
        if batch and size + row_size > limit:
            yield encode(schema, batch)
            batch, size = [], 0
        batch.append(row)
        size += row_size
    if batch:
        yield encode(schema, batch)


def _row_bytes(row: Row) -> int:
    arrays = sum(value.nbytes for value in row.values() if isinstance(value, np.ndarray))
    return arrays + sum(len(value) for value in row.values() if isinstance(value, bytes))


def _write_files(
    target: Path, schema: Schema, split: str, tables: Iterator[pa.Table], limit: int
) -> Iterator[tuple[Path, int]]:
    """Writes one row group a table, a new file whenever the next could pass `limit`; yields each file and its rows."""
    table = next(tables, None)
    for index in itertools.count():
        if table is None:
            return
        path = target / f".{split}-{index:05d}.partial"
        rows = largest = 0
        with path.open("wb") as sink, _writer(sink, schema) as writer:
            while table is not None and (rows == 0 or sink.tell() + largest <= limit):
                before = sink.tell()
                writer.write_table(table, row_group_size=len(table))
                # A margin over the largest row group so far, since the next may compress a little worse.
                largest = max(largest, (sink.tell() - before) * 5 // 4)
                rows += len(table)
                table = next(tables, None)
        yield path, rows


def _writer(sink: object, schema: Schema) -> pq.ParquetWriter:
    floats = float_leaves(schema.config)
    arrow = schema.arrow()
    return pq.ParquetWriter(
        sink,
        arrow,
        compression="zstd",
        compression_level=_COMPRESSION_LEVEL,
        use_dictionary=[name for name in ("label", "mesh_sha256", "duplicate_of") if name in arrow.names],
        use_byte_stream_split=floats,
        write_page_index=True,
        write_page_checksum=True,
    )
