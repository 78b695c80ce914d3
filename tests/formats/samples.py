"""Random Gaussians, and what the tests of every format ask of a pair of them."""

import numpy as np

from gsbench.core.geometry import covariances, normalize_quats
from gsbench.core.types import Gaussians

FIELDS = ("means", "quats", "scales", "opacities", "sh")
DEGREES = (0, 1, 2, 3)


def random_gaussians(count: int = 300, degree: int = 3, seed: int = 0) -> Gaussians:
    """Gaussians within the range of every format, with opacities of exactly 0 and 1 among them."""
    rng = np.random.default_rng(seed)
    opacities = rng.uniform(0, 1, count)
    opacities[:2] = 0, 1
    fields = (
        rng.uniform(-0.9, 0.9, (count, 3)),
        normalize_quats(rng.normal(size=(count, 4))),
        np.exp(rng.uniform(-8, -1.2, (count, 3))),
        opacities,
        rng.uniform(-0.9, 0.9, (count, (degree + 1) ** 2, 3)),
    )
    return Gaussians(*(field.astype(np.float32) for field in fields))


def assert_same(a: Gaussians, b: Gaussians, fields: tuple[str, ...] = FIELDS) -> None:
    """Bit for bit."""
    for name in fields:
        left, right = getattr(a, name), getattr(b, name)
        assert left.dtype == right.dtype == np.float32, name
        np.testing.assert_array_equal(left, right, err_msg=name)


def assert_shapes_close(a: Gaussians, b: Gaussians, rtol: float) -> None:
    """Their covariances, to `rtol` of each one's size: whatever signs and orders quaternions and scales have."""
    left, right = (covariances(g.quats.astype(np.float64), g.scales.astype(np.float64)) for g in (a, b))
    size = np.linalg.norm(left, axis=(1, 2), keepdims=True)
    np.testing.assert_array_less(np.abs(left - right) / size, rtol)
