"""From Gaussians in view to lists of them, near to far, for every 16x16 tile."""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import numpy as np
from numba import njit

from gsbench.render.simd16_kernels import WIDTH, bits, broadcast, fma, load, maximum, minimum, splat, store
from gsbench.render.splats import layout as at
from gsbench.render.splats.block_kernels import columns, rows, with_bit
from gsbench.render.splats.record_kernels import ALPHA_MIN

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


LOG2_ALPHA_MIN = np.log2(ALPHA_MIN)
# Blocks are kept down to a little below the limit, for what rounding may add.
_LOG2_ALPHA_NEAR = LOG2_ALPHA_MIN - 0.01


@njit(forceinline=True)
def gather(records, listed, start, stop, x0, y0, inside, scratch):
    """Copies the records that reach the tile and notes which blocks each reaches; returns their number."""
    local, members, masks, words, _, _, _, _ = scratch
    # The lanes are the tile's blocks here: the centers of their first pixels.
    left, top = columns() * at.BLOCK + (x0 + 0.5), rows() * at.BLOCK + (y0 + 0.5)
    zero = splat(0.0)
    count = 0
    for position in range(start, stop):
        base = listed[position] * at.RECORD
        low_x, low_y = left - broadcast(records, base + at.R_X), top - broadcast(records, base + at.R_Y)
        high_x, high_y = low_x + (at.BLOCK - 1.0), low_y + (at.BLOCK - 1.0)
        near_x, near_y = minimum(maximum(low_x, zero), high_x), minimum(maximum(low_y, zero), high_y)
        # Of a block's points the exponent is highest on a side that faces the center, where the side meets the ridge.
        ridge_x = minimum(maximum(near_y * broadcast(records, base + at.R_RIDGE_X), low_x), high_x)
        ridge_y = minimum(maximum(near_x * broadcast(records, base + at.R_RIDGE_Y), low_y), high_y)
        a, b, c = form_of(records, base)
        highest = maximum(form_at(a, b, c, near_x, ridge_y), form_at(a, b, c, ridge_x, near_y))
        mask = bits(highest + broadcast(records, base + at.R_LOG) >= _LOG2_ALPHA_NEAR) & inside
        if mask == 0:
            continue
        store(local, count * at.RECORD, load(records, base))
        members[count] = listed[position]
        masks[count] = mask
        count += 1
    masks[count : words_of(count) * at.WORD] = 0
    for word in range(words_of(count)):
        first = word * at.WORD
        for block in range(at.BLOCKS):
            reaching = with_bit(masks, first, block)
            for part in range(WIDTH, at.WORD, WIDTH):
                reaching |= with_bit(masks, first + part, block) << part
            words[word * at.BLOCKS + block] = reaching
    return count


@njit(forceinline=True)
def words_of(count):
    """Words for so many Gaussians, at least one."""
    return max((count + at.WORD - 1) // at.WORD, 1)


@njit(forceinline=True)
def form_of(records, base):
    """The exponent's quadratic form."""
    return broadcast(records, base + at.R_A), broadcast(records, base + at.R_B), broadcast(records, base + at.R_C)


@njit(forceinline=True)
def form_at(a, b, c, dx, dy):
    """The quadratic form's value."""
    return fma(fma(a, dx, b * dy), dx, c * dy * dy)


@njit(forceinline=True)
def blocks_inside(y0, height):
    """Those of a tile's blocks that begin above the image's lower edge, as bits."""
    return (1 << 4 * min(4, -(-(height - y0) // at.BLOCK))) - 1
