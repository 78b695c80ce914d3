"""What an engine is: it runs tasks in other processes, and survives the death of any of them.

Results are files. A task's function, its arguments and what it returns are small and can be pickled; the rows of an
object never pass through a pipe. An engine knows nothing of objects or shards, so that one protocol serves both.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

ATTEMPTS = 3
"""How often a task is begun until it is given up; each time in a fresh process if the last one died."""


@dataclass(frozen=True, slots=True)
class Task:
    """One call of a module's function: `function(*arguments)`, which may be repeated without harm.

    Attributes:
        name: tells it from the other tasks of a run.
        function: of a module, since other processes import it.
        arguments: can be pickled.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """A task whose process died at every attempt, and how."""

    reason: str


class FreshProcessNeeded(Exception):
    """A task raises this to be begun again in a process of its own; see `gsbench.build.making`."""


class Engine(Protocol):
    """Runs tasks."""

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[str, Any]]:
        """Runs every task; yields its name and what its function returned, or `Lost`, in the order of completion.

        Any other exception than `FreshProcessNeeded` ends the run and is raised here. No process outlives the iterator.
        """
        ...
