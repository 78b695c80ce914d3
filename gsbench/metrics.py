"""Classification metrics, and the statistics that say which differences between them mean anything. Numpy only."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from gsbench.types import Array

_Z95 = 1.959963984540054


def classification_metrics(probabilities: Float[Array, "n c"], labels: Int[Array, " n"]) -> dict[str, float]:
    """The metrics of a Result file, each in 0..1.

    Args:
        probabilities: `[n c]`, a row an object; the largest is the prediction, the first of equals.
        labels: `[n]` true class indices in 0..c-1.

    Returns:
        `accuracy`; `class_accuracy`, the mean recall over the classes that `labels` holds; `macro_f1`, the mean F1
        over the classes that `labels` or the predictions hold.

    Raises:
        ValueError: no objects, or a label out of range.
    """
    n, c = probabilities.shape
    if n == 0:
        raise ValueError("labels: no objects (metrics need at least one)")
    if labels.min() < 0 or labels.max() >= c:
        raise ValueError(f"labels are in {labels.min()}..{labels.max()} (allowed: 0 to {c - 1})")
    confusion = np.bincount(labels * c + probabilities.argmax(axis=1), minlength=c * c).reshape(c, c)
    right, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    present, seen = true > 0, (true + predicted) > 0
    return {
        "accuracy": float(right.sum() / n),
        "class_accuracy": float(np.mean(right[present] / true[present])),
        "macro_f1": float(np.mean(2 * right[seen] / (true + predicted)[seen])),
    }


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation (n - 1), which is None for a single value."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return float(np.mean(values)), spread


def accuracy_interval(correct: Bool[Array, "r n"]) -> tuple[float, float]:
    """95 % interval of the mean accuracy of `r` runs over the same `n` test objects.

    It is the percentile bootstrap over objects, so it says what another draw of test objects would do, not another
    seed. No resampling is needed: an object counts by the runs that get it right, 0 to r, so the distribution of a
    resample's sum is that histogram convolved n times with itself, which a Fourier transform gives exactly. Where all
    runs get all objects right, or all wrong, that has no width, and Wilson's interval of one run stands in.

    Args:
        correct: whether each run got each object right.
    """
    runs, n = correct.shape
    histogram = np.bincount(correct.sum(axis=0), minlength=runs + 1) / n
    if n in (histogram[0] * n, histogram[runs] * n):
        return _wilson_interval(float(histogram[runs]), n)
    size = 1 << (runs * n).bit_length()  # at least runs * n + 1, and a power of two, which transforms fast
    distribution = np.cumsum(np.fft.irfft(np.fft.rfft(histogram, size) ** n, size))
    low, high = np.searchsorted(distribution, (0.025, 0.975)) / (runs * n)
    return float(low), float(high)


def _wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a binomial proportion (Wilson 1927)."""
    z2 = _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def mcnemar(a: Bool[Array, " n"], b: Bool[Array, " n"]) -> float:
    """Exact two-sided McNemar test of two sets of predictions for the same objects.

    Args:
        a: whether the first model got each object right.
        b: the same of the second.

    Returns:
        The p-value: how likely a split of the objects that only one model gets right, as uneven as this one or more,
        is if both models are equally good.
    """
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    discordant = only_a + only_b
    tail = sum(math.comb(discordant, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / 2**discordant)


def typical_mcnemar(a: Bool[Array, "r n"], b: Bool[Array, "s n"]) -> float:
    """The median p-value of `mcnemar` over all pairs of a run of one model with a run of the other."""
    return float(np.median([mcnemar(first, second) for first in a for second in b]))
