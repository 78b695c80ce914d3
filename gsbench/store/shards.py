"""Rows to Parquet shards, `<config>/<split>-0000i-of-0000n.parquet`: streamed, in bounded memory, repeatable."""

import hashlib
import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64

from gsbench.core.files import TEMPORARY_PREFIX, atomic_path
from gsbench.core.parsing import InputError
from gsbench.core.types import Array
from gsbench.store.arrays import Row, as_numpy, encode, encode_columns
from gsbench.store.manifest import MAX_SHARD_BYTES, Shard
from gsbench.store.schema import Schema, shard_name

# Small enough that a viewer or a streaming reader gets its first rows at once, large enough to compress.
_ROW_GROUP_BYTES = 32_000_000
_COMPRESSION_LEVEL = 9
# Of objects' files, which are read once.
_KEPT_LEVEL = 1
_SIZES = "row_bytes"
# The most that Parquet adds, measured and rounded up: a file's head and foot, the copies of the schema's metadata in
# it, a column chunk's entries in the foot and the page index, the strings and lengths of a row.
_HEAD_BYTES = 1024
_METADATA_COPIES = 3
_COLUMN_CHUNK_BYTES = 700
_ROW_BYTES = 512


@dataclass(frozen=True, slots=True)
class Written:
    """A shard that `write_shard` wrote, and its rows of each class."""

    shard: Shard
    counts: dict[str, int]


class ShardPlan:
    """Which shard each object of one split of one config goes into, decided before anything is written.

    An object is given the bytes that its rows take at most, so that a shard holds whole objects and stays within its
    limit however badly they compress, and shards can be written in any order and by any process.
    """

    def __init__(self, schema: Schema, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
        """Begins with shard 0; `max_shard_bytes` is at most 500 MB, else InputError."""
        if not 0 < max_shard_bytes <= MAX_SHARD_BYTES:
            raise InputError(f"max_shard_bytes: {max_shard_bytes} (allowed: 1 to {MAX_SHARD_BYTES})")
        groups = 2 * max_shard_bytes // _ROW_GROUP_BYTES + 1
        arrow = schema.arrow()
        head = _HEAD_BYTES + sum(map(len, arrow.metadata.values())) * _METADATA_COPIES
        self._overhead = head + groups * len(arrow) * _COLUMN_CHUNK_BYTES
        self._limit = max_shard_bytes
        self._shard = self._used = 0

    def place(self, object_id: str, size: int) -> int:
        """The number of the shard for the next object, whose rows have `size` bytes by `row_bytes`.

        Raises:
            InputError: the object alone is larger than a shard may be.
        """
        if size + self._overhead > self._limit:
            most = self._limit - self._overhead
            raise InputError(f"{object_id}: {size} bytes do not fit a shard of {self._limit} (room for {most})")
        if self._used + size + self._overhead > self._limit:
            self._shard, self._used = self._shard + 1, 0
        self._used += size
        return self._shard


def row_bytes(row: Row) -> int:
    """The most that a row can take in a shard."""
    arrays = sum(value.nbytes for value in row.values() if isinstance(value, np.ndarray))
    rest = arrays + sum(len(value) for value in row.values() if isinstance(value, bytes))
    return _ROW_BYTES + rest + rest // 64  # what zstd and the pages' heads can add


def write_shards(
    folder: Path, schema: Schema, split: str, rows: Iterable[Row], max_shard_bytes: int = MAX_SHARD_BYTES
) -> dict[str, Written]:
    """Writes the rows of one split of one config; memory stays at a row group whatever the number of rows.

    Args:
        folder: the data folder.
        schema: of the config.
        split: `train` or `test`.
        rows: in their final order, those of an object one after the other.
        max_shard_bytes: the most that a shard may hold.

    Returns:
        What was written, by path inside the folder.

    Raises:
        InputError: no rows, a row that does not fit the schema, or an object that fits no shard.
        OSError: the folder cannot be written or the disk is full. No shard is left then.
    """
    plan = ShardPlan(schema, max_shard_bytes)
    partial: list[tuple[Path, Written]] = []
    try:
        for number, objects in itertools.groupby(_placed(plan, rows), key=operator.itemgetter(0)):
            path = folder / schema.config / f"{TEMPORARY_PREFIX}{split}-{number:05d}.parquet"
            partial.append(
                (path, write_shard(path, schema, encode_rows(schema, (row for _, each in objects for row in each))))
            )
        if not partial:
            raise InputError(f"{folder / schema.config}: no rows to write for split {split}")
        written = {}
        for index, (path, it) in enumerate(partial):
            name = shard_name(schema.config, split, index, len(partial))
            written[name] = it
            path.replace(folder / name)
    finally:
        for path, _ in partial:
            path.unlink(missing_ok=True)
    return written


def _placed(plan: ShardPlan, rows: Iterable[Row]) -> Iterator[tuple[int, list[Row]]]:
    for object_id, group in itertools.groupby(rows, key=operator.itemgetter("object_id")):
        of_object = list(group)
        yield plan.place(object_id, sum(map(row_bytes, of_object))), of_object


@dataclass(frozen=True, slots=True)
class Rows:
    """Encoded rows.

    Attributes:
        table: of the config's Arrow schema, or of those of its columns that follow from the object alone.
        bytes: `[n]` of each row, see `row_bytes`.
    """

    table: pa.Table
    bytes: Int64[Array, " n"]


def save_rows(path: Path, schema: Schema, rows: Sequence[Row]) -> int:
    """Keeps the rows of an object in an Arrow file until the set as a whole is known, without `Column.of_set`.

    Args:
        path: the file.
        schema: of the config; its classes do not matter.
        rows: of one object.

    Returns:
        The most that the rows take in a shard, see `row_bytes`.

    Raises:
        InputError: a row that does not fit the schema.
        OSError: the file cannot be written or the disk is full.
    """
    sizes = np.array([row_bytes(row) for row in rows], np.int64)
    columns = [column for column in schema.columns if not column.of_set]
    arrays = encode_columns(schema, columns, rows)
    fields = [schema.arrow().field(column.name) for column in columns]
    table = pa.Table.from_arrays([*arrays, pa.array(sizes)], schema=pa.schema([*fields, pa.field(_SIZES, pa.int64())]))
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=_KEPT_LEVEL))
    with path.open("wb") as sink, pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return int(sizes.sum())


def load_rows(path: Path, schema: Schema, of_set: Row) -> Rows:
    """The rows that `save_rows` kept, whole.

    Args:
        path: the file.
        schema: of the config, with the classes of the set.
        of_set: the values of the columns that `save_rows` left out, the same for all rows.

    Raises:
        InputError: the file is damaged or missing.
    """
    try:
        with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
            table = reader.read_all()
        sizes = as_numpy(table[_SIZES]).copy()
        left_out = [column for column in schema.columns if column.of_set]
        more = encode_columns(schema, left_out, [{**of_set, "object_id": path.stem}] * len(table))
        arrays = dict(zip((column.name for column in left_out), more, strict=True))
        whole = [arrays[name] if name in arrays else table[name] for name in schema.arrow().names]
        return Rows(pa.Table.from_arrays(whole, schema=schema.arrow()), sizes)
    except (OSError, pa.ArrowException, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: damaged ({reason}); delete it and give the same command again") from None


def encode_rows(schema: Schema, rows: Iterable[Row]) -> Iterator[Rows]:
    """Rows, encoded some at a time, so that memory stays at a row group."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += row_bytes(row)
        if size > _ROW_GROUP_BYTES:
            yield Rows(encode(schema, batch), np.array([row_bytes(each) for each in batch], np.int64))
            batch, size = [], 0
    if batch:
        yield Rows(encode(schema, batch), np.array([row_bytes(each) for each in batch], np.int64))


def write_shard(path: Path, schema: Schema, rows: Iterable[Rows]) -> Written:
    """Writes one shard, atomically; memory stays at a row group whatever the number of rows.

    Args:
        path: the shard.
        schema: of the config.
        rows: those that a `ShardPlan` put into this shard, in their final order.

    Raises:
        InputError: a row that does not fit the schema.
        OSError: the folder cannot be written or the disk is full; there is no shard then.
    """
    counts = np.zeros(len(schema.classes), np.int64)
    with atomic_path(path) as temporary:
        with temporary.open("wb") as sink, _writer(sink, schema) as writer:
            for table in _row_groups(rows):
                counts += np.bincount(as_numpy(table["label"]), minlength=len(counts))
                writer.write_table(table, row_group_size=len(table))
        shard = Shard(file_sha256(temporary), temporary.stat().st_size, int(counts.sum()))
    return Written(shard, dict(zip(schema.classes, counts.tolist(), strict=True)))


def _row_groups(rows: Iterable[Rows]) -> Iterator[pa.Table]:
    """Tables of about a row group's bytes each, at least one row.

    Frozen, as the encoding of shards is: where row groups end decides the shards' bytes.
    """
    group: list[pa.Table] = []
    size = 0
    for each in rows:
        start = 0
        for index, more in enumerate(each.bytes.tolist()):
            if (group or index > start) and size + more > _ROW_GROUP_BYTES:
                yield pa.concat_tables([*group, each.table.slice(start, index - start)]).combine_chunks()
                group, size, start = [], 0, index
            size += more
        group.append(each.table.slice(start))
    if group:
        yield pa.concat_tables(group).combine_chunks()


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes; OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _writer(sink: BinaryIO, schema: Schema) -> pq.ParquetWriter:
    arrow = schema.arrow()
    return pq.ParquetWriter(
        sink,
        arrow,
        compression="zstd",
        compression_level=_COMPRESSION_LEVEL,
        use_dictionary=[name for name in ("label", "mesh_sha256", "duplicate_of") if name in arrow.names],
        use_byte_stream_split=schema.split_leaves(),
        write_page_index=True,
        write_page_checksum=True,
    )
