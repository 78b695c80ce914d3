"""The tiles: front-to-back compositing, and its gradient walked back to front.

A tile is 16x16 pixels, a pixel row one vector of 16 lanes. `gather` picks from the tile's list the Gaussians that reach
it, and for each the pixel rows where alpha can be 1/255 or more; only those (Gaussian, row) pairs are evaluated.
`composite` keeps alpha and weight (alpha times transmittance) of each pair, so that `backward` needs neither division
nor a second exponential: with B the gradient-weighted colour behind, d = c.g - B is the derivative by the weight, w d
that by log(alpha), and B + alpha d the next B.
"""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import numpy as np
from numba import njit

from gsbench.render import layout as at
from gsbench.render.binning_kernels import ALPHA_MIN
from gsbench.render.lanes_kernels import (
    bits,
    broadcast,
    exp2,
    iota,
    load,
    load_bytes,
    maximum,
    minimum,
    select,
    splat,
    store,
    total,
    trailing_zeros,
)

ALPHA_MAX = 0.999
TRANSMITTANCE_MIN = 1e-4
LOG2_ALPHA_MIN = np.log2(ALPHA_MIN)
_PAIR = 2 * at.TILE


@njit
def _gather(records, ranks, start, stop, x0, y0, rows, scratch):
    """Copies the records that reach the tile and lists them by pixel row; returns their number."""
    local, members, masks, row_lists, row_counts, _, _, _ = scratch
    capacity = masks.size
    py = iota() + (y0 + 0.5)
    row_counts[:] = 0
    count = 0
    for position in range(start, stop):
        base = ranks[position] * at.RECORD
        dy = py - broadcast(records, base + at.R_Y)
        # Where in x the Gaussian still reaches 1/255 in each row: centre +- sqrt(reach).
        reach = (broadcast(records, base + at.R_REACH) - dy * dy * broadcast(records, base + at.R_INVERSE_VAR_Y)) * (
            1.0001 * broadcast(records, base + at.R_INVERSE_A)
        )
        center = broadcast(records, base + at.R_X) - dy * broadcast(records, base + at.R_SLOPE)
        gap = center - minimum(maximum(center, splat(x0 + 0.5)), splat(x0 + at.TILE - 0.5))
        mask = bits(gap * gap <= reach) & rows
        if mask == 0:
            continue
        to = count * at.LOCAL
        store(local, to, load(records, base))
        store(local, to + at.LINEAR, dy * broadcast(records, base + at.R_B))
        constant = dy * dy * broadcast(records, base + at.R_C) + broadcast(records, base + at.R_LOG)
        store(local, to + at.CONSTANT, constant)
        store(local, to + at.OFFSET_Y, dy)
        members[count] = ranks[position]
        masks[count] = mask
        while mask != 0:
            row = trailing_zeros(mask)
            mask &= mask - 1
            row_lists[row * capacity + row_counts[row]] = count
            row_counts[row] += 1
        count += 1
    return count


@njit
def _composite(x0, keep, scratch):
    """Composites the gathered Gaussians into `pixels`: colour, alpha and depth sums, 16 lanes a row."""
    local, _, masks, row_lists, row_counts, pairs, pixels, _ = scratch
    capacity = masks.size
    px = iota() + (x0 + 0.5)
    zero = splat(0.0)
    for row in range(at.TILE):
        transmittance = splat(1.0)
        red, green, blue, opaque, depth = zero, zero, zero, zero, zero
        for j in range(row_counts[row]):
            member = row_lists[row * capacity + j]
            base = member * at.LOCAL
            dx = px - broadcast(local, base + at.R_X)
            linear = broadcast(local, base + at.R_A) * dx + broadcast(local, base + at.LINEAR + row)
            exponent = linear * dx + broadcast(local, base + at.CONSTANT + row)
            alpha = select(exponent >= LOG2_ALPHA_MIN, minimum(exp2(exponent), splat(ALPHA_MAX)), zero)
            weight = alpha * transmittance
            left = transmittance - weight
            live = left > TRANSMITTANCE_MIN
            if bits(live) == 0:
                # Every pixel of the row is closed: what lies behind gets no gradient either.
                for rest in range(j, row_counts[row]):
                    masks[row_lists[row * capacity + rest]] &= ~(1 << row)
                break
            weight = select(live, weight, zero)
            transmittance = select(live, left, zero)
            if keep:
                pair = (member * at.TILE + row) * _PAIR
                store(pairs, pair, select(live, alpha, zero))
                store(pairs, pair + at.TILE, weight)
            r, g, b = _colour_of(local, base)
            red = red + weight * r
            green = green + weight * g
            blue = blue + weight * b
            depth = depth + weight * broadcast(local, base + at.R_DEPTH)
            opaque = opaque + weight
        place = row * at.PLANES * at.TILE
        store(pixels, place, red)
        store(pixels, place + at.TILE, green)
        store(pixels, place + 2 * at.TILE, blue)
        store(pixels, place + 3 * at.TILE, opaque)
        store(pixels, place + 4 * at.TILE, depth)


@njit
def _colour_of(local, base):
    first = base + at.R_RED
    return broadcast(local, first), broadcast(local, first + 1), broadcast(local, first + 2)


@njit
def _backward(x0, count, with_depth, scratch, moments):
    """Adds to `moments` what the gathered Gaussians get from `d_pixels`: by colour, minus B behind all, by depth."""
    local, members, masks, _, _, pairs, _, d_pixels = scratch
    px = iota() + (x0 + 0.5)
    zero = splat(0.0)
    for member in range(count - 1, -1, -1):
        mask = masks[member]
        if mask == 0:
            continue
        base = member * at.LOCAL
        dx = px - broadcast(local, base + at.R_X)
        red, green, blue = _colour_of(local, base)
        one, mx, my, mxx, mxy, myy = zero, zero, zero, zero, zero, zero
        d_red, d_green, d_blue, d_depth = zero, zero, zero, zero
        while mask != 0:
            row = trailing_zeros(mask)
            mask &= mask - 1
            pair = (member * at.TILE + row) * _PAIR
            alpha, weight = load(pairs, pair), load(pairs, pair + at.TILE)
            place = row * at.PLANES * at.TILE
            g_red, g_green = load(d_pixels, place), load(d_pixels, place + at.TILE)
            g_blue, behind = load(d_pixels, place + 2 * at.TILE), load(d_pixels, place + 3 * at.TILE)
            by_weight = red * g_red + green * g_green + blue * g_blue - behind
            if with_depth:
                g_depth = load(d_pixels, place + 4 * at.TILE)
                by_weight = by_weight + broadcast(local, base + at.R_DEPTH) * g_depth
                d_depth = d_depth + weight * g_depth
            store(d_pixels, place + 3 * at.TILE, behind + alpha * by_weight)
            d_red = d_red + weight * g_red
            d_green = d_green + weight * g_green
            d_blue = d_blue + weight * g_blue
            # The cap is flat: nothing passes to the exponent there.
            value = select(alpha < ALPHA_MAX, weight * by_weight, zero)
            dy = broadcast(local, base + at.OFFSET_Y + row)
            by_y, by_x = value * dy, value * dx
            one = one + value
            mx = mx + by_x
            my = my + by_y
            mxx = mxx + by_x * dx
            mxy = mxy + by_x * dy
            myy = myy + by_y * dy
        m = moments[members[member]]
        _add_totals(m, at.M_ONE, one, mx, my)
        _add_totals(m, at.M_XX, mxx, mxy, myy)
        _add_totals(m, at.M_RED, d_red, d_green, d_blue)
        if with_depth:
            m[at.M_DEPTH] += total(d_depth)


@njit
def _add_totals(moments, first, a, b, c):
    moments[first] += total(a)
    moments[first + 1] += total(b)
    moments[first + 2] += total(c)


@njit
def _rows_inside(y0, height):
    return (1 << min(at.TILE, height - y0)) - 1


@njit(cache=True, error_model="numpy")
def render_tiles(records, ranks, starts, width, height, background, scratch, planes):
    """Fills `planes` `[5 h w]` (padded to whole tiles): red, green, blue over the background, alpha, depth sum."""
    stride = planes.shape[2]
    tiles_x = stride // at.TILE
    flat, records = planes.ravel(), records.ravel()
    pixels = scratch[6]
    for tile in range(starts.size - 1):
        x0, y0 = tile % tiles_x * at.TILE, tile // tiles_x * at.TILE
        _gather(records, ranks, starts[tile], starts[tile + 1], x0, y0, _rows_inside(y0, height), scratch)
        _composite(x0, False, scratch)
        for row in range(at.TILE):
            place = row * at.PLANES * at.TILE
            opaque = load(pixels, place + 3 * at.TILE)
            for plane in range(at.PLANES):
                value = load(pixels, place + plane * at.TILE)
                if plane < 3:
                    value = value + (1.0 - opaque) * background[plane]
                store(flat, (plane * planes.shape[1] + y0 + row) * stride + x0, value)


@njit(cache=True, error_model="numpy")
def backward_tiles(records, ranks, starts, width, height, background, scratch, d_planes, with_depth, moments):
    """Adds to `moments` `[n 16]` the derivatives of a loss whose derivatives by `planes` are `d_planes`."""
    stride = d_planes.shape[2]
    tiles_x = stride // at.TILE
    flat, records = d_planes.ravel(), records.ravel()
    d_pixels = scratch[7]
    for tile in range(starts.size - 1):
        x0, y0 = tile % tiles_x * at.TILE, tile // tiles_x * at.TILE
        count = _gather(records, ranks, starts[tile], starts[tile + 1], x0, y0, _rows_inside(y0, height), scratch)
        if count == 0:
            continue
        _composite(x0, True, scratch)
        for row in range(at.TILE):
            place = row * at.PLANES * at.TILE
            for plane in range(at.PLANES):
                store(
                    d_pixels, place + plane * at.TILE, load(flat, (plane * d_planes.shape[1] + y0 + row) * stride + x0)
                )
            # Every weight adds its alpha gradient and takes the background away.
            _store_behind(d_pixels, place, load(d_pixels, place + 3 * at.TILE), background)
        _backward(x0, count, with_depth, scratch, moments)


@njit
def _store_behind(d_pixels, place, d_alpha, background):
    behind = load(d_pixels, place) * background[0] - d_alpha
    behind = (
        behind + load(d_pixels, place + at.TILE) * background[1] + load(d_pixels, place + 2 * at.TILE) * background[2]
    )
    store(d_pixels, place + 3 * at.TILE, behind)


@njit(cache=True, error_model="numpy")
def fit_tiles(records, ranks, starts, width, height, background, scratch, target, huber, alpha_weight, moments):
    """Forward, loss and backward in one pass a tile; adds to `moments` `[n 16]`.

    `target` is uint8 `[4 h w]` padded to whole tiles: the colour over the background, and alpha. The loss is the sum
    over pixels of Huber(colour, `huber`) / `huber` a channel plus `alpha_weight` |alpha difference|.
    """
    stride = target.shape[2]
    tiles_x = stride // at.TILE
    flat, records = target.ravel(), records.ravel()
    for tile in range(starts.size - 1):
        x0, y0 = tile % tiles_x * at.TILE, tile // tiles_x * at.TILE
        count = _gather(records, ranks, starts[tile], starts[tile + 1], x0, y0, _rows_inside(y0, height), scratch)
        if count == 0:
            continue
        _composite(x0, True, scratch)
        for row in range(at.TILE):
            position = (y0 + row) * stride + x0
            _loss_row(
                x0, row, width, background, scratch, flat, position, target.shape[1] * stride, huber, alpha_weight
            )
        _backward(x0, count, False, scratch, moments)


@njit
def _loss_row(x0, row, width, background, scratch, target, position, plane_size, huber, alpha_weight):
    pixels, d_pixels = scratch[6], scratch[7]
    place = row * at.PLANES * at.TILE
    inside = iota() + (x0 + 0.5) < splat(width)
    zero, limit = splat(0.0), splat(huber)
    opaque = load(pixels, place + 3 * at.TILE)
    for channel in range(3):
        colour = load(pixels, place + channel * at.TILE) + (1.0 - opaque) * background[channel]
        error = colour - load_bytes(target, position + channel * plane_size) * (1 / 255)
        slope = maximum(minimum(error, limit), -limit) * (1 / huber)
        store(d_pixels, place + channel * at.TILE, select(inside, slope, zero))
    error = opaque - load_bytes(target, position + 3 * plane_size) * (1 / 255)
    slope = select(error > 0.0, splat(alpha_weight), select(error < 0.0, splat(-alpha_weight), zero))
    _store_behind(d_pixels, place, select(inside, slope, zero), background)
