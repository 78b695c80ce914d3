"""The tiles: front-to-back compositing, and its gradient walked back to front.

A tile is 4x4 blocks of 4x4 pixels, a block one vector of 16 lanes: most Gaussians are small, and reach fewer such
blocks than rows of 16. `gather` picks from the tile's list the Gaussians that reach it, and for each the blocks where
alpha can be 1/255 or more; only those (Gaussian, block) pairs are evaluated. `composite` keeps alpha and weight (alpha
times transmittance) of each pair, so that `backward` needs neither division nor a second exponential: with B the
gradient-weighted color behind, d = c.g - B is the derivative by the weight, w d that by log(alpha), and B + alpha d
the next B.

A tile's scratch: the records of the Gaussians that reach it and where those stand among all; which blocks each reaches;
the same by block, in words of 64 Gaussians; where each block closes; alpha and weight of each pair; the blocks' pixels
and the derivatives by them.
"""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

from numba import njit

from gsbench.render.simd16_kernels import (
    WIDTH,
    bits,
    broadcast,
    exp2,
    fma,
    load,
    maximum,
    minimum,
    select,
    splat,
    store,
    trailing_zeros,
)
from gsbench.render.splats import layout as at
from gsbench.render.splats.binning_kernels import LOG2_ALPHA_MIN, blocks_inside, form_at, form_of, gather, words_of
from gsbench.render.splats.block_kernels import columns, load_block, load_block_bytes, rows, store_block, totals

ALPHA_MAX = 0.999
TRANSMITTANCE_MIN = 1e-4
_PAIR, _PIXELS = 2 * WIDTH, at.PLANES * WIDTH


@njit(forceinline=True)
def _pixels_of(block, x0, y0):
    """The centers of a block's pixels."""
    return columns() + (x0 + block % 4 * at.BLOCK + 0.5), rows() + (y0 + block // 4 * at.BLOCK + 0.5)


@njit(forceinline=True)
def _composite(x0, y0, count, keep, with_depth, scratch):
    """Composites the `count` gathered Gaussians into `pixels`: color, alpha and depth sums, 16 lanes a block.

    With `keep` also notes the pairs and, in `ends`, the first Gaussian that a block is closed to.
    """
    local, _, _, words, ends, pairs, pixels, _ = scratch
    zero = splat(0.0)
    for block in range(at.BLOCKS):
        px, py = _pixels_of(block, x0, y0)
        transmittance = splat(1.0)
        red, green, blue, opaque, depth = zero, zero, zero, zero, zero
        word, reaching, end = 0, words[block], count
        while True:
            while reaching == 0 and word + 1 < words_of(count):
                word += 1
                reaching = words[word * at.BLOCKS + block]
            if reaching == 0:
                break
            member = word * at.WORD + trailing_zeros(reaching)
            reaching &= reaching - 1
            base = member * at.RECORD
            dx, dy = px - broadcast(local, base + at.R_X), py - broadcast(local, base + at.R_Y)
            a, b, c = form_of(local, base)
            exponent = form_at(a, b, c, dx, dy) + broadcast(local, base + at.R_LOG)
            alpha = select(exponent >= LOG2_ALPHA_MIN, minimum(exp2(exponent), splat(ALPHA_MAX)), zero)
            weight = alpha * transmittance
            left = transmittance - weight
            live = left > TRANSMITTANCE_MIN
            if bits(live) == 0:
                # Every pixel of the block is closed: what lies behind gets no gradient either.
                end = member
                break
            weight = select(live, weight, zero)
            transmittance = select(live, left, zero)
            if keep:
                pair = (member * at.BLOCKS + block) * _PAIR
                store(pairs, pair, select(live, alpha, zero))
                store(pairs, pair + WIDTH, weight)
            r, g, b = _color_of(local, base)
            red = fma(weight, r, red)
            green = fma(weight, g, green)
            blue = fma(weight, b, blue)
            if with_depth:
                depth = fma(weight, broadcast(local, base + at.R_DEPTH), depth)
            opaque = opaque + weight
        ends[block] = end
        place = block * _PIXELS
        store(pixels, place, red)
        store(pixels, place + WIDTH, green)
        store(pixels, place + 2 * WIDTH, blue)
        store(pixels, place + 3 * WIDTH, opaque)
        store(pixels, place + 4 * WIDTH, depth)


@njit(forceinline=True)
def _color_of(local, base):
    first = base + at.R_RED
    return broadcast(local, first), broadcast(local, first + 1), broadcast(local, first + 2)


@njit(forceinline=True)
def _backward(x0, y0, count, with_depth, scratch, moments):
    """Adds to `moments` what the gathered Gaussians get from `d_pixels`: by color, minus B behind all, by depth."""
    local, members, masks, _, ends, pairs, _, d_pixels = scratch
    zero = splat(0.0)
    closed = load(ends, 0)
    for member in range(count - 1, -1, -1):
        mask = masks[member] & bits(splat(member) < closed)
        if mask == 0:
            continue
        base = member * at.RECORD
        x, y = broadcast(local, base + at.R_X), broadcast(local, base + at.R_Y)
        red, green, blue = _color_of(local, base)
        one, mx, my, mxx, mxy, myy = zero, zero, zero, zero, zero, zero
        d_red, d_green, d_blue, d_depth = zero, zero, zero, zero
        while mask != 0:
            block = trailing_zeros(mask)
            mask &= mask - 1
            pair = (member * at.BLOCKS + block) * _PAIR
            alpha, weight = load(pairs, pair), load(pairs, pair + WIDTH)
            place = block * _PIXELS
            g_red, g_green = load(d_pixels, place), load(d_pixels, place + WIDTH)
            g_blue, behind = load(d_pixels, place + 2 * WIDTH), load(d_pixels, place + 3 * WIDTH)
            by_weight = fma(red, g_red, fma(green, g_green, fma(blue, g_blue, -behind)))
            if with_depth:
                g_depth = load(d_pixels, place + 4 * WIDTH)
                by_weight = fma(broadcast(local, base + at.R_DEPTH), g_depth, by_weight)
                d_depth = fma(weight, g_depth, d_depth)
            store(d_pixels, place + 3 * WIDTH, fma(alpha, by_weight, behind))
            d_red = fma(weight, g_red, d_red)
            d_green = fma(weight, g_green, d_green)
            d_blue = fma(weight, g_blue, d_blue)
            # The cap is flat: nothing passes to the exponent there.
            value = select(alpha < ALPHA_MAX, weight * by_weight, zero)
            px, py = _pixels_of(block, x0, y0)
            dx, dy = px - x, py - y
            by_y, by_x = value * dy, value * dx
            one = one + value
            mx = mx + by_x
            my = my + by_y
            mxx = fma(by_x, dx, mxx)
            mxy = fma(by_x, dy, mxy)
            myy = fma(by_y, dy, myy)
        place = members[member] * at.RECORD
        sums = totals(one, mx, my, mxx, mxy, myy, d_red, d_green, d_blue, d_depth)
        store(moments, place, load(moments, place) + sums)


@njit(forceinline=True)
def _block_position(block, x0, y0, stride):
    return (y0 + block // 4 * at.BLOCK) * stride + x0 + block % 4 * at.BLOCK


@njit(cache=True, error_model="numpy")
def render_tiles(records, listed, starts, width, height, background, scratch, planes):
    """Fills `planes` `[5 h w]` (padded to whole tiles): red, green, blue over the background, alpha, depth sum."""
    stride = planes.shape[2]
    tiles_x, plane_size = stride // at.TILE, planes.shape[1] * stride
    flat, records = planes.ravel(), records.ravel()
    pixels = scratch[6]
    for tile in range(starts.size - 1):
        x0, y0 = tile % tiles_x * at.TILE, tile // tiles_x * at.TILE
        count = gather(records, listed, starts[tile], starts[tile + 1], x0, y0, blocks_inside(y0, height), scratch)
        _composite(x0, y0, count, False, True, scratch)
        for block in range(at.BLOCKS):
            place, position = block * _PIXELS, _block_position(block, x0, y0, stride)
            opaque = load(pixels, place + 3 * WIDTH)
            for plane in range(at.PLANES):
                value = load(pixels, place + plane * WIDTH)
                if plane < 3:
                    value = fma(1.0 - opaque, background[plane], value)
                store_block(flat, position + plane * plane_size, stride, value)


@njit(cache=True, error_model="numpy")
def backward_tiles(records, listed, starts, width, height, background, scratch, d_planes, with_depth, moments):
    """Adds to `moments` `[n 16]` the derivatives of a loss whose derivatives by `planes` are `d_planes`."""
    stride = d_planes.shape[2]
    tiles_x, plane_size = stride // at.TILE, d_planes.shape[1] * stride
    flat, records, moments = d_planes.ravel(), records.ravel(), moments.ravel()
    d_pixels = scratch[7]
    for tile in range(starts.size - 1):
        x0, y0 = tile % tiles_x * at.TILE, tile // tiles_x * at.TILE
        count = gather(records, listed, starts[tile], starts[tile + 1], x0, y0, blocks_inside(y0, height), scratch)
        if count == 0:
            continue
        _composite(x0, y0, count, True, with_depth, scratch)
        for block in range(at.BLOCKS):
            place, position = block * _PIXELS, _block_position(block, x0, y0, stride)
            for plane in range(at.PLANES):
                store(d_pixels, place + plane * WIDTH, load_block(flat, position + plane * plane_size, stride))
            # Every weight adds its alpha gradient and takes the background away.
            _store_behind(d_pixels, place, load(d_pixels, place + 3 * WIDTH), background)
        _backward(x0, y0, count, with_depth, scratch, moments)


@njit(forceinline=True)
def _store_behind(d_pixels, place, d_alpha, background):
    behind = fma(load(d_pixels, place), background[0], -d_alpha)
    behind = fma(load(d_pixels, place + WIDTH), background[1], behind)
    store(d_pixels, place + 3 * WIDTH, fma(load(d_pixels, place + 2 * WIDTH), background[2], behind))


@njit(cache=True, error_model="numpy")
def fit_tiles(records, listed, starts, width, height, background, scratch, target, huber, alpha_weight, moments):
    """Forward, loss and backward in one pass a tile; adds to `moments` `[n 16]`.

    `target` is uint8 `[4 h w]` padded to whole tiles: the color over the background, and alpha. The loss is the sum
    over pixels of Huber(color, `huber`) / `huber` a channel plus `alpha_weight` |alpha difference|.
    """
    stride = target.shape[2]
    tiles_x, plane_size = stride // at.TILE, target.shape[1] * stride
    flat, records, moments = target.ravel(), records.ravel(), moments.ravel()
    for tile in range(starts.size - 1):
        x0, y0 = tile % tiles_x * at.TILE, tile // tiles_x * at.TILE
        count = gather(records, listed, starts[tile], starts[tile + 1], x0, y0, blocks_inside(y0, height), scratch)
        if count == 0:
            continue
        _composite(x0, y0, count, True, False, scratch)
        for block in range(at.BLOCKS):
            px, py = _pixels_of(block, x0, y0)
            inside = (px < splat(width)) & (py < splat(height))
            position = _block_position(block, x0, y0, stride)
            _loss_block(block, inside, background, scratch, flat, position, stride, plane_size, huber, alpha_weight)
        _backward(x0, y0, count, False, scratch, moments)


@njit(forceinline=True)
def _loss_block(block, inside, background, scratch, target, position, stride, plane_size, huber, alpha_weight):
    pixels, d_pixels = scratch[6], scratch[7]
    place = block * _PIXELS
    zero, limit = splat(0.0), splat(huber)
    opaque = load(pixels, place + 3 * WIDTH)
    for channel in range(3):
        color = fma(1.0 - opaque, background[channel], load(pixels, place + channel * WIDTH))
        error = fma(load_block_bytes(target, position + channel * plane_size, stride), -1 / 255, color)
        slope = maximum(minimum(error, limit), -limit) * (1 / huber)
        store(d_pixels, place + channel * WIDTH, select(inside, slope, zero))
    error = fma(load_block_bytes(target, position + 3 * plane_size, stride), -1 / 255, opaque)
    slope = select(error > 0.0, splat(alpha_weight), select(error < 0.0, splat(-alpha_weight), zero))
    _store_behind(d_pixels, place, select(inside, slope, zero), background)
