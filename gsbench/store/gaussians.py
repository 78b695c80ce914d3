"""The Gaussians of one object of a data folder, without reading the others."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gsbench.parsing import InputError, suggest
from gsbench.store.arrays import ragged
from gsbench.store.folder import Folder, read_labels
from gsbench.store.schema import SPLITS
from gsbench.types import Gaussians

_CONFIG = "gaussians"


def load_object(folder: Folder, object_id: str) -> Gaussians:
    """Reads the Gaussians of one object; takes the memory of one row group.

    Args:
        folder: an open data folder.
        object_id: of either split.

    Raises:
        InputError: the folder has no Gaussians, no such object, or a shard that is missing or damaged.
    """
    schema = folder.manifest.schema(_CONFIG)
    inner = {"means": (3,), "quats": (4,), "scales": (3,), "opacities": (), "sh": (schema.sh_coefficients, 3)}
    for split in SPLITS:
        for shard in folder.manifest.shards_of(_CONFIG, split):
            row = _find(folder.path / shard, object_id)
            if row is not None:
                return Gaussians(*(np.array(ragged(row[name], of)[0], np.float32) for name, of in inner.items()))
    close = suggest(object_id, [known for split in SPLITS for known in read_labels(folder, split)])
    raise InputError(f"{folder.path}: no object '{object_id}'{close}")


def _find(path: Path, object_id: str) -> pa.Table | None:
    """The row of the object, from the one row group whose range of ids it lies in; None where there is none."""
    try:
        with pq.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                bounds = file.metadata.row_group(group).column(0).statistics
                if bounds is not None and bounds.has_min_max and not bounds.min <= object_id <= bounds.max:
                    continue
                ids = file.read_row_group(group, ["object_id"])["object_id"].to_pylist()
                if object_id in ids:
                    return file.read_row_group(group).slice(ids.index(object_id), 1)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: shard is missing or damaged ({reason[:160]}); run `gsbench verify`") from None
    return None
