"""From projected Gaussians to depth-sorted records and lists of them for every 16x16 tile, and gradients back again."""

import math

import numpy as np
from numba import njit

from gsbench.render import layout as at

ALPHA_MIN = 1 / 255
_LOG2_E = math.log2(math.e)
# Half extents beyond this many pixels (overflow, as a rule) count as not in view: no integer holds their tiles.
_EXTENT_MAX = 1e9
_RADIX_BITS = 11
_RADIX = 1 << _RADIX_BITS


@njit(cache=True, error_model="numpy")
def visible_by_depth(projected, width, height, order, spare):
    """Fills `order` with the Gaussians that reach the image, near to far (ties by index); returns their number."""
    n = projected.shape[1]
    count = 0
    for i in range(n):
        opacity = projected[at.ALPHA, i]
        if not opacity >= ALPHA_MIN:
            continue
        reach = 2 * math.log(255 * opacity)
        half_x, half_y = math.sqrt(reach * projected[at.VAR_X, i]), math.sqrt(reach * projected[at.VAR_Y, i])
        x, y = projected[at.X, i], projected[at.Y, i]
        bounded = half_x < _EXTENT_MAX and half_y < _EXTENT_MAX
        if bounded and x + half_x > 0 and x - half_x < width and y + half_y > 0 and y - half_y < height:
            order[count] = i
            count += 1
    return _radix_sort(projected[at.DEPTH].view(np.uint32), order, spare, count)


@njit(forceinline=True)
def _radix_sort(keys, order, spare, count):
    """Sorts the first `count` of `order` by `keys` (positive floats' bits sort as the floats do), stably."""
    starts = np.empty(_RADIX, np.int64)
    source, target = order, spare
    for shift in range(0, 32, _RADIX_BITS):
        starts[:] = 0
        for i in range(count):
            starts[(keys[source[i]] >> shift) & (_RADIX - 1)] += 1
        position = 0
        for digit in range(_RADIX):
            position, starts[digit] = position + starts[digit], position
        for i in range(count):
            digit = (keys[source[i]] >> shift) & (_RADIX - 1)
            target[starts[digit]] = source[i]
            starts[digit] += 1
        source, target = target, source
    # Three passes: the result stands in `spare`.
    order[:count] = spare[:count]
    return count


@njit(cache=True, error_model="numpy")
def make_records(projected, order, count, records):
    """Writes one record for each of the first `count` of `order`."""
    for rank in range(count):
        i = order[rank]
        a, b, c = projected[at.CONIC_A, i], projected[at.CONIC_B, i], projected[at.CONIC_C, i]
        opacity = projected[at.ALPHA, i]
        reach = 2 * math.log(255 * opacity)
        record = records[rank]
        record[at.R_X], record[at.R_Y] = projected[at.X, i], projected[at.Y, i]
        record[at.R_A], record[at.R_B], record[at.R_C] = -0.5 * _LOG2_E * a, -_LOG2_E * b, -0.5 * _LOG2_E * c
        record[at.R_LOG] = (0.5 * reach - math.log(255)) * _LOG2_E
        for channel in range(3):
            record[at.R_RED + channel] = projected[at.RED + channel, i]
        record[at.R_DEPTH] = projected[at.DEPTH, i]
        record[at.R_RIDGE_X], record[at.R_RIDGE_Y] = -b / a, -b / c
        record[at.R_HALF_X] = math.sqrt(reach * projected[at.VAR_X, i])
        record[at.R_HALF_Y] = math.sqrt(reach * projected[at.VAR_Y, i])


@njit(forceinline=True)
def _tile_span(center, half, tiles):
    return max(int((center - half) / at.TILE), 0), min(int((center + half) / at.TILE) + 1, tiles)


@njit(cache=True, error_model="numpy")
def count_tiles(records, count, tiles_x, tiles_y, starts):
    """Fills `starts` `[tiles + 1]` with where each tile's list begins; returns the longest list's length."""
    starts[:] = 0
    for rank in range(count):
        left, right = _tile_span(records[rank, at.R_X], records[rank, at.R_HALF_X], tiles_x)
        top, bottom = _tile_span(records[rank, at.R_Y], records[rank, at.R_HALF_Y], tiles_y)
        for tile_y in range(top, bottom):
            for tile_x in range(left, right):
                starts[tile_y * tiles_x + tile_x + 1] += 1
    longest = 0
    for tile in range(1, starts.size):
        longest = max(longest, starts[tile])
        starts[tile] += starts[tile - 1]
    return longest


@njit(cache=True, error_model="numpy")
def list_tiles(records, count, tiles_x, tiles_y, starts, ends, ranks):
    """Fills `ranks` with every tile's records, near to far, from `starts` on; `ends` is overwritten."""
    ends[:] = starts
    for rank in range(count):
        left, right = _tile_span(records[rank, at.R_X], records[rank, at.R_HALF_X], tiles_x)
        top, bottom = _tile_span(records[rank, at.R_Y], records[rank, at.R_HALF_Y], tiles_y)
        for tile_y in range(top, bottom):
            for tile_x in range(left, right):
                tile = tile_y * tiles_x + tile_x
                ranks[ends[tile]] = rank
                ends[tile] += 1


@njit(cache=True, error_model="numpy")
def moments_to_projected(moments, order, count, projected, d_projected):
    """Turns the records' moments into the derivatives by position, conic, log(opacity), colour and depth."""
    d_projected[:] = 0
    for rank in range(count):
        i = order[rank]
        m = moments[rank]
        a, b, c = projected[at.CONIC_A, i], projected[at.CONIC_B, i], projected[at.CONIC_C, i]
        d_projected[at.D_X, i] = a * m[at.M_X] + b * m[at.M_Y]
        d_projected[at.D_Y, i] = b * m[at.M_X] + c * m[at.M_Y]
        d_projected[at.D_CONIC_A, i] = -0.5 * m[at.M_XX]
        d_projected[at.D_CONIC_B, i] = -m[at.M_XY]
        d_projected[at.D_CONIC_C, i] = -0.5 * m[at.M_YY]
        d_projected[at.D_LOG_ALPHA, i] = m[at.M_ONE]
        for channel in range(3):
            d_projected[at.D_RED + channel, i] = m[at.M_RED + channel]
        d_projected[at.D_DEPTH, i] = m[at.M_DEPTH]
