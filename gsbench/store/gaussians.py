"""The Gaussians of one object of a data folder, without reading the others."""

import numpy as np

from gsbench.core.parsing import InputError, suggest
from gsbench.core.types import Gaussians
from gsbench.store.arrays import GAUSSIAN_COLUMNS, ragged
from gsbench.store.folder import Folder, find_rows, read_labels
from gsbench.store.schema import SPLITS

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
    inner = {"means": (3,), "quats": (4,), "scales": (3,), "opacities": (), "sh": (schema.sh_coefficients, 3)}
    return Gaussians(*(np.array(ragged(found[1][name], inner[name])[0], np.float32) for name in GAUSSIAN_COLUMNS))
