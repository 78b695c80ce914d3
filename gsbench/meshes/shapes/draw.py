"""Random choices of a shape, by name of what is wanted."""

from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Draw:
    """A stream of random choices; equal seeds and streams give equal choices on every platform."""

    def __init__(self, seed: int, stream: int) -> None:
        self._rng = np.random.default_rng([seed, stream])

    def between(self, low: float, high: float) -> float:
        """A number in `low`..`high`, uniform."""
        return float(self._rng.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return int(self._rng.integers(low, high, endpoint=True))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self._rng.random() < probability)

    def pick(self, options: dict[T, float]) -> T:
        """One of the keys, in proportion to the values."""
        edges = np.cumsum(list(options.values()))
        index = np.searchsorted(edges, self._rng.random() * edges[-1], side="right")
        return list(options)[min(int(index), len(options) - 1)]
