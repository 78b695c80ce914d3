"""Which of a tile's Gaussians reach which of its blocks. What a tile's scratch holds, `splat_kernels` says."""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import numpy as np
from numba import njit

from gsbench.render.simd16_kernels import WIDTH, bits, broadcast, fma, load, maximum, minimum, splat, store
from gsbench.render.splats import layout as at
from gsbench.render.splats.block_kernels import columns, rows, with_bit
from gsbench.render.splats.record_kernels import ALPHA_MIN

LOG2_ALPHA_MIN = np.log2(ALPHA_MIN)
# Blocks are kept down to a little below the limit, for what rounding may add.
_LOG2_ALPHA_NEAR = LOG2_ALPHA_MIN - 0.01


@njit(forceinline=True)
def gather(records, listed, start, stop, x0, y0, inside, scratch):
    """Copies the records that reach the tile and notes which blocks each reaches; returns their number."""
    local, members, masks, words, _, _, _, _ = scratch
    # The lanes are the tile's blocks here: the centres of their first pixels.
    left, top = columns() * at.BLOCK + (x0 + 0.5), rows() * at.BLOCK + (y0 + 0.5)
    zero = splat(0.0)
    count = 0
    for position in range(start, stop):
        base = listed[position] * at.RECORD
        low_x, low_y = left - broadcast(records, base + at.R_X), top - broadcast(records, base + at.R_Y)
        high_x, high_y = low_x + (at.BLOCK - 1.0), low_y + (at.BLOCK - 1.0)
        near_x, near_y = minimum(maximum(low_x, zero), high_x), minimum(maximum(low_y, zero), high_y)
        # Of a block's points the exponent is highest on a side that faces the centre, where the side meets the ridge.
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
