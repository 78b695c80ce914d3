"""Between what files store and what `Gaussians` hold: logs and logits, unit quaternions, and the range of every value.

Logs and logits are taken in float64 and rounded once, so that one trip is a fixed point: a stored value that was
activated and stored again is the same float32 (measured: scales everywhere but where |log| < 1, opacities below .1; and
everywhere for values that have been on the trip before).
"""

import numpy as np
from jaxtyping import Float32

from gsbench.geometry import normalize_quats
from gsbench.parsing import InputError
from gsbench.types import Array, Gaussians

UNIT_TOLERANCE = 2e-3
"""Quaternions whose length is 1 to this are unit: the data sets round their components to a few bits."""

# The logits that float32 opacities of exactly 0 and 1 are stored as: finite, and activated to the same 0 and 1.
_MIN_LOGIT, _MAX_LOGIT = -104.0, 18.0


def to_log(scales: Float32[Array, "n 3"]) -> Float32[Array, "n 3"]:
    """Logarithms of scales > 0."""
    return np.log(scales, dtype=np.float64).astype(np.float32)


def from_log(logs: Float32[Array, "n 3"]) -> Float32[Array, "n 3"]:
    """Scales of logarithms; infinite where float32 ends."""
    with np.errstate(over="ignore"):
        return np.exp(logs, dtype=np.float64).astype(np.float32)


def to_logit(opacities: Float32[Array, " n"]) -> Float32[Array, " n"]:
    """Logits of opacities in 0..1; finite at 0 and 1 too."""
    wide = opacities.astype(np.float64)
    with np.errstate(divide="ignore"):
        return np.clip(np.log(wide) - np.log1p(-wide), _MIN_LOGIT, _MAX_LOGIT).astype(np.float32)


def from_logit(logits: Float32[Array, " n"]) -> Float32[Array, " n"]:
    """Opacities of logits, which may be infinite."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def unit(quats: Float32[Array, "n 4"], tolerance: float = UNIT_TOLERANCE) -> Float32[Array, "n 4"]:
    """The quaternions, of length 1: those that are so to `tolerance` unchanged, the others normalised in float64."""
    off = np.abs(np.sqrt(np.square(quats, dtype=np.float64).sum(axis=1)) - 1) > tolerance
    if not off.any():
        return quats
    repaired = quats.copy()
    repaired[off] = normalize_quats(quats[off].astype(np.float64))
    return repaired


def check_gaussians(gaussians: Gaussians) -> None:
    """Raises an InputError that names the first value which no Gaussian has, or says that there are no Gaussians."""
    if not len(gaussians):
        raise InputError("no Gaussians (at least one is needed)")
    for name in ("means", "quats", "scales", "opacities", "sh"):
        _refuse(name, getattr(gaussians, name), ~np.isfinite(getattr(gaussians, name)), "finite")
    _refuse("scales", gaussians.scales, gaussians.scales <= 0, "above 0")
    _refuse("opacities", gaussians.opacities, np.abs(gaussians.opacities - 0.5) > 0.5, "in 0..1")


def _refuse(name: str, values: Array, wrong: Array, allowed: str) -> None:
    if wrong.any():
        rows = wrong.reshape(len(wrong), -1).any(axis=1)
        value = values[wrong][0]
        raise InputError(f"{name} of Gaussian {rows.argmax()}: {value:g} ({rows.sum()} like it; must be {allowed})")
