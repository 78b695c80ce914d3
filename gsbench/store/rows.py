"""Loading one config of a data set with Hugging Face `datasets`: the manifest's shards, with the schema's features."""

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from gsbench.core.parsing import InputError
from gsbench.store.hub_errors import redact, unwritable
from gsbench.store.schema import Schema

if TYPE_CHECKING:
    import datasets

Rows: TypeAlias = "datasets.DatasetDict | datasets.Dataset | datasets.IterableDatasetDict | datasets.IterableDataset"


def check_split(split: str | None, splits: Sequence[str]) -> None:
    """Raises an InputError unless `split` is None or names some of `splits`, or slices of them, as `datasets` does."""
    slices = rf"(?:{'|'.join(splits)}|all)(?:\[-?\d*%?:-?\d*%?\](?:\((?:closest|pct1_dropremainder)\))?)?"
    if split is not None and not re.fullmatch(rf"{slices}(?: *\+ *{slices})*", split, re.ASCII):
        raise InputError(f"split: {split[:80]!r} (allowed: {', '.join(splits)}, or slices such as train[:10])")


def load(
    folder: Path,
    schema: Schema,
    shards: Mapping[str, Sequence[str]],
    hashes: Mapping[str, str],
    split: str | None,
    streaming: bool = False,
) -> Rows:
    """Loads one config, whatever characters are in its path.

    `datasets` takes paths for patterns (`[1]`, `*`, `?`) and for chains of file systems (`::`); here it is told files.
    What it keeps in its cache is found again by their hashes.

    Args:
        folder: the data folder, named in errors.
        schema: of the config to be loaded.
        shards: split to the paths or addresses of the config's shards, in order.
        hashes: each of them to its sha256.
        split: as `datasets` takes it; None for all.
        streaming: read rows as they are asked for, and keep nothing.

    Raises:
        InputError: the cache cannot be written, or `datasets` does not read a shard.
    """
    import datasets  # takes most of a second
    from datasets.data_files import DataFilesList

    try:
        cache = Path(datasets.config.HF_DATASETS_CACHE)
        files = {
            name: DataFilesList([_plain(path, cache) for path in paths], [(hashes[path],) for path in paths])
            for name, paths in shards.items()
        }
        rows = datasets.load_dataset(
            "parquet", schema.config, data_files=files, features=schema.features(), split=split, streaming=streaming
        )
        return _without_nulls(rows, schema)
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        if told := unwritable(error):
            raise told from None
        cause = error.__cause__ or error
        raise InputError(f"{folder}: {schema.config}: `datasets` cannot read it ({redact(str(cause)):.200})") from None


def _plain(path: str, cache: Path) -> str:
    """The path; or where it has `::`, which `datasets` splits any path at, one by way of a link in its cache."""
    if "::" not in path:
        return path
    file = Path(path)
    folder = file.parent.parent
    link = cache / "gsbench" / hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        with contextlib.suppress(FileExistsError):  # another process has made it just now
            link.symlink_to(folder)
    return str(link / file.parent.name / file.name)


def _without_nulls(rows: Any, schema: Schema) -> Any:
    """The rows with an empty string or array in place of a null, which torch's DataLoader fails on."""
    import datasets

    columns = [column.name for column in schema.columns if column.nullable]
    if not columns:
        return rows
    if isinstance(rows, dict):
        return type(rows)({split: _without_nulls(of_split, schema) for split, of_split in rows.items()})
    if isinstance(rows, datasets.IterableDataset):

        def fill(table: pa.Table) -> pa.Table:
            for name in columns:
                table = table.set_column(table.column_names.index(name), name, _filled(table[name]))
            return table

        return rows.with_format("arrow").map(fill, batched=True, features=schema.features()).with_format(None)
    names = rows.column_names
    for name in columns:
        if rows.data.column(name).null_count:
            filled, feature = _filled(rows.data.column(name)), rows.features[name]
            rows = rows.remove_columns(name).add_column(name, filled, feature=feature)
    return rows.select_columns(names)


def _filled(values: pa.ChunkedArray) -> pa.Array:
    array = values.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if not array.null_count:
        return array
    if isinstance(array.type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(array.type, _filled_lists(array.storage))
    return _filled_lists(array) if pa.types.is_list(array.type) else array.fill_null("")


def _filled_lists(lists: pa.ListArray) -> pa.ListArray:
    lengths = pc.cumulative_sum(lists.value_lengths().fill_null(0))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), lengths.cast(pa.int32())])
    return pa.ListArray.from_arrays(offsets, lists.flatten(), lists.type)
