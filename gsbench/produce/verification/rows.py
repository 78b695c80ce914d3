"""The rows of a split, object after object, in the memory of a few."""

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from gsbench.core.types import Array
from gsbench.store.arrays import rows_of
from gsbench.store.folder import Folder
from gsbench.store.parquet import naming

_BATCH = 32


def iterate_rows(
    folder: Folder, config: str, split: str, columns: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, dict[str, Array | None]]]:
    """Yields every object id of a config with a row an object, and the arrays of its row.

    Args:
        folder: an open data folder whose shards are sound.
        config: `gaussians` or `points`.
        split: `train` or `test`.
        columns: of arrays, each with the shape of one element, as for `gsbench.store.arrays.ragged`.
    """
    for shard in folder.manifest.shards_of(config, split):
        path = (folder.path / shard).absolute()  # Arrow takes `~` for the home
        with naming(path), pq.ParquetFile(path, memory_map=True) as file:
            for batch in file.iter_batches(_BATCH, columns=["object_id", *columns]):
                table = pa.Table.from_batches([batch])
                arrays = {name: rows_of(table[name], inner) for name, inner in columns.items()}
                for row, object_id in enumerate(table["object_id"].to_pylist()):
                    yield object_id, {name: values[row] for name, values in arrays.items()}
