"""What one run gets wrong, object by object, beside what the other rows of the board make of the same objects."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from tabulate import tabulate

from gsbench.board.entries import Entry, correct_objects, probabilities_of, row_of
from gsbench.board.truth import Truth
from gsbench.core.metrics import accuracy_interval
from gsbench.core.results import Result
from gsbench.core.types import Array


@dataclass(frozen=True, slots=True)
class Miss:
    """A test object that a run gets wrong.

    Attributes:
        object_id: of the object.
        label: its class.
        guess: the class that it is taken for.
        guessed: the probability of that class.
        true: the probability of its own.
        missed_by: of the other rows on the board, how many get it wrong in most of their runs.
    """

    object_id: str
    label: str
    guess: str
    guessed: float
    true: float
    missed_by: int


@dataclass(frozen=True, slots=True)
class Errors:
    """What one run gets wrong.

    Attributes:
        accuracy: of the run.
        interval: its 95 % interval, over objects.
        confusion: `[c c]` objects of each class (a row) by the class that they are taken for (a column).
        classes: class names in that order.
        misses: the objects that it gets wrong, by class and then by how sure it was.
        others: rows on the board, on the same test objects, that `missed_by` counts.
        nobody: the objects that neither it nor any of those gets right.
    """

    accuracy: float
    interval: tuple[float, float]
    confusion: Int[Array, "c c"]
    classes: tuple[str, ...]
    misses: tuple[Miss, ...]
    others: int
    nobody: tuple[str, ...]


LEAST_ROWS, MOST_MISS = 8, 0.75
"""Rows from which on it is asked which labels are disputed, and the share of the better half of them that decides."""


def disputed_objects(rows: Sequence[Bool[Array, "_ n"]]) -> Bool[Array, " n"] | None:
    """`[n]` the objects that three quarters of the better half of some rows get wrong; None of fewer than eight rows.

    Their label may be another, or none can be told from what models see. That is the models' word, not a person's.

    Args:
        rows: `[r n]` of each, which of its runs got which object right.
    """
    if len(rows) < LEAST_ROWS:
        return None
    wrong = np.stack([1 - row.mean(axis=0) for row in rows])
    share = wrong.mean(axis=1)
    better = wrong[share <= np.median(share)] >= 0.5
    disputed: Bool[Array, " n"] = better.mean(axis=0) >= MOST_MISS
    return disputed


def errors(result: Result, truth: Truth, missed: Int[Array, " n"] | None = None, others: int = 0) -> Errors:
    """The objects that a run gets wrong, beside what others make of them.

    Args:
        result: of the run.
        truth: the labels.
        missed: `[n]` how many of the other rows get each object wrong, in the order of the truth's labels.
        others: how many other rows there are.

    Raises:
        CheckError: a Result whose metrics its predictions do not give, or of other data.
    """
    correct = correct_objects(result, truth)
    probabilities, labels = probabilities_of(result, truth), truth.indices()
    guesses, count = probabilities.argmax(axis=1), len(truth.classes)
    if missed is None:
        missed = np.zeros(len(labels), np.int64)
    ids = list(truth.labels)
    misses = [
        Miss(
            ids[index],
            truth.classes[labels[index]],
            truth.classes[guesses[index]],
            float(probabilities[index, guesses[index]]),
            float(probabilities[index, labels[index]]),
            int(missed[index]),
        )
        for index in np.flatnonzero(~correct).tolist()
    ]
    return Errors(
        accuracy=float(correct.mean()),
        interval=accuracy_interval(correct[None]),
        confusion=np.bincount(labels * count + guesses, minlength=count * count).reshape(count, count),
        classes=truth.classes,
        misses=tuple(sorted(misses, key=lambda miss: (miss.label, -miss.guessed, miss.object_id))),
        others=others,
        nobody=tuple(ids[index] for index in np.flatnonzero(~correct & (missed == others)).tolist()),
    )


def confusions(found: Errors) -> list[tuple[str, str, int]]:
    """Which class is taken for which other, and how often, the most frequent first."""
    counts = Counter((miss.label, miss.guess) for miss in found.misses)
    return [(label, guess, count) for (label, guess), count in counts.most_common()]


def missed_by_rows(rows: Iterable[Bool[Array, "r n"]]) -> tuple[Int[Array, " n"], int]:
    """`[n]` how many rows get each object wrong in most of their runs, and how many rows there are.

    Args:
        rows: `[r n]` each, which run got which object right.
    """
    wrong = [row.mean(axis=0) < 0.5 for row in rows]
    return np.sum(wrong, axis=0, dtype=np.int64), len(wrong)


def missed_by_others(entries: Sequence[Entry], result: Result) -> tuple[Int[Array, " n"], int]:
    """As `missed_by_rows`, of a data set's entries but those of the Result's own row."""
    groups: dict[tuple[str, str, str], list[Bool[Array, " n"]]] = {}
    for entry in entries:
        groups.setdefault(row_of(entry.result), []).append(entry.correct)
    groups.pop(row_of(result), None)
    return missed_by_rows(np.stack(runs) for runs in groups.values())


def errors_text(name: str, found: Errors) -> str:
    """The errors of a run as text for a terminal.

    Args:
        name: of the run.
        found: its errors.
    """
    right, total = int(found.confusion.trace()), int(found.confusion.sum())
    low, high = (100 * bound for bound in found.interval)
    lines = [
        f"{name}: {100 * found.accuracy:.1f} % ({right} of {total}), 95 % interval {low:.1f} to {high:.1f}",
        "",
        tabulate(
            [[label, *row] for label, row in zip(found.classes, found.confusion.tolist(), strict=True)],
            headers=["true class, taken for", *found.classes],
            tablefmt="github",
        ),
        "",
    ]
    if found.misses:
        often = ", ".join(f"{label} for {guess} {count}" for label, guess, count in confusions(found)[:5])
        lines += [f"Most often taken: {often}", "", _misses_table(found), ""]
    if found.others:
        nobody = (
            f"{len(found.nobody)} objects nobody gets right" if found.nobody else "No object that nobody gets right"
        )
        lines.append(f"{nobody}, of {found.others} other rows on the same test objects.")
    return "\n".join(lines).rstrip()


def _misses_table(found: Errors) -> str:
    headers = ["object", "class", "taken for", "probability", "of its class"]
    body = [[m.object_id, m.label, m.guess, f"{m.guessed:.3f}", f"{m.true:.3f}"] for m in found.misses]
    if found.others:
        headers.append(f"also wrong, of {found.others}")
        body = [[*line, str(miss.missed_by)] for line, miss in zip(body, found.misses, strict=True)]
    return tabulate(body, headers=headers, tablefmt="github", disable_numparse=True)
