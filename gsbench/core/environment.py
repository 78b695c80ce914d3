"""Environment variables that numba, OpenMP and the caches of other libraries read once, when they are loaded.

numba takes TBB where it finds libtbb, which Blender, OpenCV and conda bring along. Its threads and those of torch's
OpenMP, which spin while they wait, then take the cores from each other: an epoch takes ten times as long. So numba's
loops run in OpenMP too, and threads that wait for work sleep. Nothing that the user has set is changed.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def free_memory() -> int | None:
    """Bytes that can be had without swapping, as Linux tells them; None where it is not Linux."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    values = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return values[0] if values else None


def available_cores() -> int:
    """Cores that this process may keep busy, at least one.

    They are those that it is bound to where the system can bind a process (Linux), else all of the machine's; and no
    more than the whole cores within the quota of its Linux control groups, which is how a container is limited.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([float(bound), *_quotas(_OWN_GROUPS, _CONTROL_GROUPS)])))


def _quotas(own: Path, root: Path) -> Iterator[float]:
    """The limits, in cores, of this process's control groups and all that these lie in; nothing where there is none."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / controllers if controllers else root  # version 2 has one tree, version 1 one a controller
        # In a container the tree begins at its own group, whose path may still be told as the host sees it.
        folder = base / group.strip("/")
        for level in [folder, *folder.parents]:
            quota = _quota_of(level)
            if quota is not None:
                yield quota
            if level == base:
                break


def _quota_of(group: Path) -> float | None:
    """Cores that one control group may keep busy, None where it is not limited."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
    except (OSError, ValueError):
        return None
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) > 0 else None


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Tells glibc to keep freed memory for the next step of a training in place of giving it back.

    Otherwise each large activation is mapped and faulted in anew, page by page, which takes about as long as the
    arithmetic. It holds for the whole process, so commands ask for it, not the library. Has no effect with another C
    library or allocator.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 2**26)


def give_back_memory() -> None:
    """Gives back what glibc has kept of freed memory; without effect with another C library or allocator."""
    trim = _of_glibc("malloc_trim")
    if trim:
        trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


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
