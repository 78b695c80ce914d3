"""What an engine is: it runs tasks in worker processes, a task at a time each, and replaces those that die.

Results are files. A task's function, its arguments and what it returns can be pickled and should be small. An engine
knows nothing of objects or shards, so that one protocol serves both.
"""

import os
import pickle
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from gsbench.core.parsing import InputError

OUT_OF_MEMORY = 99
"""Exit status of a worker that could not allocate."""

# The last one is of Mesa, which draws the views where there is no GPU.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "LP_NUM_THREADS",
)


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One call of a module's function: `function(*arguments)`, which may be repeated without harm.

    Attributes:
        name: tells it from the other tasks of a run.
        function: of a module, since other processes import it.
        arguments: can be pickled.
        fits: whether it fits Gaussians, so that it takes a GPU where these are fitted on GPUs.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    fits: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """A task whose process died at every attempt, and how."""

    reason: str


class FreshProcessNeeded(Exception):
    """A task raises this to be begun again in a process of its own; see `gsbench.produce.made`."""


@runtime_checkable
class Engine(Protocol):
    """Runs tasks."""

    def everywhere(self, task: WorkItem) -> dict[str, Any]:
        """What a task returns on each other machine that takes part, by the machine's name."""
        ...

    def run(self, tasks: Sequence[WorkItem]) -> Iterator[tuple[str, Any]]:
        """Runs every task; yields its name and what its function returned, or `Lost`, in the order of completion.

        Any other exception than `FreshProcessNeeded` ends the run and is raised here. No process works on a task after
        the iterator has ended.
        """
        ...


ATTEMPTS = 3
"""After so many deaths of the process that ran it, a task is given up."""

FRESH_PROCESSES = 5
"""After so many fresh processes that a task asked for, it is taken that it will never be content."""

News = Literal["ready", "done", "failed", "died", "gone"]
"""Of a worker: it is ready for its first task; its task is done, or has raised; its process has died, for which the
task may be to blame; the machine that it was on is gone, for which no task is."""


@runtime_checkable
class Worker(Protocol):
    """A process that runs tasks, as seen from the one that gives them out.

    Attributes:
        task: what it works on.
        ready: whether it has begun to take tasks.
    """

    task: WorkItem | None
    ready: bool

    def begin(self, task: WorkItem) -> None:
        """Gives it a task."""

    def receive(self) -> tuple[News, Any]:
        """Its news, with what the task returned or raised, or how the process died."""

    def kill(self) -> None:
        """Ends the process, if there still is one."""


def run_here(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[News, Any]:
    """Runs a task in a worker's process: `done` and its result, or `failed` and what it raised, fit for a pipe."""
    try:
        return "done", function(*arguments)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Exception as error:
        error.add_note(f"In a worker process:\n{traceback.format_exc()}")
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # classes of exceptions may ask for more arguments than they keep
            return "failed", RuntimeError(f"{type(error).__name__}: {error}")
        return "failed", error


W = TypeVar("W", bound=Worker)


class WorkerPool(Generic[W]):
    """Workers of any kind, as many as there may be at the time."""

    def __init__(
        self,
        start: Callable[[], W],
        size: Callable[[], int],
        wait: Callable[[Sequence[W]], Sequence[W]],
    ) -> None:
        """Of these, `wait` waits until any worker has news, or for a while, and returns those that have."""
        self._start, self._size, self._wait = start, size, wait
        self._workers: list[W] = []
        self._deaths: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._stillborn = 0

    def run(self, tasks: Sequence[WorkItem]) -> Iterator[tuple[str, Any]]:
        """As `Engine.run`.

        Raises:
            InputError: workers die before they are ready, or a task asks for fresh processes again and again.
        """
        waiting, warm = deque(tasks), False
        try:
            while waiting or any(worker.task for worker in self._workers):
                while len(self._workers) < min(self._size(), len(tasks)):
                    self._workers.append(self._start())
                finished = []
                for worker in self._wait(self._workers):
                    task = worker.task
                    result = self._hear(worker)
                    if task and result is None:
                        waiting.append(task)
                    elif task and result:
                        finished.append((task.name, result[0]))
                        warm = True
                for worker in self._workers:
                    # The first fit runs alone: where nothing is compiled yet, each worker would compile it all.
                    alone = not warm and waiting and waiting[0].fits and any(other.task for other in self._workers)
                    if waiting and worker.ready and not worker.task and not alone:
                        worker.begin(waiting.popleft())
                yield from finished
        finally:
            for worker in self._workers:
                worker.kill()
            self._workers.clear()

    def _hear(self, worker: W) -> tuple[Any] | None:
        """The result of a worker's task; None if there is none yet. Takes leave of the worker if it has to go."""
        news, value = worker.receive()
        task, worker.task = worker.task, None
        if news in ("ready", "done"):
            return (value,)
        worker.kill()
        self._workers.remove(worker)
        if news == "failed":
            self._require_request(task, value)
        if news != "died":
            return None
        self._stillborn = 0 if worker.ready else self._stillborn + 1
        if self._stillborn == ATTEMPTS:
            raise InputError(f"build: {ATTEMPTS} workers, one after the other, died before they began ({value})")
        if task is None:
            return None
        self._deaths[task.name] += 1
        if self._deaths[task.name] < ATTEMPTS:
            return None
        return (Lost(f"its worker process died {ATTEMPTS} times, at last {value}"),)

    def _require_request(self, task: WorkItem | None, error: Exception) -> None:
        """Raises the error of a task, unless it only asks for a fresh process, and not too often."""
        if not isinstance(error, FreshProcessNeeded) or task is None:
            raise error
        self._requests[task.name] += 1
        if self._requests[task.name] == FRESH_PROCESSES:
            raise InputError(f"build: {task.name} asked for {FRESH_PROCESSES} fresh processes in vain: {error}")
