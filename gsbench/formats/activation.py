"""Between what files store and what `Gaussians` hold: logs and logits, unit quaternions, and the range of every value.

Logs and logits are taken in float64 and rounded once, so that one trip is a fixed point: a stored value that was
activated and stored again is the same float32 (measured: scales everywhere but where |log| < 1, opacities below .1; and
everywhere for values that have been on the trip before).
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Shaped

from gsbench.core.geometry import matrices_to_quats, normalize_quats, sh_basis, sh_degree_of
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
    """The quaternions, of length 1: those that are so to `tolerance` unchanged, the others normalized in float64.

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


# Rows: where x, y and z of the y-up frame come from.
_TO_Y_UP = {
    "z-up": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "y-down": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
}
AXES = tuple(_TO_Y_UP)


def to_y_up(axes: str) -> Float64[Array, "3 3"]:
    """The rotation from a frame of `AXES` to the y-up one; InputError for another name."""
    if axes not in _TO_Y_UP:
        raise InputError(f"axes: {axes!r} (allowed: {', '.join(AXES)})")
    return np.array(_TO_Y_UP[axes], np.float64)


def rotate(gaussians: Gaussians, rotation: Float64[Array, "3 3"], scale: float = 1.0) -> Gaussians:
    """The Gaussians turned about the origin, then scaled; the very same ones for the identity.

    Signs and orders of axes are exact in means and in SH up to degree 1, and for half turns in all SH.
    """
    if scale == 1 and np.array_equal(rotation, np.eye(3)):
        return gaussians
    w, *v = matrices_to_quats(rotation[None])[0]
    turn = np.array([[w, -v[0], -v[1], -v[2]], [v[0], w, -v[2], v[1]], [v[1], v[2], w, -v[0]], [v[2], -v[1], v[0], w]])
    sh_turn = _sh_rotation(rotation, sh_degree_of(gaussians.sh.shape[1]))
    return Gaussians(
        (gaussians.means @ (scale * rotation).T).astype(np.float32),
        (gaussians.quats @ turn.T).astype(np.float32),
        (gaussians.scales * scale).astype(np.float32),
        gaussians.opacities,
        _turn_sh(gaussians.sh, sh_turn),
    )


def _turn_sh(sh: Float32[Array, "n k 3"], turn: Float64[Array, "k k"]) -> Float32[Array, "n k 3"]:
    """One matrix product over all channels, which takes a tenth of what numpy's `einsum` does."""
    channels = sh.transpose(0, 2, 1).reshape(3 * len(sh), len(turn)) @ turn.T
    return channels.reshape(len(sh), 3, len(turn)).transpose(0, 2, 1).astype(np.float32, order="C")


def _sh_rotation(rotation: Float64[Array, "3 3"], degree: int) -> Float64[Array, "k k"]:
    """The matrix on SH coefficients that turns the function they stand for: f'(d) = f(R^T d)."""
    directions = np.random.default_rng(0).normal(size=(64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    turn = np.linalg.pinv(sh_basis(directions, degree)) @ sh_basis(directions @ rotation, degree)
    # Most entries are 0 or, for turns by right angles, +-1 and halves: without the rounding noise those are exact.
    return np.round(turn, 12)
