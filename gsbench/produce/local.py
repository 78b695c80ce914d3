"""The engine of one machine: single-threaded worker processes."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from gsbench.produce.engine import OUT_OF_MEMORY, THREAD_VARIABLES, News, WorkerPool, WorkItem, run_here


class LocalEngine:
    """Up to `workers` processes on this machine, one task at a time each.

    A process that dies is replaced, where `concurrent.futures` would give up the whole pool. Workers end when this
    process does, however it ends. They are spawned: a script that runs this needs `if __name__ == "__main__"`.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def everywhere(self, task: WorkItem) -> dict[str, Any]:
        """As `Engine.everywhere`: there is no other machine."""
        return {}

    def run(self, tasks: Sequence[WorkItem]) -> Iterator[tuple[str, Any]]:
        """As `Engine.run`."""
        return WorkerPool(_Process, lambda: self._workers, _wait_for_news).run(tasks)


class _Process:
    """A worker process as seen from here; a `gsbench.produce.engine.Worker`."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.task: WorkItem | None = None
        self.ready = False
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with single_threaded_children():
            self._process.start()
        theirs.close()  # so that the death of the process ends the pipe

    def begin(self, task: WorkItem) -> None:
        self.task = task
        with contextlib.suppress(OSError):  # it has just died: the next `receive` tells
            self.connection.send((task.function, task.arguments))

    def receive(self) -> tuple[News, Any]:
        try:
            news, value = self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            return "died", describe_exit(self._process.exitcode or 0)
        self.ready = True
        return news, value

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def _wait_for_news(workers: Sequence[_Process]) -> list[_Process]:
    ready = wait([worker.connection for worker in workers])
    return [worker for worker in workers if worker.connection in ready]


def describe_exit(code: int) -> str:
    """How a process ended, by the exit code that Python gives it."""
    if code == OUT_OF_MEMORY:
        return "out of memory"
    if code >= 0:
        return f"with exit status {code}"
    name = signal.Signals(-code).name
    return f"killed by signal {-code} ({name}{', as for want of memory' if name == 'SIGKILL' else ''})"


def _serve(connection: Connection) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all: the parent decides
    end_with_parent()
    with contextlib.suppress(OSError):  # where memory runs out, let it be a worker that is killed: that is survived
        Path("/proc/self/oom_score_adj").write_text("500")
    with contextlib.suppress(EOFError, OSError):  # the parent has ended
        connection.send(("ready", None))
        while True:
            connection.send(run_here(*connection.recv()))


@contextlib.contextmanager
def single_threaded_children() -> Iterator[None]:
    """Processes started in the block use one thread each: the parallelism is across tasks."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def end_with_parent() -> None:
    """Sees to it that this process, a child of multiprocessing's, ends as soon as its parent has, whatever it does."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
