"""Classification metrics, and the statistics that say which differences between them mean anything. Numpy only."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from gsbench.core.parsing import InputError
from gsbench.core.types import Array

_Z95 = 1.959963984540054


def require_finite(**values: Float[Array, "..."] | Sequence[float]) -> None:
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
    require_finite(probabilities=probabilities)
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
    require_finite(values=values)
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
    low, high = _bootstrap_of_sum(histogram, n)
    return low / (runs * n), high / (runs * n)


def accuracy_difference_interval(a: Bool[Array, "r n"], b: Bool[Array, "s n"]) -> tuple[float, float]:
    """95 % interval of the mean accuracy of the runs `b` less that of the runs `a`, over the same `n` test objects.

    As in `accuracy_interval`, the percentile bootstrap over objects, exactly. Where all objects differ alike, it has no
    width.

    Args:
        a: whether each run got each object right.
        b: the same of other runs.
    """
    runs, n = math.lcm(len(a), len(b)), a.shape[1]
    differences = b.sum(axis=0) * (runs // len(b)) - a.sum(axis=0) * (runs // len(a))
    histogram = np.bincount(differences + runs, minlength=2 * runs + 1) / n
    low, high = _bootstrap_of_sum(histogram, n)
    return low / (runs * n) - 1, high / (runs * n) - 1


def _bootstrap_of_sum(histogram: Float64[Array, " k"], n: int) -> tuple[int, int]:
    """The 2.5 % and 97.5 % points of a sum of n draws of 0 to k - 1, each as often as its histogram says."""
    size = 1 << ((len(histogram) - 1) * n).bit_length()  # above the largest sum, and a power of two: transforms fast
    distribution = np.cumsum(np.fft.irfft(np.fft.rfft(histogram, size) ** n, size))
    low, high = np.searchsorted(distribution, (0.025, 0.975))
    return int(low), int(high)


def _wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a binomial proportion (Wilson 1927)."""
    z2 = _Z95**2
    center = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, center - half), min(1.0, center + half)


def mcnemar_p_value(only_a: int, only_b: int) -> float:
    """McNemar's exact test of two classifiers on the same objects: the two-sided binomial test of a fair coin.

    Args:
        only_a: objects that the first alone gets right.
        only_b: objects that the second alone gets right.
    """
    total, fewer = only_a + only_b, min(only_a, only_b)
    return min(1.0, 2 * sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total)


def mcnemar_resolution(discordant: int, level: float = 0.05) -> int | None:
    """The smallest difference in objects that McNemar's exact test calls significant at this level.

    Args:
        discordant: objects that just one of two classifiers gets right.
        level: below which a p-value is significant.

    Returns:
        A difference, as odd or even as `discordant`; None where no difference among so few objects is significant.
    """
    gaps = range(discordant % 2, discordant + 1, 2)
    found = (gap for gap in gaps if mcnemar_p_value((discordant - gap) // 2, (discordant + gap) // 2) < level)
    return next(found, None)


FLIPS = 4999
"""How often `p_values_to_best` flips signs; a p-value of .05 is then known to within .006 (95 %)."""

_BLOCK = 1 << 20
"""Signs at a time, for the memory's sake."""


def p_values_to_best(rows: Sequence[Bool[Array, "_ n"]]) -> Float64[Array, " m"]:
    """How likely a difference to the best row as large as each row's is where models are equally good.

    Objects are the sample. A row counts on each of them by the mean over its runs (seeds, draws of the labels), so it
    is told what another draw of objects would do to these trained models, not what other seeds would. The statistic of
    two rows is the sum of their differences over objects, divided by the root of the sum of their squares. Which row is
    best the same objects have chosen, so each difference to it is held against the largest statistic of *all pairs* of
    rows (the studentized range; Westfall and Young's single-step maxT, 1993): of m equally good models some row is
    below .05 on 5 % of boards, for any m. What the largest is by chance, flipping signs says: an object's differences,
    those of all pairs together, are taken with either sign. So rows may be correlated, and no variance or normality is
    assumed. Of two rows of one run each, this is McNemar's exact test, but for the number of flips.

    All sums are of whole numbers, and the signs are the raw bits of a generator that never changes: the p-values are
    the same on every machine.

    Args:
        rows: `[r n]` each, which run of that row got which object right.

    Returns:
        `[m]` adjusted p-values, (k + 1) / (FLIPS + 1) where the largest statistic of k flips reaches that of the row;
        1 for the best row, the first of equals.
    """
    return compare_with_best(rows)[0]


def compare_with_best(
    rows: Sequence[Bool[Array, "_ n"]], level: float = 0.05
) -> tuple[Float64[Array, " m"], Float64[Array, " m"]]:
    """As `p_values_to_best`, and the smallest difference that would be significant.

    Args:
        rows: as there.
        level: below which a p-value is significant.

    Returns:
        The p-values `[m]`; and `[m]` by how many objects, in the mean over runs, each row would have to fall short of
        the best one for its p-value to be below the level, if the two differed on as many objects as they do.
    """
    runs = math.lcm(*map(len, rows))
    right = np.stack([row.sum(axis=0) * float(runs // len(row)) for row in rows])
    products = _products(right, right)
    squares = np.diag(products)[:, None] + np.diag(products) - 2 * products
    disagreements = squares.copy()
    squares[squares == 0] = 1  # of rows that agree on every object: their difference is 0 as well
    sums = right.sum(axis=1)
    best = int(sums.argmax())
    reached = (sums[best] - sums) ** 2 / squares[best]
    largest = _largest_by_chance(right, squares)
    p_values = (1 + (largest[:, None] >= reached).sum(axis=0)) / (FLIPS + 1)
    most = math.ceil(level * (FLIPS + 1)) - 2  # so many of the largest may reach a difference that is significant
    needed = np.sort(largest)[::-1][most] * disagreements[best]
    return p_values, (np.floor(np.sqrt(needed)) + 1) / runs


def _largest_by_chance(right: Float64[Array, "m n"], squares: Float64[Array, "m m"]) -> Float64[Array, " flips"]:
    """The largest squared statistic of all pairs of rows, flip by flip."""
    (m, n), generator = right.shape, np.random.PCG64(0)
    words = -(-n // 64)
    step = max(1, _BLOCK // n)
    largest = np.zeros(FLIPS)
    for start in range(0, FLIPS, step):
        block = largest[start : start + step]
        raw = generator.random_raw(len(block) * words).astype("<u8").view(np.uint8).reshape(len(block), -1)
        signs = 2.0 * np.unpackbits(raw, axis=1, count=n) - 1
        sums = _products(right, signs)
        for i in range(m - 1):
            statistics = sums[i + 1 :] - sums[i]
            statistics *= statistics
            statistics /= squares[i, i + 1 :, None]
            np.maximum(block, statistics.max(axis=0), out=block)
    return largest


def _products(a: Float64[Array, "m n"], b: Float64[Array, "k n"]) -> Float64[Array, "m k"]:
    """`a @ b.T` on one core. BLAS takes all, and is many times slower where another process has one of them."""
    return np.einsum("mn,kn->mk", a, b)


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
    require_finite(known=known, features=features)
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
    require_finite(features=features)
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
