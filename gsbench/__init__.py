"""gsbench: the benchmark suite and data-set toolkit for learning on 3D Gaussians.

Importing it sets environment variables that numba and torch read when they are loaded, those that are not set: numba
runs in OpenMP, as torch does, waiting threads sleep, and compiled code finds a folder; see
`gsbench.core.environment`. So import it before them.
"""

import importlib
from typing import Any

from gsbench.core.environment import prepare

__version__ = "0.1.0"

prepare()

_PUBLIC = {
    "Batch": "gsbench.core.types",
    "Cameras": "gsbench.core.types",
    "Checkpoint": "gsbench.learn.checkpoints",
    "Gaussians": "gsbench.core.types",
    "Mesh": "gsbench.core.types",
    "Views": "gsbench.core.types",
    "Result": "gsbench.core.results",
    "Task": "gsbench.core.tasks",
    "TorchDataset": "gsbench.learn.data.torch_dataset",
    "collate": "gsbench.learn.data.torch_dataset",
    "evaluate": "gsbench.learn.evaluation",
    "from_pretrained": "gsbench.learn.checkpoints",
    "load_dataset": "gsbench.store.load",
    "save_pretrained": "gsbench.learn.checkpoints",
}

__all__ = sorted([*_PUBLIC, "__version__"])


def __getattr__(name: str) -> Any:
    """Public names load on first use, so that `import gsbench` costs nothing."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'gsbench' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
