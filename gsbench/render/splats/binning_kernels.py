"""From Gaussians in view to lists of them, near to far, for every 16x16 tile."""

import numpy as np
from numba import njit

from gsbench.render.splats import layout as at

_RADIX_BITS = 8
_RADIX = 1 << _RADIX_BITS


@njit(cache=True, error_model="numpy")
def sort_by_depth(projected, order, spare, count):
    """Sorts the first `count` of `order` near to far, stably."""
    # Positive floats' bits sort as the floats do; only the digits that differ are looked at.
    keys = projected[at.DEPTH].view(np.uint32)
    lowest, highest = np.uint32(0xFFFFFFFF), np.uint32(0)
    for i in range(count):
        lowest, highest = min(lowest, keys[order[i]]), max(highest, keys[order[i]])
    span = np.int64(highest) - np.int64(lowest) if count else 0
    starts = np.empty(_RADIX, np.int64)
    source, target = order, spare
    shift = 0
    while span >> shift > 0:
        starts[:] = 0
        for i in range(count):
            starts[((keys[source[i]] - lowest) >> shift) & (_RADIX - 1)] += 1
        position = 0
        for digit in range(_RADIX):
            position, starts[digit] = position + starts[digit], position
        for i in range(count):
            digit = ((keys[source[i]] - lowest) >> shift) & (_RADIX - 1)
            target[starts[digit]] = source[i]
            starts[digit] += 1
        source, target = target, source
        shift += _RADIX_BITS
    if shift // _RADIX_BITS % 2:
        for i in range(count):  # as a loop: numba compiles a slice's assignment for seconds
            order[i] = spare[i]


@njit(forceinline=True)
def _span(records, i):
    """The tiles that a Gaussian's box lies in: left, right, top, bottom."""
    left, right = int(records[i, at.R_LEFT]), int(records[i, at.R_RIGHT])
    return left, right, int(records[i, at.R_TOP]), int(records[i, at.R_BOTTOM])


@njit(cache=True, error_model="numpy")
def count_tiles(records, order, count, tiles_x, tiles_y, starts):
    """Fills `starts` `[tiles + 1]` with where each tile's list begins; returns the longest list's length."""
    # A box adds one where it begins and takes it away where it ends; sums of sums then count the boxes over a tile.
    corners = np.zeros((tiles_y + 1, tiles_x + 1), np.int32)
    for position in range(count):
        left, right, top, bottom = _span(records, order[position])
        corners[top, left] += 1
        corners[top, right] -= 1
        corners[bottom, left] -= 1
        corners[bottom, right] += 1
    starts[0] = 0
    longest = 0
    for tile_y in range(tiles_y):
        along = 0
        for tile_x in range(tiles_x):
            along += corners[tile_y, tile_x]
            over = along + (corners[tile_y - 1, tile_x] if tile_y else 0)
            corners[tile_y, tile_x] = over
            tile = tile_y * tiles_x + tile_x
            starts[tile + 1] = starts[tile] + over
            longest = max(longest, over)
    return longest


@njit(cache=True, error_model="numpy")
def list_tiles(records, order, count, tiles_x, starts, ends, members):
    """Fills `members` with every tile's Gaussians, near to far, from `starts` on; `ends` is overwritten."""
    for tile in range(len(starts)):
        ends[tile] = starts[tile]
    for position in range(count):
        i = order[position]
        left, right, top, bottom = _span(records, i)
        for row in range(top * tiles_x, bottom * tiles_x, tiles_x):
            for tile in range(row + left, row + right):
                members[ends[tile]] = i
                ends[tile] += 1
