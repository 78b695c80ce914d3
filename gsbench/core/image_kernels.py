"""Structural similarity and squared errors of images whose channels stand side by side, without large temporaries."""

import numpy as np
from numba import njit

REACH, SIGMA = 5, 1.5
# Half of the window: the middle tap, then those at distance 1 to REACH.
_TAPS = np.exp(-np.square(np.arange(REACH + 1)) / (2 * SIGMA**2))
_TAPS = (_TAPS / (2 * _TAPS.sum() - _TAPS[0])).astype(np.float32)
_C1, _C2 = np.float32(0.01**2), np.float32(0.03**2)
_ROWS = 2 * REACH + 1


@njit(cache=True, error_model="numpy")
def squared_error(x, y):
    """The sum of (x - y)^2 over `[h n]` arrays."""
    total = 0.0
    row = np.empty(x.shape[1])
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            difference = np.float64(x[i, j]) - y[i, j]
            row[j] = difference * difference
        total += row.sum()
    return total


@njit(error_model="numpy", forceinline=True)
def _box(x, y):
    """The first row and column where x and y differ, and those behind the last; an empty box where they do not."""
    height, width = x.shape
    top, bottom, left, right = height, 0, width, 0
    for i in range(height):
        first = 0
        while first < width and x[i, first] == y[i, first]:
            first += 1
        if first == width:
            continue
        last = width
        while x[i, last - 1] == y[i, last - 1]:
            last -= 1
        top, bottom = min(top, i), i + 1
        left, right = min(left, first), max(right, last)
    return top, bottom, left, right


@njit(error_model="numpy", forceinline=True)
def _add_pair(target, tap, first, second):
    """`target` += tap (first + second): a loop that LLVM turns into vectors, which one over all taps is not."""
    for j in range(len(target)):
        target[j] += tap * (first[j] + second[j])


@njit(error_model="numpy", forceinline=True)
def _blur_row(x, y, low, step, moments, blurred):
    """Fills `blurred` `[4 n]` with the window along the row from `low` on; taps stand `step` apart."""
    n, margin = blurred.shape[1], REACH * step
    moments[:] = 0
    first = max(low - margin, 0)
    u, v = x[first : low + n + margin], y[first : low + n + margin]
    start = first - low + margin
    inner = moments[:, start : start + len(u)]
    for j in range(len(u)):
        inner[0, j] = u[j]
        inner[1, j] = v[j]
        inner[2, j] = u[j] * u[j] + v[j] * v[j]
        inner[3, j] = u[j] * v[j]
    for moment in range(4):
        source, target = moments[moment], blurred[moment]
        for j in range(n):
            target[j] = _TAPS[0] * source[j + margin]
        for tap in range(1, REACH + 1):
            before, behind = margin - tap * step, margin + tap * step
            _add_pair(target, _TAPS[tap], source[before : before + n], source[behind : behind + n])


@njit(error_model="numpy", forceinline=True)
def _blur_column(ring, center, blurred):
    """Fills `blurred` `[4 n]` with the window down the rows of `ring` `[11 4 n]` about `center`."""
    target = blurred.ravel()
    middle = ring[center % _ROWS].ravel()
    for j in range(len(target)):
        target[j] = _TAPS[0] * middle[j]
    for tap in range(1, REACH + 1):
        _add_pair(target, _TAPS[tap], ring[(center - tap) % _ROWS].ravel(), ring[(center + tap) % _ROWS].ravel())


@njit(error_model="numpy", forceinline=True)
def _add_similarity(blurred, sums):
    """Adds each pixel's similarity, less 1, to `sums`."""
    first, second, squares, products = blurred
    for j in range(len(sums)):
        means, means_squared = first[j] * second[j], first[j] * first[j] + second[j] * second[j]
        above = (2 * means + _C1) * (2 * (products[j] - means) + _C2)
        below = (means_squared + _C1) * (squares[j] - means_squared + _C2)
        sums[j] += above / below - np.float32(1)


@njit(cache=True, error_model="numpy")
def similarity(x, y, step):
    """The mean structural similarity of images `[h w*c]` float32; zeros beyond the border.

    Where all of a pixel's window is equal in both, its similarity is 1: only the box about what differs is evaluated.
    """
    height, width = x.shape
    top, bottom, left, right = _box(x, y)
    if top >= bottom:
        return 1.0
    margin = REACH * step
    top, bottom = max(top - REACH, 0), min(bottom + REACH, height)
    left, right = max(left - margin, 0), min(right + margin, width)
    n = right - left
    ring = np.zeros((_ROWS, 4, n), np.float32)
    moments = np.zeros((4, n + 2 * margin), np.float32)
    down = np.empty((4, n), np.float32)
    sums = np.zeros(n)
    for row in range(top - REACH, bottom + REACH):
        blurred = ring[row % _ROWS]
        if 0 <= row < height:
            _blur_row(x[row], y[row], left, step, moments, blurred)
        else:
            blurred[:] = 0
        if row - REACH >= top:
            _blur_column(ring, row - REACH, down)
            _add_similarity(down, sums)
    return 1 + sums.sum() / (height * width)
