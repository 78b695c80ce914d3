"""The linear probe against scikit-learn's own, and what it refuses."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from gsbench.core.results import as_predictions
from gsbench.learn.probe import check_classes, fit_probe


def blobs(classes: int, per_class: int = 15, width: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds, far from mean 0 and deviation 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(classes * per_class) % classes
    centers = rng.normal(size=(classes, width))
    features = 100 + 10.0 ** np.arange(width) * (centers[labels] + rng.normal(size=(len(labels), width)))
    return features.astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 4])
def test_it_predicts_what_scikit_learn_does(classes):
    features, labels = blobs(classes)
    unseen, _ = blobs(classes, seed=1)
    reference = make_pipeline(StandardScaler(), LinearSVC(C=1.0, dual=False, tol=1e-10))
    reference.fit(features.astype(float), labels)
    probabilities = fit_probe(features, labels, classes).probabilities(unseen)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    for rows in (probabilities, as_predictions(probabilities)):
        assert (rows.argmax(1) == reference.predict(unseen)).all()
    values = reference.decision_function(unseen)
    values = np.stack([-values, values], 1) if classes == 2 else values
    expected = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-3, atol=1e-5)
    assert len(set(probabilities.argmax(1))) == classes


def test_scale_and_shift_of_features_do_not_matter():
    features, labels = blobs(3)
    one, other = (fit_probe(seen, labels, 3).probabilities(seen) for seen in (features, features * 8 - 5))
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_feature_that_is_always_the_same_changes_nothing():
    features, labels = blobs(3)
    more = np.concatenate([features, np.full((len(features), 1), 7, np.float32)], 1)
    one, other = (fit_probe(seen, labels, 3).probabilities(seen) for seen in (features, more))
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_more_features_than_objects():
    features, labels = blobs(3, per_class=2, width=5)
    wide = np.tile(features, (1, 40)) + np.random.default_rng(0).normal(size=(6, 200)).astype(np.float32)
    assert (fit_probe(wide, labels, 3).probabilities(wide).argmax(1) == labels).all()


def test_a_class_without_labels_has_probability_0():
    features, labels = blobs(2)
    probabilities = fit_probe(features, labels * 2 + 1, 5).probabilities(features)
    assert not probabilities[:, [0, 2, 4]].any()
    np.testing.assert_allclose(probabilities[:, [1, 3]], fit_probe(features, labels, 2).probabilities(features))


@pytest.mark.parametrize("twins", [0.0, 1e-3])
@pytest.mark.parametrize("width", [40, 400])
def test_it_is_the_optimum(width, twins):
    """Where features hang together, as encoders' do, scikit-learn's solver ends before it."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, width)) + rng.normal(size=(200, 1))
    if twins:
        features[:, width // 2 :] = features[:, : width // 2] + twins * features[:, width // 2 :]
    labels = (features[:, :4].sum(1) + rng.normal(size=200) > 0).astype(int)
    probe = fit_probe(features, labels, 2)
    scaled = StandardScaler().fit_transform(features)
    signs = np.where(labels == 1, 1.0, -1.0)

    def loss_and_gradient(weights, bias):
        short = np.maximum(1 - signs * (scaled @ weights + bias), 0)
        gradient = np.append(weights - 2 * scaled.T @ (signs * short), bias - 2 * signs @ short)
        return (weights @ weights + bias**2) / 2 + np.square(short).sum(), gradient

    loss, gradient = loss_and_gradient(probe.weights[1], probe.bias[1])
    assert np.abs(gradient).max() < 1e-9
    reference = LinearSVC(C=1.0, dual=False, tol=1e-8, max_iter=100_000).fit(scaled, labels)
    theirs, _ = loss_and_gradient(reference.coef_[0], reference.intercept_[0])
    assert loss <= theirs * (1 + 1e-12)
    assert loss == pytest.approx(theirs, rel=1e-4)


def test_what_is_no_probe():
    features, labels = blobs(2)
    with pytest.raises(ValueError, match=r"a probe of 15 labeled objects of one class \(must be of two classes"):
        fit_probe(features[labels == 1], labels[labels == 1], 2)
    with pytest.raises(ValueError, match="a probe of 0 labeled objects of one class"):
        check_classes(labels[:0])
    message = r"features that are not finite, in 1 of \d+ rows, first in row 3 \(the encoder has diverged\)"
    for bad in (np.inf, np.nan):
        spoilt = features.copy()
        spoilt[3, 0] = bad
        with pytest.raises(ValueError, match=message):
            fit_probe(spoilt, labels, 2)
        with pytest.raises(ValueError, match=message):
            fit_probe(features, labels, 2).probabilities(spoilt)
    with pytest.raises(ValueError, match=r"features of width 1 for a probe of \d+ \(must be equal\)"):
        fit_probe(features, labels, 2).probabilities(features[:, :1])


def test_rounding_keeps_the_prediction_where_two_classes_are_all_but_equal():
    third = 1 / 3
    rows = np.array([
        [0.4999997, 0.5000003, 0.0],
        [third - 2e-7, third - 1e-7, third + 3e-7],
        [0.2, 0.4, 0.4],
        [1.0, 0.0, 0.0],
    ])  # fmt: skip
    rounded = as_predictions(rows)
    assert rounded.argmax(1).tolist() == rows.argmax(1).tolist() == [1, 2, 1, 0]
    assert np.abs(rounded.sum(1) - 1).max() < 1e-12
    assert (rounded >= 0).all()
    assert (rounded.round(6) == rounded).all()
    assert np.abs(rounded - rows).max() < 3e-6
