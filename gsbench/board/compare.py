"""Two rows object by object: which objects make the difference, and whether the difference means anything."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int
from tabulate import tabulate

from gsbench.board.entries import CheckError, correct_objects, probabilities_of
from gsbench.board.truth import Truth
from gsbench.core.metrics import accuracy_difference_interval, mcnemar_p_value, mcnemar_resolution, p_values_to_best
from gsbench.core.results import Result
from gsbench.core.types import Array


@dataclass(frozen=True, slots=True)
class Flip:
    """A test object that two rows do not get right equally often.

    Attributes:
        object_id: of the object.
        label: its class.
        a: share of the runs of the first row that get it right.
        b: of the second.
        guesses: the class that most runs of the first and of the second row take it for.
    """

    object_id: str
    label: str
    a: float
    b: float
    guesses: tuple[str, str]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Accuracy of two rows on the test objects of one class."""

    label: str
    objects: int
    a: float
    b: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two rows get right on the same test objects; differences are of the second less the first.

    Attributes:
        accuracies: mean over the runs of each row.
        runs: how many each row has.
        difference: of the accuracies.
        interval: its 95 % interval, over objects.
        objects: the difference in objects.
        only_a: objects that the first row alone gets right, None where a row has several runs.
        only_b: that the second alone gets right.
        mcnemar: p-value of McNemar's exact test, None where a row has several runs.
        resolution: the smallest difference in objects that this test could call significant among so many objects
            that just one of the two gets right; None where no difference could be, or where a row has several runs.
        flips_p: p-value of the board's own test, see `p_values_to_best`.
        classes: scores by class.
        flips: the objects that differ, those that the second row gets right first.
    """

    accuracies: tuple[float, float]
    runs: tuple[int, int]
    difference: float
    interval: tuple[float, float]
    objects: float
    only_a: int | None
    only_b: int | None
    mcnemar: float | None
    resolution: int | None
    flips_p: float
    classes: tuple[ClassScore, ...]
    flips: tuple[Flip, ...]


def compare(a: Sequence[Result], b: Sequence[Result], truth: Truth) -> Comparison:
    """Compares two rows object by object.

    Args:
        a: the runs of one row, of any task on the truth's data set.
        b: those of another.
        truth: the labels.

    Raises:
        CheckError: a Result whose metrics its predictions do not give, or of other data.
    """
    right = [np.stack([correct_objects(result, truth) for result in row]) for row in (a, b)]
    means = [rows.mean(axis=0) for rows in right]
    difference = float(means[1].mean() - means[0].mean())
    single = len(a) == len(b) == 1
    only_a = int((right[0] & ~right[1]).sum()) if single else None
    only_b = int((right[1] & ~right[0]).sum()) if single else None
    mcnemar = resolution = None
    if only_a is not None and only_b is not None:
        mcnemar, resolution = mcnemar_p_value(only_a, only_b), mcnemar_resolution(only_a + only_b)
    return Comparison(
        accuracies=(float(means[0].mean()), float(means[1].mean())),
        runs=(len(a), len(b)),
        difference=difference,
        interval=accuracy_difference_interval(*right),
        objects=difference * len(truth.labels),
        only_a=only_a,
        only_b=only_b,
        mcnemar=mcnemar,
        resolution=resolution,
        flips_p=float(p_values_to_best(right).min()),
        classes=_by_class(truth, *means),
        flips=_flips(truth, (means[0], means[1]), (_guesses(a, truth), _guesses(b, truth))),
    )


def _by_class(truth: Truth, a: Float64[Array, " n"], b: Float64[Array, " n"]) -> tuple[ClassScore, ...]:
    labels = truth.indices()
    scores = []
    for index, name in enumerate(truth.classes):
        chosen = labels == index
        if chosen.any():
            scores.append(ClassScore(name, int(chosen.sum()), float(a[chosen].mean()), float(b[chosen].mean())))
    return tuple(scores)


def _flips(
    truth: Truth,
    means: tuple[Float64[Array, " n"], Float64[Array, " n"]],
    guesses: tuple[Int[Array, " n"], Int[Array, " n"]],
) -> tuple[Flip, ...]:
    a, b = means
    ids, labels = list(truth.labels), list(truth.labels.values())
    return tuple(
        Flip(ids[index], labels[index], float(a[index]), float(b[index]), _names(truth, guesses, index))
        for index in np.argsort(a - b, kind="stable").tolist()
        if a[index] != b[index]
    )


def _names(truth: Truth, guesses: tuple[Int[Array, " n"], Int[Array, " n"]], index: int) -> tuple[str, str]:
    return truth.classes[guesses[0][index]], truth.classes[guesses[1][index]]


def _guesses(row: Sequence[Result], truth: Truth) -> Int[Array, " n"]:
    """`[n]` the class that most runs take each object for, the first of equals, in the order of the truth's labels."""
    votes = np.zeros((len(truth.labels), len(truth.classes)), np.int64)
    for result in row:
        votes[np.arange(len(votes)), probabilities_of(result, truth).argmax(axis=1)] += 1
    return votes.argmax(axis=1)


def check_comparable(a: Result, b: Result, names: tuple[str, str]) -> None:
    """Raises a CheckError where two Results are not of the same test objects.

    Args:
        a: a Result.
        b: another.
        names: of their files, for the message.
    """
    for key in ("dataset", "fingerprint", "split"):
        ours, theirs = getattr(a.task, key), getattr(b.task, key)
        if ours != theirs:
            raise CheckError(
                f"{names[1]}: task.{key} is '{theirs}', that of {names[0]} is '{ours}' (must be of the same objects)"
            )


def comparison_text(names: tuple[str, str], found: Comparison) -> str:
    """A comparison as text for a terminal.

    Args:
        names: of the two rows.
        found: what was found.
    """
    (first, second), (low, high) = found.accuracies, found.interval
    lines = [
        f"A: {names[0]}: {100 * first:.1f} %{_runs(found.runs[0])}",
        f"B: {names[1]}: {100 * second:.1f} %{_runs(found.runs[1])}",
        f"B - A: {100 * found.difference:+.1f} points ({found.objects:+g} objects), 95 % interval {100 * low:+.1f} to "
        f"{100 * high:+.1f} over objects",
    ]
    if found.mcnemar is not None:
        floor = "no gap could be told" if found.resolution is None else f"a gap of {found.resolution} could be told"
        lines.append(
            f"Only A is right on {found.only_a} objects, only B on {found.only_b}: McNemar's exact test "
            f"p = {found.mcnemar:.3g} (with so many, {floor} at 5 %)"
        )
    told = "told apart" if found.flips_p < 0.05 else "not told apart"
    lines += [f"The board's test (studentized sign flips): p = {found.flips_p:.3g}, {told} at 5 %", ""]
    body = [
        [
            score.label,
            score.objects,
            f"{100 * score.a:.1f}",
            f"{100 * score.b:.1f}",
            f"{100 * (score.b - score.a):+.1f}",
        ]
        for score in found.classes
    ]
    lines.append(
        tabulate(body, headers=["class", "objects", "A", "B", "B - A"], tablefmt="github", disable_numparse=True)
    )
    for title, flips in (
        ("B right, A wrong", [flip for flip in found.flips if flip.b > flip.a]),
        ("A right, B wrong", [flip for flip in found.flips if flip.a > flip.b]),
    ):
        if flips:
            cells = [[flip.object_id, flip.label, *flip.guesses] for flip in flips]
            more = "" if max(found.runs) == 1 else " more often"
            table = tabulate(cells, headers=["object", "class", "by A", "by B"], tablefmt="github")
            lines += ["", f"{title}{more} ({len(flips)}):", "", table]
    return "\n".join(lines)


def _runs(runs: int) -> str:
    return " (one seed)" if runs == 1 else f" (mean of {runs} runs)"
