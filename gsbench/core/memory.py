"""What memory and cores of the machine this process may use."""

import os
from collections.abc import Iterator
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
