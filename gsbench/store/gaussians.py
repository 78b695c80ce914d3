"""The Gaussians of one object of a data folder, without reading the others."""

from gsbench.core.parsing import InputError, suggest
from gsbench.core.types import Gaussians
from gsbench.store.arrays import gaussians_of
from gsbench.store.folder import Folder, find_rows, read_labels
from gsbench.store.schema import GAUSSIAN_COLUMNS, SPLITS

_CONFIG = "gaussians"


def load_object(folder: Folder, object_id: str) -> Gaussians:
    """Reads the Gaussians of one object; takes the memory of one row group.

    Args:
        folder: an open data folder.
        object_id: of either split.

    Raises:
        InputError: the folder has no Gaussians, no such object, or a shard that is not the manifest's.
    """
    schema = folder.manifest.schema(_CONFIG)
    found = find_rows(folder, _CONFIG, object_id, ["object_id", *GAUSSIAN_COLUMNS])
    if found is None:
        close = suggest(object_id, [known for split in SPLITS for known in read_labels(folder, split)])
        raise InputError(f"{folder.path}: no object '{object_id}'{close}")
    return gaussians_of(found[1], schema)
