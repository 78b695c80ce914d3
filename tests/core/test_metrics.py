"""Metrics against hand-counted and brute-force values."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from gsbench.core.metrics import (
    FLIPS,
    accuracy_interval,
    classification_metrics,
    knn_accuracy,
    mean_and_std,
    p_values_to_best,
    retrieval_map,
)
from gsbench.core.parsing import InputError
from gsbench.learn.evaluation.pretext_metrics import auc, match_metrics, mean_interval, paired_distances


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def one_hot(predicted: list[int], classes: int) -> np.ndarray:
    return np.eye(classes)[predicted]


def test_metrics_of_a_case_counted_by_hand():
    metrics = classification_metrics(one_hot([0, 0, 1, 1, 1, 2], 4), np.array([0, 0, 0, 1, 2, 2]))
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert metrics["class_accuracy"] == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert metrics["macro_f1"] == pytest.approx((4 / 5 + 2 / 4 + 2 / 3) / 3)


def test_a_class_that_is_only_predicted_lowers_f1_but_has_no_recall():
    metrics = classification_metrics(one_hot([0, 1], 2), np.array([0, 0]))
    assert metrics == {"accuracy": 0.5, "class_accuracy": 0.5, "macro_f1": pytest.approx((2 / 3 + 0) / 2)}


def test_metrics_match_a_loop_over_objects(rng):
    probabilities, labels = rng.dirichlet(np.ones(5), 200), rng.integers(0, 5, 200)
    predicted = [max(range(5), key=row.__getitem__) for row in probabilities]
    f1 = []
    for c in range(5):
        hits = sum(p == c == t for p, t in zip(predicted, labels, strict=True))
        f1.append(2 * hits / (predicted.count(c) + int((labels == c).sum())))
    metrics = classification_metrics(probabilities, labels)
    assert metrics["accuracy"] == np.mean([p == t for p, t in zip(predicted, labels, strict=True)])
    assert metrics["macro_f1"] == pytest.approx(np.mean(f1))


def test_equal_probabilities_predict_the_first_class():
    assert classification_metrics(np.full((2, 4), 0.25), np.array([0, 1]))["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("n", "labels", "message"), [(0, [], "no objects"), (2, [0, 3], r"0\.\.3 \(allowed: 0 to 2\)"), (1, [-1], "-1")]
)
def test_labels_that_fit_no_class_are_refused(n, labels, message):
    with pytest.raises(ValueError, match=message):
        classification_metrics(np.full((n, 3), 1 / 3), np.array(labels, dtype=np.int64))


def test_mean_and_std():
    assert mean_and_std([0.9]) == (0.9, None)
    assert mean_and_std([1.0, 2.0, 3.0]) == (2.0, 1.0)


@pytest.mark.parametrize("runs", [1, 3])
def test_the_interval_is_that_of_the_bootstrap_over_objects(rng, runs):
    correct = rng.random((runs, 60)) < 0.8
    share = correct.mean(axis=0)
    resampled = share[rng.integers(0, 60, (200_000, 60))].mean(axis=1)
    low, high = accuracy_interval(correct)
    # The quantile of a distribution with steps: the bound is where it passes 2.5 %, not before.
    for bound, level in ((low, 0.025), (high, 0.975)):
        step = 1 / (runs * 60)
        assert (resampled <= bound + step / 2).mean() >= level - 0.002
        assert (resampled <= bound - step / 2).mean() < level + 0.002


def test_the_interval_of_a_tiny_case_by_enumeration():
    share = np.array([0, 1, 1, 1])
    sums = sorted(sum(draw) for draw in itertools.product(share, repeat=4))
    low, high = accuracy_interval(share[None].astype(bool))
    assert low == sums[int(np.ceil(0.025 * len(sums))) - 1] / 4
    assert high == sums[int(np.ceil(0.975 * len(sums))) - 1] / 4


def test_a_perfect_score_still_has_an_interval():
    low, high = accuracy_interval(np.ones((3, 120), dtype=bool))
    assert high == 1.0
    assert low == pytest.approx(120 / (120 + 1.959964**2), abs=1e-6)
    assert accuracy_interval(np.zeros((2, 120), dtype=bool)) == pytest.approx((0.0, 1 - low))


def mcnemar(a, b) -> float:
    """The exact test of two sets of predictions, two-sided, by another library."""
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0


@pytest.mark.parametrize("wrong", [0, 4, 5, 9, 12, 30])
def test_two_rows_of_one_run_are_told_apart_by_mcnemars_exact_test(wrong):
    """Two objects that only the second gets right, and others that only the first does, among fifty of both."""
    a = np.array([0] * 2 + [1] * wrong + [1] * 50, dtype=bool)
    b = np.array([1] * 2 + [0] * wrong + [1] * 50, dtype=bool)
    p_values = p_values_to_best([a[None], b[None]])
    exact = mcnemar(a, b)
    assert p_values[int(wrong >= 2)] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / FLIPS) + 2 / FLIPS)
    assert p_values[int(wrong < 2)] == 1


def test_rows_that_agree_are_tied_whatever_the_others_are():
    good, bad = np.ones((1, 100), dtype=bool), np.zeros((2, 100), dtype=bool)
    assert p_values_to_best([good, good, bad]).tolist() == [1, 1, 1 / (FLIPS + 1)]
    assert p_values_to_best([bad, bad]).tolist() == [1, 1]


def test_a_row_counts_by_the_mean_over_its_runs(rng):
    """However often a run is repeated, it says the same; and the order of rows and runs does not matter."""
    rows = [rng.random((runs, 300)) < share for runs, share in ((1, 0.9), (2, 0.85), (3, 0.8))]
    p_values = p_values_to_best(rows).tolist()
    assert p_values_to_best([np.repeat(row, 2, axis=0) for row in rows]).tolist() == p_values
    assert p_values_to_best([row[::-1] for row in rows[::-1]]).tolist() == p_values[::-1]
    assert p_values_to_best([rows[0], np.repeat(rows[1], 5, axis=0), rows[2]]).tolist() == p_values


TWO_POINTS = 0.452
"""By how much the logit of `boards` falls where the accuracy falls from .91 to .89."""


def boards(seed: int, count: int, runs: list[int], fall: float = 0.0) -> Iterator[list[np.ndarray]]:
    """Boards of 899 objects whose rows share how hard an object is, as real models do: accuracy .91, and two runs
    disagree on 8 % of objects (the board's own on 4 to 11). The last row's logit is lower by `fall`.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        logit = 5.27 + 3.5 * rng.normal(size=899)
        right = 1 / (1 + np.exp(-logit))
        last = 1 / (1 + np.exp(fall - logit))
        yield [rng.random((n, 899)) < (last if i == len(runs) - 1 else right) for i, n in enumerate(runs)]


def falsely_behind(count: int, runs: list[int]) -> float:
    """On how many of `count` boards of equally good models any row is behind the best."""
    return float(np.mean([p_values_to_best(rows).min() < 0.05 for rows in boards(sum(runs), count, runs)]))


LEVELS = [(m, runs) for m in (2, 5, 20) for runs in ([1], [3], [1, 2, 3])]


@pytest.mark.parametrize(("m", "runs"), LEVELS, ids=str)
def test_of_equal_models_any_is_behind_on_one_board_of_twenty(m, runs, monkeypatch):
    monkeypatch.setattr("gsbench.core.metrics.FLIPS", 199)  # valid with any number, and fast
    assert falsely_behind(300, (runs * m)[:m]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.slow
@pytest.mark.parametrize(("m", "runs"), LEVELS, ids=str)
def test_of_equal_models_any_is_behind_on_one_board_of_twenty_over_many_boards(m, runs, monkeypatch):
    monkeypatch.setattr("gsbench.core.metrics.FLIPS", 999)
    assert falsely_behind(2000, (runs * m)[:m]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_the_best_row_alone_would_be_the_wrong_measure(monkeypatch):
    """What the simulation above is for: pairs with the best row, each tested on its own, are false on most boards."""
    monkeypatch.setattr("gsbench.core.metrics.FLIPS", 199)
    false = 0
    for rows in boards(0, 50, [1] * 20):
        best = max(rows, key=np.mean)
        false += any(p_values_to_best([best, row]).min() < 0.05 for row in rows if row is not best)
    assert false > 25


@pytest.mark.parametrize(("runs", "least"), [(1, 0.4), (3, 0.85)])
def test_a_gap_of_two_points_is_told_by_seeds(runs, least, monkeypatch):
    """With one seed as often as by McNemar's test, whose median over pairs of runs gains nothing from three."""
    monkeypatch.setattr("gsbench.core.metrics.FLIPS", 999)
    told, by_mcnemar = [], []
    for a, b in boards(7, 200, [runs, runs], TWO_POINTS):
        told.append(p_values_to_best([a, b]).min() < 0.05)
        by_mcnemar.append(np.median([mcnemar(x, y) for x in a for y in b]) < 0.05)
    assert np.mean(told) >= max(least, np.mean(by_mcnemar) - 0.02)


@pytest.mark.parametrize("count", [2, 5, 9])
def test_the_interval_of_repeats_is_students(rng, count):
    values = rng.normal(size=count).tolist()
    mean, low, high = mean_interval(values)
    expected = stats.t.interval(0.95, count - 1, np.mean(values), stats.sem(values))
    assert (low, high) == pytest.approx(expected, rel=1e-6)
    assert mean == pytest.approx(np.mean(values))


def test_paired_distances():
    a, b = np.array([[0, 0], [1, 1]], np.float32), np.array([[3, 4], [1, 1]], np.float32)
    assert paired_distances(a, b).tolist() == [5, 0]


def test_auc_matches_a_loop_over_pairs_and_no_scale_changes_it(rng):
    low, high = rng.integers(0, 9, 40).astype(float), rng.integers(3, 12, 30).astype(float)
    expected = np.mean([(h > value) + (h == value) / 2 for value in low for h in high])
    assert auc(low, high) == pytest.approx(expected)
    assert auc(low * 1000, high * 1000) == auc(low, high)
    assert auc(low, low) == pytest.approx(0.5)
    assert auc(low, low + 100) == 1
    assert auc(low + 100, low) == 0


def test_always_yes_gets_two_thirds_and_half():
    yes = np.ones(20)
    assert match_metrics(np.ones(40), yes) == (pytest.approx(2 / 3), 0.5)
    assert match_metrics(np.ones(40), -yes) == (1, 1)
    assert match_metrics(np.zeros(40), np.zeros(20)) == (pytest.approx(1 / 3), 0.5), "0 is no yes"


def test_nearest_neighbors_match_a_loop_over_objects(rng):
    known, labels = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    asked, truth = rng.normal(size=(50, 4)), rng.integers(0, 3, 50)
    right = 0
    for row, own in zip(asked, truth, strict=True):
        cosines = known @ row / np.linalg.norm(known, axis=1) / np.linalg.norm(row)
        nearest = sorted(range(30), key=lambda i, c=cosines: -c[i])[:5]
        votes = [(sum(labels[i] == c for i in nearest), sum(cosines[i] for i in nearest if labels[i] == c), -c)
                 for c in range(3)]  # fmt: skip
        right += -max(votes)[2] == own
    assert knn_accuracy(known, labels, asked, truth) == right / 50
    assert knn_accuracy(known * rng.uniform(1, 9, (30, 1)), labels, asked, truth) == right / 50, "by cosine"


def test_fewer_neighbors_than_asked_for():
    known, labels = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([4, 2])
    assert knn_accuracy(known, labels, np.array([[2.0, 0.1], [0.0, 3.0]]), np.array([4, 2])) == 1


def test_retrieval_leaves_the_query_out():
    features = np.array([[1.0, 0.0], [0.9, 0.1], [0.8, 0.2], [0.0, 1.0]])
    # Of class 0 are the first and the third; the second is nearer to each. The fourth is alone and does not count.
    assert retrieval_map(features, np.array([0, 1, 0, 2])) == pytest.approx(0.5)
    assert retrieval_map(features, np.array([0, 0, 0, 2])) == 1
    with pytest.raises(ValueError, match="no class has two objects"):
        retrieval_map(features, np.arange(4))


def test_retrieval_matches_a_loop_over_queries(rng):
    features, labels = rng.normal(size=(40, 5)), rng.integers(0, 4, 40)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    values = []
    for query in range(40):
        order = sorted((i for i in range(40) if i != query), key=lambda i, q=query: -(unit[i] @ unit[q]))
        hits = [rank for rank, i in enumerate(order, 1) if labels[i] == labels[query]]
        values.append(np.mean([n / rank for n, rank in enumerate(hits, 1)]))
    assert retrieval_map(features, labels) == pytest.approx(np.mean(values))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (lambda x: classification_metrics(x, np.array([0, 1, 0])), "probabilities"),
        (lambda x: mean_and_std(x[:, 0].tolist()), "values"),
        (lambda x: paired_distances(x, np.zeros((3, 2))), "a"),
        (lambda x: paired_distances(np.zeros((3, 2)), x), "b"),
        (lambda x: auc(x[:, 0], np.zeros(3)), "low"),
        (lambda x: auc(np.zeros(3), x[:, 0]), "high"),
        (lambda x: match_metrics(x[:, 0], np.zeros(3)), "same"),
        (lambda x: match_metrics(np.zeros(3), x[:, 0]), "different"),
        (lambda x: knn_accuracy(x, np.array([0, 1, 0]), np.ones((3, 2)), np.array([0, 1, 0])), "known"),
        (lambda x: knn_accuracy(np.ones((3, 2)), np.array([0, 1, 0]), x, np.array([0, 1, 0])), "features"),
        (lambda x: retrieval_map(x, np.array([0, 1, 0])), "features"),
    ],
)
def test_what_is_not_finite_has_no_metric(metric, name, bad):
    """It would be class 0, or the first rank."""
    numbers = np.full((3, 2), 0.5)
    metric(numbers)
    numbers[1, 0] = bad
    with pytest.raises(InputError, match=rf"^{name}: 1 of \d numbers are not finite \(must all be\)$"):
        metric(numbers)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("accuracy", [0.7, 0.93])
def test_95_percent_intervals_cover_the_accuracy_on_93_to_97_percent_of_boards(runs, accuracy):
    """Objects differ in how hard they are, as real ones do; each board draws 899 of them."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(2000):
        chance = rng.beta(2 * accuracy, 2 * (1 - accuracy), 899)  # of mean `accuracy`, most objects easy or hard
        low, high = accuracy_interval(rng.random((runs, 899)) < chance)
        covered.append(low <= accuracy <= high)
    assert 0.93 <= np.mean(covered) <= 0.97
