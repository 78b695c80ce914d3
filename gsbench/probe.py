"""The shared linear probe: features standardised, then a linear support-vector machine."""

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Shaped

from gsbench.types import Array

COST = 1.0
"""C of the machine."""

_ITERATIONS = 1000  # scikit-learn's own limit


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted probe: one machine a class against all others, on features of mean 0 and deviation 1.

    Attributes:
        mean: `[d]` of the features it was fitted to.
        scale: `[d]` their deviation; 1 where they are all equal.
        weights: `[k d]` of the classes that were there.
        bias: `[k]`.
        classes: `[k]` which classes those are.
        num_classes: classes of the data set.
        converged: whether the machine met scikit-learn's tolerance before its limit of steps.
    """

    mean: Float64[Array, " d"]
    scale: Float64[Array, " d"]
    weights: Float64[Array, "k d"]
    bias: Float64[Array, " k"]
    classes: Int[Array, " k"]
    num_classes: int
    converged: bool

    def probabilities(self, features: Float[Array, "n d"]) -> Float64[Array, "n c"]:
        """The softmax of the decision values: a machine has no probabilities, but the largest is its prediction.

        A class that it was fitted without has probability 0.
        """
        values = (features.astype(np.float64) - self.mean) / self.scale @ self.weights.T + self.bias
        exponentials = np.exp(values - values.max(1, keepdims=True))
        probabilities = np.zeros((len(features), self.num_classes))
        probabilities[:, self.classes] = exponentials / exponentials.sum(1, keepdims=True)
        return probabilities


def check_classes(labels: Shaped[Array, " n"]) -> None:
    """Raises a ValueError where there is nothing to tell apart."""
    if len(np.unique(labels)) < 2:
        raise ValueError(f"a probe of {len(labels)} labelled objects of one class (must be of two classes at least)")


def fit_probe(features: Float[Array, "n d"], labels: Int[Array, " n"], num_classes: int) -> Probe:
    """Fits the probe, as the field does: scikit-learn's StandardScaler, then its LinearSVC with C = 1.

    The machine (squared hinge loss, L2 penalty) is solved in the primal, where its one solution depends on no seed.

    Args:
        features: a row an object.
        labels: class indices.
        num_classes: classes of the data set, whether `labels` holds them or not.

    Raises:
        ValueError: labels of one class, or features that are not finite.
    """
    from sklearn.exceptions import ConvergenceWarning  # takes a second
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    check_classes(labels)
    if not np.isfinite(features).all():
        raise ValueError("a probe of features that are not finite (the encoder has diverged)")
    scaler = StandardScaler()
    scaled = scaler.fit_transform(features.astype(np.float64))
    machine = LinearSVC(C=COST, dual=False, max_iter=_ITERATIONS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        machine.fit(scaled, labels)
    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    weights, bias = machine.coef_, machine.intercept_
    if len(machine.classes_) == 2:  # scikit-learn keeps the one machine that two classes need
        weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
    return Probe(scaler.mean_, scaler.scale_, weights, bias, machine.classes_, num_classes, converged)
