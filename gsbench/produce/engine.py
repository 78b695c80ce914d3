"""What an engine is: it runs tasks in other processes, and survives the death of any of them.

Results are files. A task's function, its arguments and what it returns are small and can be pickled; the rows of an
object never pass through a pipe. An engine knows nothing of objects or shards, so that one protocol serves both.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

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
class Task:
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
    """A task raises this to be begun again in a process of its own; see `gsbench.produce.make_object`."""


@runtime_checkable
class Engine(Protocol):
    """Runs tasks."""

    def everywhere(self, task: Task) -> dict[str, Any]:
        """What a task returns on each other machine that takes part, by the machine's name."""
        ...

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[str, Any]]:
        """Runs every task; yields its name and what its function returned, or `Lost`, in the order of completion.

        Any other exception than `FreshProcessNeeded` ends the run and is raised here. No process works on a task after
        the iterator has ended.
        """
        ...
