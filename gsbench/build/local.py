"""The engine of one machine: single-threaded worker processes, replaced when they die."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from gsbench.build.engine import ATTEMPTS, OUT_OF_MEMORY, THREAD_VARIABLES, FreshProcessNeeded, Task, Trials


class LocalEngine:
    """Up to `workers` processes on this machine, one task at a time each.

    A process that dies is replaced, and its task is begun again after all others; `concurrent.futures` would give up
    the whole pool instead. Workers end when this process does, however it ends. They are spawned: a script that runs
    this needs the usual `if __name__ == "__main__"`.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def require_folders(self, folders: Sequence[Path]) -> None:
        """As `Engine.require_folders`: what this process sees, its workers see."""

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[str, Any]]:
        """As `Engine.run`.

        Raises:
            ValueError: the worker processes die before they begin.
        """
        waiting, trials, begun = deque(tasks), Trials(), False
        workers = [_Worker() for _ in range(min(self._workers, len(tasks)))]
        try:
            while waiting or any(worker.task for worker in workers):
                finished = []
                for worker in _wait_for_news(workers):
                    kind, value = worker.receive()
                    task, worker.task = worker.task, None
                    if kind == "failed" and not isinstance(value, FreshProcessNeeded):
                        raise value
                    if kind in ("died", "failed"):
                        workers[workers.index(worker)] = worker.successor(str(value))
                        if task and kind == "failed":
                            trials.after_request(task, value)
                            waiting.appendleft(task)
                            continue
                        if task and (value := trials.after_death(task, value)) is None:
                            waiting.append(task)
                            continue
                    if task:
                        finished.append((task.name, value))
                        begun = True
                for worker in workers:
                    # The first fit runs alone: where nothing is compiled yet, each of them would compile it all.
                    if begun or not (waiting and waiting[0].fits and any(other.task for other in workers)):
                        worker.take_from(waiting)
                yield from finished
        finally:
            for worker in workers:
                worker.kill()


class _Worker:
    """A worker process as seen from here."""

    def __init__(self, stillborn: int = 0) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.task: Task | None = None
        self.ready = False
        self._stillborn = stillborn
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with single_threaded_children():
            self._process.start()
        theirs.close()  # so that the death of the process ends the pipe

    def take_from(self, waiting: deque[Task]) -> None:
        """Begins the first of the tasks that wait, unless it is busy or not ready yet."""
        if self.task or not self.ready or not waiting:
            return
        self.task = waiting.popleft()
        with contextlib.suppress(OSError):  # it has just died: the next `receive` tells
            self.connection.send((self.task.function, self.task.arguments))

    def receive(self) -> tuple[str, Any]:
        """`ready`; `done` and what the task returned; `failed` and what it raised; `died` and how."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            return "died", describe_exit(self._process.exitcode or 0)
        self.ready = True
        return kind, value

    def successor(self, how: str) -> "_Worker":
        """A new process in the place of this one, which died."""
        self.kill()
        stillborn = 0 if self.ready else self._stillborn + 1
        if stillborn == ATTEMPTS:
            raise ValueError(
                f"build: {stillborn} worker processes, one after the other, died before they began ({how})"
            )
        return _Worker(stillborn)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def _wait_for_news(workers: Sequence[_Worker]) -> list[_Worker]:
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
    connection.send(("ready", None))
    while True:
        function, arguments = connection.recv()
        try:
            message = ("done", function(*arguments))
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except Exception as error:
            message = ("failed", error)
        connection.send(message)


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
