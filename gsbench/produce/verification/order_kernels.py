"""Whether an order of points is a furthest-point order: of 2,048 points in half a millisecond."""

import numpy as np
from numba import njit

_TOLERANCE = np.float32(1 - 1e-5)
_FAR = np.float32(1e30)


@njit(fastmath={"nnan", "nsz", "contract"}, error_model="numpy", forceinline=True)
def _move_nearer(x, y, z, px, py, pz, nearest):
    for j in range(len(x)):
        dx, dy, dz = x[j] - px, y[j] - py, z[j] - pz
        distance = dx * dx + dy * dy + dz * dz
        before = nearest[j]
        nearest[j] = distance if distance < before else before


@njit(error_model="numpy", forceinline=True)
def _largest(bits):
    """Of integers, since LLVM makes vectors of no maximum of floats; the bits of positive floats sort as they do."""
    largest = np.int32(0)
    for j in range(len(bits)):
        value = bits[j]
        largest = value if value > largest else largest
    return largest


@njit(cache=True, nogil=True, error_model="numpy")
def first_breach(x, y, z, order):
    """The first place in `order` whose point is nearer to those before it than another point is; -1 if there is none.

    `x`, `y`, `z` `[n]` float32 are the points; distances may err by rounding.
    """
    nearest = np.full(len(x), _FAR, np.float32)
    bits = nearest.view(np.int32)
    furthest = np.zeros(1, np.float32)
    for place in range(len(order) - 1):
        at = order[place]
        _move_nearer(x, y, z, x[at], y[at], z[at], nearest)
        furthest.view(np.int32)[0] = _largest(bits)
        if nearest[order[place + 1]] < furthest[0] * _TOLERANCE:
            return place + 1
    return -1
