"""Classification metrics, and the statistics that say which differences between them mean anything. Numpy only."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from gsbench.parsing import InputError
from gsbench.types import Array

_Z95 = 1.959963984540054


def _check_finite(**values: Float[Array, "..."] | Sequence[float]) -> None:
    """Raises an InputError that names what holds NaN or infinity: comparisons make a class or a rank of it."""
    for name, numbers in values.items():
        bad = ~np.isfinite(numbers)
        if bad.any():
            raise InputError(f"{name}: {int(bad.sum())} of {bad.size} numbers are not finite (must all be)")


def classification_metrics(probabilities: Float[Array, "n c"], labels: Int[Array, " n"]) -> dict[str, float]:
    """The metrics of a Result file, each in 0..1.

    Args:
        probabilities: `[n c]`, a row an object; the largest is the prediction, the first of equals.
        labels: `[n]` true class indices in 0..c-1.

    Returns:
        `accuracy`; `class_accuracy`, the mean recall over the classes that `labels` holds; `macro_f1`, the mean F1
        over the classes that `labels` or the predictions hold.

    Raises:
        InputError: no objects, a label out of range, or a probability that is not finite.
    """
    n, c = probabilities.shape
    _check_finite(probabilities=probabilities)
    if n == 0:
        raise InputError("labels: no objects (metrics need at least one)")
    if labels.min() < 0 or labels.max() >= c:
        raise InputError(f"labels are in {labels.min()}..{labels.max()} (allowed: 0 to {c - 1})")
    confusion = np.bincount(labels * c + probabilities.argmax(axis=1), minlength=c * c).reshape(c, c)
    right, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    present, seen = true > 0, (true + predicted) > 0
    return {
        "accuracy": float(right.sum() / n),
        "class_accuracy": float(np.mean(right[present] / true[present])),
        "macro_f1": float(np.mean(2 * right[seen] / (true + predicted)[seen])),
    }


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation (n - 1), None for one value; an InputError if one is not finite."""
    _check_finite(values=values)
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


_T95 = {2: 12.706205, 3: 4.302653, 4: 3.182446, 5: 2.776445, 6: 2.570582, 7: 2.446912, 8: 2.364624, 9: 2.306004}
"""97.5 % quantile of Student's t by number of values."""


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean of 2 to 9 repeats, and its 95 % interval by Student's t."""
    mean, spread = mean_and_std(values)
    assert spread is not None, "there are repeats"
    half = _T95[len(values)] * spread / math.sqrt(len(values))
    return mean, mean - half, mean + half


def paired_distances(a: Float[Array, "n d"], b: Float[Array, "n d"]) -> Float64[Array, " n"]:
    """Euclidean distance of each row of `a` from the same row of `b`; an InputError where they are not finite."""
    _check_finite(a=a, b=b)
    return np.asarray(np.linalg.norm(a.astype(np.float64) - b, axis=1))


def auc(low: Float[Array, " n"], high: Float[Array, " m"]) -> float:
    """How likely a value of `high` is above one of `low`; equals count half. Depends on no scale.

    Raises:
        InputError: a value is not finite.
    """
    _check_finite(low=low, high=high)
    ordered = np.sort(low)
    below, up_to = np.searchsorted(ordered, high, "left"), np.searchsorted(ordered, high, "right")
    return float((below + up_to).mean() / (2 * len(low)))


def match_metrics(same: Float[Array, " n"], different: Float[Array, " m"]) -> tuple[float, float]:
    """Accuracy of a yes-or-no answer, and its mean over the two kinds of pairs, which knows no majority.

    Args:
        same: log-odds of pairs that are of one object: right above 0.
        different: those of pairs that are not: right up to 0.

    Raises:
        InputError: log-odds that are not finite.
    """
    _check_finite(same=same, different=different)
    right_same, right_different = same > 0, different <= 0
    accuracy = (right_same.sum() + right_different.sum()) / (len(same) + len(different))
    return float(accuracy), float((right_same.mean() + right_different.mean()) / 2)


def _unit(features: Float[Array, "n d"]) -> Float64[Array, "n d"]:
    rows = features.astype(np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def knn_accuracy(
    known: Float[Array, "n d"],
    known_labels: Int[Array, " n"],
    features: Float[Array, "m d"],
    labels: Int[Array, " m"],
    k: int = 5,
) -> float:
    """Accuracy of a vote of the `k` nearest of `known` by cosine, or of all if there are fewer.

    Of classes with equally many votes, the one whose voters are nearer in sum is taken.

    Raises:
        InputError: features that are not finite.
    """
    _check_finite(known=known, features=features)
    cosines = _unit(features) @ _unit(known).T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    votes = np.zeros((len(features), int(known_labels.max()) + 1))
    rows = np.arange(len(features))[:, None]
    np.add.at(votes, (rows, known_labels[nearest]), 1 + 1e-6 * np.take_along_axis(cosines, nearest, 1))
    return float((votes.argmax(1) == labels).mean())


def retrieval_map(features: Float[Array, "n d"], labels: Int[Array, " n"]) -> float:
    """Mean average precision of retrieval by cosine among the same objects: each asks for the others of its class.

    The object that asks is not in its own list, which would begin with a certain hit. One that is alone in its class
    asks for nothing and does not count.

    Raises:
        InputError: no class has two objects, or features that are not finite.
    """
    _check_finite(features=features)
    cosines = _unit(features) @ _unit(features).T
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :-1]
    hits = labels[order] == labels[:, None]
    precision = hits.cumsum(1) / np.arange(1, len(labels))
    wanted = hits.sum(1)
    asks = wanted > 0
    if not asks.any():
        raise InputError("labels: no class has two objects (retrieval needs some)")
    return float(((precision * hits).sum(1)[asks] / wanted[asks]).mean())
