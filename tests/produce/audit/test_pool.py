"""Processes that keep the order, tell of their death, and do not outlive their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gsbench.produce.audit import map_in_processes

ROOT = Path(__file__).resolve().parents[3]


def square(number: int) -> int:
    return number * number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def too_large(number: int) -> int:
    raise MemoryError


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_values_come_in_order(workers):
    assert list(map_in_processes(square, range(20), workers)) == [number * number for number in range(20)]


def test_nothing_to_do():
    assert list(map_in_processes(square, [], 4)) == []


@pytest.mark.parametrize(("function", "workers"), [(die, 2), (too_large, 2), (too_large, 1)])
def test_a_process_that_dies_is_told(function, workers):
    with pytest.raises(ValueError, match="the memory does not suffice, or a worker process died; try fewer workers"):
        list(map_in_processes(function, range(4), workers))


SCRIPT = """
import os, sys, time
from gsbench.produce.audit import map_in_processes
from tests.produce.audit.test_pool import tell_and_wait

if __name__ == "__main__":
    list(map_in_processes(tell_and_wait, [sys.argv[1]] * 20, 2))
"""


def tell_and_wait(folder: str) -> None:
    with open(os.path.join(folder, str(os.getpid())), "w"):
        time.sleep(60)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
def test_workers_end_with_their_parent(tmp_path):
    (tmp_path / "run.py").write_text(SCRIPT)
    (tmp_path / "pids").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, tmp_path / "run.py", tmp_path / "pids"], env=environment)
    deadline = time.monotonic() + 60
    while len(pids := [int(path.name) for path in (tmp_path / "pids").iterdir()]) < 2:
        assert time.monotonic() < deadline
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while any(map(alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
