"""The progress bar of every command."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Update(Protocol):
    """Tells a bar how much is done, how much there is, and what the loss is where there is one."""

    def __call__(self, done: int, total: int, loss: float | None = None) -> None: ...


@contextmanager
def progress_bar(label: str) -> Iterator[Update]:
    """A bar on stderr that leaves nothing behind, and shows nothing where stderr is no terminal.

    Args:
        label: stands before the bar.

    Yields:
        A function that moves the bar.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)

        def update(done: int, total: int, loss: float | None = None) -> None:
            text = label if loss is None else f"{label}, loss {loss:.3f}"
            bar.update(task, completed=done, total=total, description=text)

        yield update
