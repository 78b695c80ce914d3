"""The progress bar of every command."""

import time
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


LONG = 60.0
"""Seconds of training that are told beforehand."""


class Epochs:
    """Says how long a training will take where that is long, and then, where no bar moves, how each epoch went."""

    def __init__(self, say: Callable[[str], None], hint: str = "") -> None:
        """`say` takes a line; `hint` is what to do about a long training, or nothing."""
        self._say, self._hint = say, hint
        self._begun: tuple[float, int] | None = None
        self._told = self._long = False

    def step(self, done: int, total: int) -> None:
        """Takes note of a step; the first ones are slower than the others and do not count."""
        now = time.monotonic()
        if self._begun is None or done <= self._begun[1]:
            self._begun, self._told = (now, done), False
        elif not self._told and done - self._begun[1] >= 5 and now - self._begun[0] >= 2:
            self._told = True
            seconds = (now - self._begun[0]) / (done - self._begun[1]) * (total - done)
            self._long = seconds > LONG
            if self._long:
                self._say(f"training takes about {in_words(seconds)} on this machine{self._hint}")

    def epoch(self, done: int, total: int, seconds: float) -> None:
        """Says how an epoch went, of a long training."""
        self._long = self._long or (total - done) * seconds > LONG
        if self._long and not _moves():
            left = f", about {in_words((total - done) * seconds)} left" if done < total else ""
            self._say(f"epoch {done} of {total} in {in_words(seconds)}{left}")


def in_words(seconds: float) -> str:
    """A duration for people: `40 s`, `12 min`, `1.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _moves() -> bool:
    """Whether standard error shows bars."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.is_terminal and not console.is_dumb_terminal


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
    return Progress(
        *columns, console=console, transient=True, disable=not _moves(), speed_estimate_period=speed_seconds
    )
