"""The progress bar of every command."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn


class Update(Protocol):
    """Tells a bar how much is done and how much there is, what the loss is, or what it is that is done."""

    def __call__(self, done: int, total: int, loss: float | None = None, what: str | None = None) -> None: ...


@contextmanager
def progress_bar(label: str) -> Iterator[Update]:
    """A bar on stderr that leaves nothing behind, and shows nothing where stderr is no terminal or a dumb one.

    Args:
        label: stands before the bar.

    Yields:
        A function that moves the bar.
    """
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with _bar(columns) as bar:
        task = bar.add_task(label, total=None)

        def update(done: int, total: int, loss: float | None = None, what: str | None = None) -> None:
            text = (what or label) if loss is None else f"{label}, loss {loss:.3f}"
            bar.update(task, completed=done, total=total, description=text)

        yield update


@contextmanager
def steps_bar() -> Iterator[Callable[[str, int, int, int], None]]:
    """The bar of a build: what it does, how much is done and set aside, how many a second, and how long it takes yet.

    Yields:
        A function of the stage, the number done, the number in all, and the number set aside.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with _bar(columns, speed_seconds=300) as bar:
        stages: dict[str, TaskID] = {}

        def update(stage: str, done: int, total: int, set_aside: int) -> None:
            if stage not in stages:
                for before in stages.values():
                    bar.update(before, visible=False)
                # What a resumed build finds done is there from the start: it is no work of this run's speed.
                stages[stage] = bar.add_task(stage, completed=done, total=total, rate="")
            text = f"{stage}, {set_aside} set aside" if set_aside else stage
            speed = bar.tasks[stages[stage]].speed
            rate = f"{speed:.2f}/s" if speed else ""
            bar.update(stages[stage], completed=done, total=total, description=text, rate=rate)

        yield update


def _bar(columns: "Sequence[ProgressColumn]", speed_seconds: float = 30.0) -> "Progress":
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    moves = console.is_terminal and not console.is_dumb_terminal
    return Progress(*columns, console=console, transient=True, disable=not moves, speed_estimate_period=speed_seconds)
