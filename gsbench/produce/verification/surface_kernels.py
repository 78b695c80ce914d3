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
