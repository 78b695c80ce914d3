"""Tasks that engines run in tests; other processes import them."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from gsbench.produce.engine import FreshProcessNeeded


def double(number: int) -> int:
    return 2 * number


def process() -> tuple[int, dict[str, str | None]]:
    """The number of the process, and the threads that it may use."""
    return os.getpid(), {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}


def die(trace: Path, times: int, how: str) -> str:
    """Dies at its first `times` attempts, each of which leaves a line in `trace`."""
    begun = note(trace)
    if begun <= times and how == "memory":
        raise MemoryError
    if begun <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"attempt {begun}"


def want_fresh_process(trace: Path, times: int) -> int:
    """Asks for a fresh process `times` times; returns the number of processes that it has seen."""
    if note(trace) <= times:
        raise FreshProcessNeeded("in a test")
    return len(set(trace.read_text().split()))


def note(trace: Path) -> int:
    """Writes down that this process was here; returns how often any was."""
    with trace.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(trace.read_text().split())


def fail(kind: type[Exception], *arguments: Any) -> None:
    raise kind(*arguments)


def wait_for(path: Path, trace: Path) -> int:
    """Waits until there is such a file; returns how often it was begun."""
    begun = note(trace)
    while not path.exists():
        time.sleep(0.05)
    return begun


def sleep_for_ever(trace: Path) -> None:
    note(trace)
    while True:
        time.sleep(1)
