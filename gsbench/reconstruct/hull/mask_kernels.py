"""Silhouettes of large pixels, each widened by one: so much of an object as voxels of some size can tell.

Masks are uint8, 0 or 1.
"""

import numpy as np
from numba import njit

from gsbench.reconstruct.target_kernels import merge_rows


@njit(cache=True, error_model="numpy")
def fill_silhouettes(words, order, block, masks):
    """Sets `masks` `[v h/block w/block]`, rounded up, where alpha passes one half in a block or one of its neighbours.

    `words` are the views' pixels, alpha in the highest byte; `order` says which view's mask comes first, and so on.
    """
    views, rows, columns = masks.shape
    _, height, width = words.shape
    merged, found = np.zeros(columns * block, np.int32), np.empty((rows, columns), np.uint8)
    signs = np.empty(len(merged), np.uint8)
    for view in range(views):
        image = words[order[view]]
        for row in range(rows):
            merge_rows(image, row * block, min((row + 1) * block, height), merged[:width])
            for j in range(len(merged)):
                # Alpha's highest bit is the sign.
                signs[j] = merged[j] < 0
            _merge_blocks(signs, block, found[row])
        _spread(found, masks[view])


@njit(cache=True, error_model="numpy")
def fill_wide(masks, block, wide):
    """Sets `wide` `[v h/block w/block]`, rounded up, where a block of `masks` or one of its neighbours has some."""
    views, rows, columns = wide.shape
    _, height, width = masks.shape
    merged, found = np.zeros(columns * block, np.uint8), np.empty((rows, columns), np.uint8)
    for view in range(views):
        for row in range(rows):
            merge_rows(masks[view], row * block, min((row + 1) * block, height), merged[:width])
            _merge_blocks(merged, block, found[row])
        _spread(found, wide[view])


@njit(forceinline=True)
def _merge_blocks(row, block, found):
    """Fills `found` with the union of each `block` of a row."""
    for column in range(len(found)):
        found[column] = row[column * block]
    for offset in range(1, block):
        for column in range(len(found)):
            found[column] |= row[column * block + offset]


@njit(forceinline=True)
def _spread(found, mask):
    """Sets `mask` where a pixel or one of its 8 neighbours is set in `found`."""
    rows, columns = found.shape
    tall = np.zeros(columns + 2, np.uint8)
    for row in range(rows):
        inner = tall[1:-1]
        merge_rows(found, max(row - 1, 0), min(row + 2, rows), inner)
        left, right, target = tall[:-2], tall[2:], mask[row]
        for j in range(columns):
            target[j] = left[j] | inner[j] | right[j]
