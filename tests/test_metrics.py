"""Metrics against hand-counted and brute-force values."""

import itertools

import numpy as np
import pytest

from gsbench.metrics import accuracy_interval, classification_metrics, mcnemar, mean_and_std, typical_mcnemar


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


def test_mcnemar_counts_only_where_one_is_right():
    a = np.array([1] * 10 + [0] * 2 + [1] * 50, dtype=bool)
    b = np.array([0] * 10 + [1] * 2 + [1] * 50, dtype=bool)
    expected = 2 * sum([1, 12, 66]) / 2**12
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(expected)
    assert mcnemar(a, a) == 1.0
    assert mcnemar(np.array([True, False]), np.array([False, True])) == 1.0


def test_mcnemar_holds_its_level_where_models_are_equal(rng):
    p_values = [mcnemar(*(rng.random((2, 300)) < 0.9)) for _ in range(400)]
    assert np.mean(np.array(p_values) < 0.05) < 0.08


def test_mcnemar_of_many_objects_neither_overflows_nor_rounds_to_a_tie():
    a = np.arange(5000) < 4000
    assert 0 <= mcnemar(a, ~a) < 1e-100


def test_the_typical_pair_of_runs_decides(rng):
    good = np.ones((3, 100), dtype=bool)
    bad_once = np.ones((3, 100), dtype=bool)
    bad_once[0, :50] = False
    assert typical_mcnemar(good, bad_once) == 1.0
    bad_twice = bad_once.copy()
    bad_twice[1, :50] = False
    assert typical_mcnemar(good, bad_twice) == mcnemar(good[0], bad_twice[0]) < 1e-10
