"""What a person should look at before an entry goes on a board: twins of other entries, and labels in place of guesses.

Neither proves a fault. Predictions say the same of two models where one is a copy of the other, scaled or with a little
noise; and whoever has the test labels can write them into a file.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from gsbench.board.entries import Entry
from gsbench.board.truth import Truth
from gsbench.core.metrics import mcnemar_p_value
from gsbench.core.results import Result
from gsbench.core.types import Array

ALIKE = 0.98
"""From this likeness on two sets of predictions are twins.

Of the 5,553 pairs of entries on ModelNet10-GS under different names or seeds, the two most alike have .971, then come
.960 and .945. The copy of an entry has 1 whatever its temperature, and .993 with noise of a tenth of the logits'
spread.
"""

SAME_GUESSES = 5
"""So many wrong objects at least, each with the same wrong class, and all others right: guesses are then twins, too."""

FEW_WRONG = 0.02
"""Of the test objects: with so few wrong, and fewer than any entry by more than chance, predictions may be labels."""

_BY_CHANCE = 0.01


_FLOOR = 2e-5
"""Below it a probability is little else than its rounding."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predictions and where they are from.

    Attributes:
        where: names the file.
        result: whose predictions they are.
        probabilities: `[n c]` in the order of the truth's labels.
    """

    where: str
    result: Result
    probabilities: Float64[Array, "n c"]


def likeness(a: Float64[Array, "n c"], b: Float64[Array, "n c"]) -> float:
    """The correlation of two sets of predictions: 1 where they are the same at whatever temperature.

    It is that of the logarithms of their probabilities within an object, where neither is rounded to nothing; 0 where
    fewer than two classes are left everywhere, as of predictions that are all certain.
    """
    both = (a > _FLOOR) & (b > _FLOOR)
    centered = []
    for each in (a, b):
        logs = np.where(both, np.log(np.maximum(each, _FLOOR)), 0)
        means = logs.sum(1, keepdims=True) / np.maximum(both.sum(1, keepdims=True), 1)
        centered.append(np.where(both, logs - means, 0))
    scale = float(np.linalg.norm(centered[0]) * np.linalg.norm(centered[1]))
    return float((centered[0] * centered[1]).sum()) / scale if scale > 0 else 0.0


def twins(new: Predicted, other: Predicted, truth: Truth) -> list[str]:
    """In words, that another file says what `new` says under another name or seed; nothing where it does not."""
    ours, theirs = new.result, other.result
    if (ours.model.name, ours.run.seed) == (theirs.model.name, theirs.run.seed):
        return []
    guesses = new.probabilities.argmax(1)
    same = bool((guesses == other.probabilities.argmax(1)).all())
    wrong = int((guesses != truth.indices()).sum())
    if np.array_equal(new.probabilities, other.probabilities):
        how = "equal predictions"
    elif (alike := likeness(new.probabilities, other.probabilities)) >= ALIKE:
        how = f"nearly the same predictions (likeness {alike:.4f}, from {ALIKE} on it is told)"
    elif same and wrong >= SAME_GUESSES:
        how = f"the same guess for every object, {wrong} wrong ones among them"
    else:
        return []
    seed = "unknown" if theirs.run.seed is None else theirs.run.seed
    return [f"{new.where}: {how} as {other.where} ({theirs.model.name}, seed {seed})"]


def too_good(
    where: str, result: Result, correct: Bool[Array, " n"], truth: Truth, entries: Iterable[Entry]
) -> list[str]:
    """In words, that predictions are nearer to the labels than those of any entry on the data by more than chance.

    Args:
        where: names the file.
        result: that was handed in.
        correct: which objects it gets right.
        truth: the labels.
        entries: those on the board, of any task on the data set.
    """
    wrong = int((~correct).sum())
    others = [entry.correct for entry in entries]
    best = max(others, key=lambda each: int(each.sum()), default=None)
    if wrong > FEW_WRONG * len(correct):
        return []
    if best is None:
        if wrong or result.outside is None:
            return []
        against = "there is no entry to compare with"
    else:
        if mcnemar_p_value(int((correct & ~best).sum()), int((best & ~correct).sum())) >= _BY_CHANCE:
            return []
        if correct.sum() <= best.sum():
            return []
        against = f"the best entry on {truth.dataset} gets {int((~best).sum())} wrong"
    return [f"{where}: gets {wrong} of {len(correct)} test objects wrong, {against}: these may be the labels"]
