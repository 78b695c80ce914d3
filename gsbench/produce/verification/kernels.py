"""Distances from points to a surface that is known by samples alone: each stands for a disc in its tangent plane."""

import numpy as np
from numba import njit

_FAR = np.float32(1e30)


@njit(fastmath={"nnan", "nsz", "contract", "reassoc"}, error_model="numpy", forceinline=True)
def _to_discs(x, y, z, samples, radius, squares):
    """The squared distance from a point to every disc; `samples` `[6 m]` are positions and unit normals."""
    for j in range(len(squares)):
        dx, dy, dz = x - samples[0, j], y - samples[1, j], z - samples[2, j]
        across = dx * samples[3, j] + dy * samples[4, j] + dz * samples[5, j]
        along = np.sqrt(max(dx * dx + dy * dy + dz * dz - across * across, np.float32(0)))
        beyond = max(along - radius, np.float32(0))
        squares[j] = across * across + beyond * beyond


@njit(error_model="numpy", forceinline=True)
def _smallest(bits):
    """The bits of positive floats sort as they do; of integers LLVM makes vectors."""
    smallest = np.int32(0x7F7FFFFF)
    for j in range(len(bits)):
        value = bits[j]
        smallest = value if value < smallest else smallest
    return smallest


@njit(cache=True, nogil=True, error_model="numpy")
def mean_gap(samples, count):
    """The mean distance of the first `count` samples to their nearest other."""
    squares = np.empty(samples.shape[1], np.float32)
    squared = np.empty(1, np.float32)
    total = 0.0
    for i in range(count):
        _to_discs(samples[0, i], samples[1, i], samples[2, i], samples, np.float32(0), squares)
        squares[i] = _FAR
        squared.view(np.int32)[0] = _smallest(squares.view(np.int32))
        total += np.sqrt(squared[0])
    return total / count


@njit(cache=True, nogil=True, error_model="numpy")
def nearest_discs(points, samples, radius, distances, nearest):
    """Fills the distance of every one of `points` `[n 3]` to its nearest disc, and the index of that disc."""
    squares = np.empty(samples.shape[1], np.float32)
    bits = squares.view(np.int32)
    for i in range(len(points)):
        _to_discs(points[i, 0], points[i, 1], points[i, 2], samples, radius, squares)
        smallest = _smallest(bits)
        place = 0
        while bits[place] != smallest:
            place += 1
        distances[i], nearest[i] = np.sqrt(squares[place]), place


_TOLERANCE = np.float32(1 - 1e-5)
_OUTSIDE = np.float32(1e30)


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
    nearest = np.full(len(x), _OUTSIDE, np.float32)
    bits = nearest.view(np.int32)
    furthest = np.zeros(1, np.float32)
    for place in range(len(order) - 1):
        at = order[place]
        _move_nearer(x, y, z, x[at], y[at], z[at], nearest)
        furthest.view(np.int32)[0] = _largest(bits)
        if nearest[order[place + 1]] < furthest[0] * _TOLERANCE:
            return place + 1
    return -1
