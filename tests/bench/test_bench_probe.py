"""The linear probe of 1,000 objects with 256 features, a few of which hold most of what varies, as encoders' do;
beside scikit-learn's solver of the same machine.
"""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from gsbench.learn.probe import fit_probe

pytestmark = pytest.mark.slow

OBJECTS, WIDTH, CLASSES = 1000, 256, 10


@pytest.fixture(scope="module")
def objects() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(OBJECTS) % CLASSES
    traits = rng.normal(size=(CLASSES, WIDTH))[labels] + 2 * rng.normal(size=(OBJECTS, WIDTH))
    features = traits / np.arange(1, WIDTH + 1) ** 1.5 @ rng.normal(size=(WIDTH, WIDTH))
    return features.astype(np.float32), labels


def of_gsbench(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return fit_probe(features, labels, CLASSES).probabilities(features).argmax(1)


def of_scikit_learn(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    return LinearSVC(C=1.0, dual=False).fit(scaled, labels).predict(scaled)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("fit", [of_gsbench, of_scikit_learn])
def test_fit(benchmark, objects, fit):
    predicted = benchmark.pedantic(fit, objects, rounds=3)
    assert (predicted == objects[1]).mean() > 0.8
