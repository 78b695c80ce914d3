"""Frames: formats that name their axes are y up (x right, y up, z towards the viewer); `Gaussians` need not be."""

import numpy as np
from jaxtyping import Float32, Float64

from gsbench.core.geometry import matrices_to_quats, sh_basis, sh_degree_of
from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Gaussians

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
