"""Environment variables that numba, OpenMP and the caches of other libraries read once, when they are loaded.

numba takes TBB where it finds libtbb, which Blender, OpenCV and conda bring along. Its threads and those of torch's
OpenMP, which spin while they wait, then take the cores from each other: an epoch takes ten times as long. So numba's
loops run in OpenMP too, and threads that wait for work sleep. Nothing that the user has set is changed.
"""

import os
import sys
from pathlib import Path

from gsbench.core.memory import available_cores

_NUMBA_CONFIG = ".numba_config.yaml"  # numba reads it in the working directory
_LAYERS = "omp workqueue tbb"
"""numba's threading layers, the wanted one first: OpenMP may be missing, as on macOS."""


def prepare() -> None:
    """Sets what is not set yet, for the libraries that are not loaded yet; child processes inherit it.

    - OMP_WAIT_POLICY, NUMBA_THREADING_LAYER_PRIORITY: see above.
    - OMP_NUM_THREADS, NUMBA_NUM_THREADS, where a control group allows fewer cores than the libraries would count.
    - NUMBA_CACHE_DIR where numba could keep its machine code nowhere in the home folder, and XDG_CACHE_HOME where there
      is no home at all (libraries would make a folder called `~`): a folder for temporary files that no one else reads.
    """
    wanted = {}
    limited = hasattr(os, "sched_getaffinity") and available_cores() < len(os.sched_getaffinity(0))
    if "torch" not in sys.modules:
        wanted["OMP_WAIT_POLICY"] = "PASSIVE"
        if limited:
            wanted["OMP_NUM_THREADS"] = str(available_cores())
    if "numba" not in sys.modules and not os.path.exists(_NUMBA_CONFIG):
        if "NUMBA_THREADING_LAYER" not in os.environ:
            wanted["NUMBA_THREADING_LAYER_PRIORITY"] = _LAYERS
        if limited:
            wanted["NUMBA_NUM_THREADS"] = str(available_cores())
        if "NUMBA_CACHE_DIR" not in os.environ:
            wanted |= _caches()
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def user_caches() -> Path:
    """The folder of this user's caches, as numba, torch and the Hub's client find it; relative if there is no home."""
    return Path(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")))


def _caches() -> dict[str, str]:
    """What makes numba's cache work where the folder of the user's caches is none."""
    usual = user_caches()
    if usual.is_absolute() and _can_be_written(usual / "numba"):
        return {}
    private = _private_folder()
    if private is None:
        return {}
    homeless = {} if usual.is_absolute() else {"XDG_CACHE_HOME": str(private)}
    return {"NUMBA_CACHE_DIR": str(private / "numba"), **homeless}


def _can_be_written(folder: Path) -> bool:
    """Whether a folder is there and takes files, or can be made in a home that is there."""
    there = next((path for path in (folder, folder.parent, folder.parent.parent) if path.exists()), None)
    return there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _private_folder() -> Path | None:
    """A folder for temporary files that only this user can read or write; None where it cannot be had.

    What is in it is run: one that somebody else has made, or can write to, is none.
    """
    import tempfile  # here, since few need it and `import gsbench` is to cost nothing

    try:
        folder = Path(tempfile.gettempdir()) / f"gsbench-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        made = folder.lstat()
    except OSError:
        return None
    own = made.st_uid == os.getuid() and made.st_mode & 0o077 == 0 and folder.is_dir() and not folder.is_symlink()
    return folder if own and os.access(folder, os.W_OK | os.X_OK) else None
