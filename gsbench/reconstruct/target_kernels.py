"""Views as the fit compares with them: over white, box-averaged to the resolution of a stage, plane by plane.

Images come as words, `[v h w]` int32: a pixel's red, green, blue and alpha from the lowest byte to the highest.
"""

import numpy as np
from numba import njit


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
    """Of factor x factor pixels of which some are clear: colours enter by their alpha, white by the rest."""
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
