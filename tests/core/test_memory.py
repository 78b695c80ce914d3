"""What of the machine this process may use."""

import os
from pathlib import Path

import pytest

from gsbench.core import environment


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight cores on which this process is bound to none, in no control group."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(environment, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(environment, "_CONTROL_GROUPS", tmp_path)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_cores_are_those_that_the_process_is_bound_to(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.available_cores() == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5})
    assert environment.available_cores() == 2


def test_cores_where_a_process_cannot_be_bound(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS, Windows
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert environment.available_cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert environment.available_cores() == 1


@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "150000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000", "pod/cpu.max": "350000 100000", "pod/box/cpu.max": "max 100000"}, 3),
        ({"pod/box/cpu.max": "900000 100000"}, 8),
        ({"pod/box/cpu.max": "what?"}, 8),
        ({}, 8),
    ],
)
def test_cores_within_the_quota_of_any_group_above(groups: Path, limits: dict[str, str], cores: int) -> None:
    (groups / "own").write_text("0::/pod/box\n")
    for name, text in limits.items():
        write(groups / name, text)
    assert environment.available_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("250000", 2)])
def test_cores_within_a_quota_of_the_first_version(groups: Path, quota: str, cores: int) -> None:
    (groups / "own").write_text("5:memory:/box\n4:cpu,cpuacct:/box\n0::/\n")
    write(groups / "cpu,cpuacct" / "cpu.cfs_quota_us", quota)  # in a container, the host's path does not exist
    write(groups / "cpu,cpuacct" / "cpu.cfs_period_us", "100000")
    assert environment.available_cores() == cores
