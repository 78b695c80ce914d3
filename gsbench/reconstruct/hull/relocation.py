"""Gaussians that hardly show move to where the most light comes from, while the fit runs.

A visual hull has a surface where cavities are, and discs end up behind others: no view tells such a Gaussian where to
go. Each takes half the place of one that shows much. Both keep that one's opacity, colour and momentum, and stand apart
along its longest axis, which becomes shorter for both.
"""

import math

import numpy as np
from jaxtyping import Float32, Int64

from gsbench.core.geometry import quats_to_matrices
from gsbench.core.types import Array
from gsbench.reconstruct import adam_kernels
from gsbench.render.splats import layout
from gsbench.render.splats.cpu import Workspace

APART = 0.6
"""How far each of two that share a place stands from it, in standard deviations along the longest axis."""

SHRINK = math.log(0.6)
"""What is added to the logarithm of both ones' longest standard deviation."""

_VIEWS = 16


def contribution_views(views: int) -> Int64[Array, " m"]:
    """The views by which Gaussians are compared: 16 evenly spread ones, or all if there are fewer."""
    number = min(views, _VIEWS)
    return np.arange(number) * views // number


def relocate(
    raw: Float32[Array, "p n"],
    params: Float32[Array, "p n"],
    moments: list[Float32[Array, "p n"]],
    contributions: Float32[Array, " m"],
    below: float,
) -> None:
    """Moves those of the first m Gaussians that contribute less than `below` times the mean.

    The weakest goes to the strongest, the next to the next, and at most half of them go. Arrays are changed in place.

    Args:
        raw: parameters as in `gsbench.render.splats.layout`, scales in log, opacities in logit.
        params: the same activated.
        moments: Adam's averages.
        contributions: of each Gaussian, in any unit.
        below: the share of the mean.
    """
    count = len(contributions)
    order = np.argsort(-contributions, kind="stable")
    weak = int(np.sum(contributions < below * contributions.mean(dtype=np.float64)))
    pairs = min(weak, count - weak)
    moved, kept = order[::-1][:pairs], order[:pairs]
    longest = raw[layout.SCALE : layout.OPACITY, kept].argmax(0)
    rotations = quats_to_matrices(params[layout.QUAT : layout.SCALE, kept].T)
    lengths = params[layout.SCALE + longest, kept]
    offsets = np.float32(APART) * lengths * rotations[np.arange(pairs), :, longest].T
    raw[layout.SCALE + longest, kept] += np.float32(SHRINK)
    for array in (raw, *moments):
        array[:, moved] = array[:, kept]
    raw[layout.MEAN : layout.QUAT, moved] += offsets
    raw[layout.MEAN : layout.QUAT, kept] -= offsets
    adam_kernels.activate(raw, params)


def contributions(
    params: Float32[Array, "p n"], count: int, cameras: Float32[Array, "v 25"], size: tuple[int, int], antialiased: bool
) -> Float32[Array, " count"]:
    """What the first `count` Gaussians give to the images: the sums of their weights in all pixels, in some unit.

    Args:
        params: activated.
        count: those after them are padding.
        cameras: as the kernels take them.
        size: width and height of the images.
        antialiased: of the rasteriser.
    """
    width, height = size
    # All of one colour, away from black, where a colour has no derivative; that by the colour is what is looked for.
    plain = np.concatenate([params[: layout.SH], np.zeros((3, params.shape[1]), np.float32)])
    workspace = Workspace(plain.shape, width, height)
    slopes = np.zeros((layout.PLANES, layout.TILE * workspace.tiles_y, layout.TILE * workspace.tiles_x), np.float32)
    slopes[0, :height, :width] = 1
    sums = np.zeros_like(plain)
    for camera in cameras:
        workspace.project(plain, camera, 0, antialiased)
        workspace.backward(plain, np.ones(3, np.float32), slopes, False, sums)
    return sums[layout.SH, :count]
