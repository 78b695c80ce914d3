"""Reading a shard that may be anything: it is the manifest's, of its schema, and as large in memory as it may be.

What a Parquet file says of itself (rows, columns, values) is compared before any memory is asked for: a megabyte can
hold a thousand million zeros.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gsbench.core.environment import available_cores, free_memory
from gsbench.core.parsing import InputError
from gsbench.store.hashes import HINT, check_size
from gsbench.store.manifest import MANIFEST, Shard
from gsbench.store.schema import Schema, in_one_line
from gsbench.store.values import check_values

# A shard may take this many times its size, or so many bytes if that is more: five times is usual.
_MOST_GROWTH = 100
_ALWAYS_ALLOWED = 64_000_000
_MOST_GROUPS = 10_000
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "FIXED_LEN_BYTE_ARRAY": 2}
_OFFSET_BYTES = 8  # of a list or a string in Arrow, and of levels while it is decoded


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turns whatever a damaged file makes Arrow raise in the block into an InputError that names it."""
    try:
        yield
    except MemoryError:  # Arrow's is one, too
        raise InputError(f"{path}: shard takes more memory than there is{HINT}") from None
    except (OSError, pa.ArrowException, UnicodeDecodeError, OverflowError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({in_one_line(str(error))[:160]}){HINT}") from None


def read_foot(path: Path, shard: Shard, schema: Schema) -> pq.FileMetaData:
    """What a shard says of itself, if that is what the manifest and the schema say.

    Args:
        path: the shard.
        shard: what the manifest says of it.
        schema: of its config.

    Raises:
        InputError: it is no regular file or no Parquet, or differs in size, rows or columns; the message names it.
    """
    check_size(path, shard)
    with naming(path):
        metadata = pq.read_metadata(os.path.abspath(path))  # Arrow takes `~` for the home
        stored = metadata.schema.to_arrow_schema()
    if metadata.num_rows != shard.rows:
        raise InputError(f"{path}: {metadata.num_rows} rows, {MANIFEST} says {shard.rows}{HINT}")
    if not stored.equals(schema.arrow(), check_metadata=True):
        raise InputError(f"{path}: {in_one_line(difference(stored, schema))}")
    if metadata.num_row_groups > min(_MOST_GROUPS, max(metadata.num_rows, 1)):
        raise InputError(f"{path}: {metadata.num_row_groups} row groups of {metadata.num_rows} rows (allowed: fewer)")
    return metadata


def difference(stored: pa.Schema, schema: Schema) -> str:
    """How a shard's schema differs from that of its config, in words."""
    expected = schema.arrow()
    if stored.names != expected.names:
        return f"columns are {', '.join(stored.names):.400} (must be {', '.join(expected.names)})"
    for have, want in zip(stored, expected, strict=True):
        if not have.equals(want):
            return f"column {have.name} is {have.type} (must be {want.type}, {'' if want.nullable else 'not '}null)"
    return "the features in the schema's `huggingface` entry differ from the data set's"


def read_groups(
    path: Path, metadata: pq.FileMetaData, schema: Schema, groups: Sequence[int], columns: Sequence[str] | None
) -> pa.Table:
    """Reads row groups of a shard whose foot is sound, and checks every value.

    Row groups are read in parallel: Arrow's own threads take a column each, of which one often holds most of the bytes.

    Args:
        path: the shard.
        metadata: as `read_foot` returned it.
        schema: of its config.
        groups: the numbers of the row groups.
        columns: the columns to read; None for all.

    Raises:
        InputError: as `read_group`; or a value breaks a promise of the schema; the message names shard, object and
            column.
    """

    def read(group: int) -> pa.Table:
        table = read_group(path, metadata, schema, group, columns)
        for finding in check_values(schema, table):
            ids = (
                table if "object_id" in table.column_names else read_group(path, metadata, schema, group, ["object_id"])
            )
            raise InputError(f"{path}: {object_at(ids, finding.row)}: {finding.column} {finding.what}")
        return table

    with naming(path):
        _check_memory(path, metadata, groups, _names(schema, columns))
    if not groups:
        arrow = schema.arrow()
        return pa.schema([arrow.field(name) for name in _names(schema, columns)], arrow.metadata).empty_table()
    with ThreadPoolExecutor(min(available_cores(), len(groups))) as threads:
        return pa.concat_tables(threads.map(read, groups))


def read_group(
    path: Path, metadata: pq.FileMetaData, schema: Schema, group: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """Reads one row group of a shard whose foot is sound, whatever its values.

    Raises:
        InputError: the shard is damaged, or takes more memory than its size allows or than is free.
    """
    names = _names(schema, columns)
    with naming(path):
        _check_memory(path, metadata, [group], names)
        packed = _dictionaries(metadata, group, names)
    with (
        naming(path),
        pq.ParquetFile(
            os.path.abspath(path),
            metadata=metadata,
            memory_map=True,
            page_checksum_verification=True,
            read_dictionary=packed,
        ) as file,
    ):
        table = file.read_row_group(group, columns=names, use_threads=False)
        return _unpack(path, table, schema) if packed else table


def object_at(table: pa.Table, row: int) -> str:
    """The object id of a row as it can be shown, whatever it is."""
    text = table["object_id"][row].as_buffer().to_pybytes().decode(errors="replace")[:80]
    return text if text.isprintable() else repr(text)


def _names(schema: Schema, columns: Sequence[str] | None) -> list[str]:
    return [column.name for column in schema.columns] if columns is None else list(columns)


def _limit(path: Path) -> int:
    return max(_ALWAYS_ALLOWED, _MOST_GROWTH * path.stat().st_size)


def _chunks(metadata: pq.FileMetaData, groups: Sequence[int], names: Sequence[str]) -> Iterator[pq.ColumnChunkMetaData]:
    for group in groups:
        rows = metadata.row_group(group)
        for i in range(rows.num_columns):
            chunk = rows.column(i)
            if chunk.path_in_schema.partition(".")[0] in names:
                yield chunk


def _check_memory(path: Path, metadata: pq.FileMetaData, groups: Sequence[int], names: Sequence[str]) -> None:
    needed = 0
    for chunk in _chunks(metadata, groups, names):
        # Strings have no width. What a dictionary makes of them is counted when it has been read.
        width = _WIDTHS.get(chunk.physical_type, 0)
        needed += max(chunk.total_uncompressed_size, chunk.num_values * (width + _OFFSET_BYTES))
    limit, free = _limit(path), free_memory()
    if needed > limit:
        raise InputError(f"{path}: takes {needed / 1e9:.1f} GB of memory (a shard of its size: {limit / 1e9:.1f} GB)")
    if free is not None and needed > free:
        raise InputError(f"{path}: takes {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free")


def _dictionaries(metadata: pq.FileMetaData, group: int, names: Sequence[str]) -> list[str]:
    """Paths of the columns of strings that are stored as numbers of a dictionary, and are to be read so."""
    chunks = _chunks(metadata, [group], names)
    return sorted({c.path_in_schema for c in chunks if c.physical_type == "BYTE_ARRAY" and c.has_dictionary_page})


def _unpack(path: Path, table: pa.Table, schema: Schema) -> pa.Table:
    """The table with strings in place of their numbers, unless that takes too much."""
    limit = _limit(path)
    size = sum(_unpacked_bytes(chunk) for column in table.columns for chunk in column.chunks)
    if size > limit:
        raise InputError(f"{path}: strings of {size / 1e9:.1f} GB (a shard of its size: {limit / 1e9:.1f} GB)")
    arrow = schema.arrow()
    return table.cast(pa.schema([arrow.field(name) for name in table.column_names], table.schema.metadata))


def _unpacked_bytes(array: pa.Array) -> int:
    if pa.types.is_dictionary(array.type):
        longest = pc.max(pc.binary_length(array.dictionary)).as_py() or 0
        return int(longest) * len(array)
    if pa.types.is_list(array.type):
        return _unpacked_bytes(array.values)
    if pa.types.is_struct(array.type):
        return sum(_unpacked_bytes(array.field(i)) for i in range(array.type.num_fields))
    return 0
