"""Between what files store and what `Gaussians` hold: logs and logits, unit quaternions, and the range of every value.

Logs and logits are taken in float64 and rounded once, so that one trip is a fixed point: a stored value that was
activated and stored again is the same float32 (measured: scales everywhere but where |log| < 1, opacities below .1; and
everywhere for values that have been on the trip before).
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from gsbench.core.geometry import normalize_quats
from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Gaussians

UNIT_TOLERANCE = 2e-3
"""Quaternions whose length is 1 to this are unit: the data sets round their components to a few bits."""

MAX_VALUE = 1e18
"""Largest position, scale or SH coefficient: float32 still holds the squares that rendering takes."""

_THIN = 1e-7  # what a scale of 0 is taken as, unless the file has thinner ones
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
    """The quaternions, of length 1: those that are so to `tolerance` unchanged, the others normalised in float64.

    A quaternion of zeros stays one, for `mend` to tell of.
    """
    lengths = np.sqrt(np.square(quats, dtype=np.float64).sum(axis=1))
    off = (np.abs(lengths - 1) > tolerance) & (lengths > 0)
    if not off.any():
        return quats
    repaired = quats.copy()
    repaired[off] = normalize_quats(quats[off].astype(np.float64))
    return repaired


def without_zeros(rows: Shaped[Array, "n ..."], notify: Callable[[str], None]) -> Shaped[Array, "m ..."]:
    """The rows of a file without those that are zero throughout, as trainers leave them that make room ahead."""
    empty = rows == np.zeros((), rows.dtype) if rows.dtype.names else ~rows.any(axis=1)
    if not empty.any():
        return rows
    notify(f"left out rows of zeros, which are no Gaussians: {_count(empty)}")
    return rows[~empty]


def mend(gaussians: Gaussians, notify: Callable[[str], None]) -> Gaussians:
    """The Gaussians with rotations of zeros taken as none, and flat ones of a scale of 0 as very thin; it says so."""
    unturned = ~gaussians.quats.any(axis=1)
    if unturned.any():
        notify(f"rotations 0 0 0 0 taken as none: {_count(unturned)}")
        quats = np.where(unturned[:, None], np.array([1, 0, 0, 0], np.float32), gaussians.quats)
        gaussians = dataclasses.replace(gaussians, quats=quats)
    flat = gaussians.scales == 0
    if flat.any():
        above = gaussians.scales[gaussians.scales > 0]
        thin = np.float32(min(_THIN, above.min(initial=_THIN)))
        notify(f"scales of 0 taken as {thin:g}: {_count(flat.any(axis=1))}")
        gaussians = dataclasses.replace(gaussians, scales=np.where(flat, thin, gaussians.scales))
    return gaussians


def _count(which: Bool[Array, " n"]) -> str:
    return f"{which.sum()} of {len(which)} (the first: {which.argmax()})"


def check_gaussians(gaussians: Gaussians) -> None:
    """Raises an InputError that names the first value which no Gaussian has, or says that there are no Gaussians."""
    if not len(gaussians):
        raise InputError("no Gaussians (at least one is needed)")
    for name in ("means", "quats", "scales", "opacities", "sh"):
        _refuse(name, getattr(gaussians, name), ~np.isfinite(getattr(gaussians, name)), "finite")
    for name in ("means", "scales", "sh"):
        values = getattr(gaussians, name)
        _refuse(name, values, np.abs(values) > MAX_VALUE, f"at most {MAX_VALUE:g}, of which squares are finite")
    _refuse("scales", gaussians.scales, gaussians.scales <= 0, "above 0")
    _refuse("opacities", gaussians.opacities, np.abs(gaussians.opacities - 0.5) > 0.5, "in 0..1")


def _refuse(name: str, values: Array, wrong: Array, allowed: str) -> None:
    if wrong.any():
        rows = wrong.reshape(len(wrong), -1).any(axis=1)
        value = values[wrong][0]
        raise InputError(f"{name} of Gaussian {rows.argmax()}: {value:g} ({rows.sum()} like it; must be {allowed})")
