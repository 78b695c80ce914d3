"""What both fits share: views as they compare with them, over white, box-averaged, plane by plane; and steps of Adam.

Images come as words, `[v h w]` int32: a pixel's red, green, blue and alpha from the lowest byte to the highest.
"""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import numpy as np
from numba import njit

from gsbench.render.simd16_kernels import WIDTH, exp2, fma, load, maximum, minimum, splat, sqrt, store
from gsbench.render.splats import layout as at


@njit(forceinline=True)
def merge_rows(words, first, last, merged):
    """Fills `merged` with the union of the bits of rows `first` to `last`: at the speed of memory."""
    start = words[first]
    for j in range(len(merged)):  # as a loop: numba compiles a slice's assignment for seconds
        merged[j] = start[j]
    for i in range(first + 1, last):
        row = words[i]
        for j in range(len(merged)):
            merged[j] |= row[j]


@njit(forceinline=True)
def _channel(word, channel):
    return np.int32((word >> np.int32(8 * channel)) & np.int32(255))


@njit(forceinline=True)
def _store_edge(words, row, column, factor, planes, to_row, to_column):
    """Of factor x factor pixels of which some are clear: colors enter by their alpha, white by the rest."""
    area = factor * factor
    scale = 1 / (255 * area)
    red, green, blue, alpha = 0, 0, 0, 0
    for i in range(row, row + factor):
        for j in range(column, column + factor):
            word = words[i, j]
            a = _channel(word, 3)
            red += _channel(word, 0) * a
            green += _channel(word, 1) * a
            blue += _channel(word, 2) * a
            alpha += a
    clear = 255 * (255 * area - alpha)
    planes[0, to_row, to_column] = np.uint8((red + clear) * scale + 0.5)
    planes[1, to_row, to_column] = np.uint8((green + clear) * scale + 0.5)
    planes[2, to_row, to_column] = np.uint8((blue + clear) * scale + 0.5)
    planes[3, to_row, to_column] = np.uint8(alpha * (255 * scale) + 0.5)


@njit(forceinline=True)
def _store_means(words, row, first, last, factor, planes, to_row):
    """The means of the blocks from `first` to `last` of a row; at once where all pixels are opaque, as most are."""
    scale = np.float32(1 / (factor * factor))
    for column in range(first, last):
        common, even, odd = np.int32(-1), np.int64(0), np.int64(0)
        for i in range(row, row + factor):
            for j in range(column * factor, (column + 1) * factor):
                word = words[i, j]
                common &= word
                # Three sums in two words: red and blue, green.
                even += (np.int64(word) & 0xFF) | ((np.int64(word) & 0xFF0000) << 16)
                odd += np.int64(word) & 0xFF00
        if _channel(common, 3) < 255:
            _store_edge(words, row, column * factor, factor, planes, to_row, column)
            continue
        planes[0, to_row, column] = np.int32((even & 0xFFFFFFFF) * scale + np.float32(0.5))
        planes[1, to_row, column] = np.int32((odd >> 8) * scale + np.float32(0.5))
        planes[2, to_row, column] = np.int32((even >> 32) * scale + np.float32(0.5))
        planes[3, to_row, column] = 255


@njit(cache=True, error_model="numpy")
def fill_targets(words, factor, planes):
    """Fills `planes` `[v 4 h w]` uint8: red, green, blue over white, and alpha, each the mean of `factor`^2 pixels.

    `words` is `[v factor*h factor*w]` at most; what `planes` has beyond that stays as it is.
    """
    views, height, width = words.shape
    columns = width // factor
    merged = np.empty(width, np.int32)
    for view in range(views):
        image, target = words[view], planes[view]
        for row in range(height // factor):
            merge_rows(image, row * factor, (row + 1) * factor, merged)
            first, last = 0, columns * factor
            while first < last and merged[first] == 0:
                first += 1
            while last > first and merged[last - 1] == 0:
                last -= 1
            target[:3, row, :columns] = 255
            target[3, row, :columns] = 0
            _store_means(image, row * factor, first // factor, -(-last // factor), factor, target, row)


_LOG2_E = 1.4426950408889634


@njit(forceinline=True)
def _exp(x):
    return exp2(minimum(maximum(x * _LOG2_E, splat(-80.0)), splat(80.0)))


@njit(cache=True, error_model="numpy")
def activate(raw, params):
    """Fills `params` `[11 + 3 k, n]` with the activated `raw`."""
    n = raw.shape[1]
    flat_raw, flat = raw.ravel(), params.ravel()
    for row in range(raw.shape[0]):
        for i in range(row * n, (row + 1) * n, WIDTH):
            store(flat, i, _activated(load(flat_raw, i), row))


@njit(forceinline=True)
def _activated(value, row):
    if at.SCALE <= row < at.OPACITY:
        value = _exp(value)
    elif row == at.OPACITY:
        value = 1.0 / (1.0 + _exp(-value))
    return value


@njit(cache=True, error_model="numpy")
def adam(raw, params, d_params, first, second, rates, beta_2, step):
    """One step (counted from 1) of Adam with betas .9 and `beta_2` on `raw`, and on `params`, the same activated.

    `rates` is one a row; rows of rate 0 stay as they are. Zeroes `d_params`.
    """
    n = raw.shape[1]
    correction_1, correction_2 = 1 / (1 - 0.9**step), 1 / (1 - beta_2**step)
    flat_raw, flat, flat_d = raw.ravel(), params.ravel(), d_params.ravel()
    flat_first, flat_second = first.ravel(), second.ravel()
    for row in range(raw.shape[0]):
        rate = rates[row] * correction_1
        if rate == 0:
            continue
        for i in range(row * n, (row + 1) * n, WIDTH):
            gradient = load(flat_d, i)
            if at.SCALE <= row < at.OPACITY:
                gradient = gradient * load(flat, i)
            elif row == at.OPACITY:
                opacity = load(flat, i)
                gradient = gradient * (opacity * (1.0 - opacity))
            mean = fma(0.9, load(flat_first, i), 0.1 * gradient)
            square = fma(beta_2, load(flat_second, i), (1 - beta_2) * (gradient * gradient))
            store(flat_first, i, mean)
            store(flat_second, i, square)
            store(flat_d, i, splat(0.0))
            value = load(flat_raw, i) - rate * mean / (sqrt(correction_2 * square) + 1e-15)
            store(flat_raw, i, value)
            store(flat, i, _activated(value, row))
