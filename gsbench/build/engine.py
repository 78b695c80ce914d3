"""What an engine is: it runs tasks in other processes, and survives the death of any of them.

Results are files. A task's function, its arguments and what it returns are small and can be pickled; the rows of an
object never pass through a pipe. An engine knows nothing of objects or shards, so that one protocol serves both.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

ATTEMPTS = 3
"""How often a task is begun, each time in a fresh process, until it is given up."""


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


class Engine(Protocol):
    """Runs tasks."""

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[str, Any]]:
        """Runs every task; yields its name and what its function returned, or `Lost`, in the order of completion.

        An exception that a task raises ends the run and is raised here. No process outlives the iterator.
        """
        ...
