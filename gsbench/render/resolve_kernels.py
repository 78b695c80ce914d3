"""Samples to pixels: coverage, colour and depth, the texture computed once a pixel wherever that is enough.

A pixel's colour is the mean of its covered samples, each shade(n) * mix(dark, light, t(p)). Where one triangle has the
whole block, or the samples lie at about one depth, t is computed once, in the middle of the pixel at their mean 1/z,
and stands for all: t is smooth, so what is lost is of second order. Elsewhere, as where one part of an object hides
another, every sample has its own.
"""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import numpy as np

from gsbench.render import triangle_layout as at
from gsbench.render.block_kernels import block_number, plane_at, samples_of
from gsbench.render.jit_kernels import inlined, kernel
from gsbench.render.lanes_kernels import bits, broadcast, load, maximum, minimum, select, splat, store
from gsbench.render.lanes_sample_kernels import fma, fold_max, fold_sum, nearest, store_rgba

LANES = at.LANES
# Rows of the scratch: samples covered, sum of their shades, of their 1/z, and of shade * t (-1: not computed).
_COUNT, _SHADE, _DEPTH, _TEXTURE = range(4)
_ZERO, _ONE = np.float32(0), np.float32(1)
_TINY = np.float32(1e-30)
_ALL = (1 << LANES) - 1
# sin(2 pi r) for r in -1/2..1/2 as r (c0 + c1 r^2 + ...), minimax, 6e-6.
_SINE = tuple(np.float32(c) for c in (6.2830558, -41.3312143, 81.3668151, -74.4780035, 32.781399))


@inlined
def _add_sine(turns, total):
    """`total` and the sine of so many turns."""
    r = turns - nearest(turns)
    s = r * r
    value = fma(splat(_SINE[4]), s, splat(_SINE[3]))
    value = fma(value, s, splat(_SINE[2]))
    value = fma(value, s, splat(_SINE[1]))
    return fma(r, fma(value, s, splat(_SINE[0])), total)


@inlined
def _texture(x, y, w, waves):
    """t of the points at image position x, y (blocks) and 1/z w > 0."""
    z = splat(_ONE) / w
    total = splat(_ZERO)
    for wave in range(3):
        first = 4 * wave
        along = fma(broadcast(waves, first), x, fma(broadcast(waves, first + 1), y, broadcast(waves, first + 2)))
        total = _add_sine(fma(along, z, broadcast(waves, first + 3)), total)
    return fma(total, splat(np.float32(1 / 6)), splat(np.float32(0.5)))


@inlined
def _keep(sums, to, count, shade, depth, texture):
    stride = sums.shape[1]
    store(sums, to, count)
    store(sums, _SHADE * stride + to, shade)
    store(sums, _DEPTH * stride + to, depth)
    store(sums, _TEXTURE * stride + to, texture)


@inlined
def _reduce_block(frame, block, xs, ys, pixels, waves, thickness, sums, to):
    """Sums up the samples of one block, pixel by pixel."""
    w, shade = samples_of(frame, block, xs, ys)
    covered = w > splat(_ZERO)
    shade = select(covered, shade, splat(_ZERO))
    nearest_w = fold_max(w, pixels)
    texture = splat(np.float32(-1))
    if bits(covered & (nearest_w - w > nearest_w * w * thickness)):
        own = _texture(xs, ys, select(covered, w, nearest_w), waves)
        texture = fold_sum(fma(shade, own, splat(_ZERO)), pixels)
    count = fold_sum(select(covered, splat(_ONE), splat(_ZERO)), pixels)
    _keep(sums, to, count, fold_sum(shade, pixels), fold_sum(w, pixels), texture)


@inlined
def _reduce_tile(frame, first, left, top, pattern, centres, pixels, waves, thickness, sums):
    """Sums up the samples of a tile, block by block and pixel by pixel; `left`, `top`: its first block."""
    owner, _, near, _, planes, _ = frame
    whole = splat(np.float32(LANES // pixels))
    for number in range(LANES):
        block, to = first + number, number * pixels
        if near[block] == _ZERO:
            store(sums, to, splat(_ZERO))
        elif owner[block] >= _ZERO:
            plane = int(owner[block])
            x, y = load(centres, to) + np.float32(left), load(centres, LANES * pixels + LANES + to) + np.float32(top)
            shade = splat(planes[plane * at.PLANE + at.P_SHADE])
            _keep(sums, to, whole, whole * shade, whole * plane_at(planes, plane, x, y), splat(np.float32(-1)))
        else:
            xs = load(pattern, 0) + np.float32(left + number % at.TILE)
            ys = load(pattern, LANES) + np.float32(top + number // at.TILE)
            _reduce_block(frame, block, xs, ys, pixels, waves, thickness, sums, to)


@inlined
def _colour_tile(left, top, centres, pixels, waves, colours, sums, packed):
    """Turns the sums into RGBA, straight alpha, and nothing at all where no sample is covered."""
    stride = sums.shape[1]
    for start in range(0, LANES * pixels, LANES):
        covered = load(sums, start)
        share = splat(_ONE) / maximum(covered, splat(_ONE))
        shade = load(sums, _SHADE * stride + start)
        w = maximum(load(sums, _DEPTH * stride + start) * share, splat(_TINY))
        x = load(centres, start) + np.float32(left)
        y = load(centres, LANES * pixels + LANES + start) + np.float32(top)
        texture = load(sums, _TEXTURE * stride + start)
        texture = select(texture < splat(_ZERO), shade * _texture(x, y, w, waves), texture) * share
        shade = shade * share
        some, zero = covered > splat(_ZERO), splat(_ZERO)
        red, green = _mix(colours, 0, shade, texture), _mix(colours, 1, shade, texture)
        blue = _mix(colours, 2, shade, texture)
        alpha = fma(covered, splat(np.float32(255 * pixels / 16)), splat(np.float32(0.5)))
        store_rgba(packed, start, select(some, red, zero), select(some, green, zero), select(some, blue, zero), alpha)


@inlined
def _colour_whole_tile(plane, planes, left, top, centres, pixels, waves, colours, packed):
    """The same of a tile that one triangle covers whole."""
    shade = splat(planes[plane * at.PLANE + at.P_SHADE])
    for start in range(0, LANES * pixels, LANES):
        x = load(centres, start) + np.float32(left)
        y = load(centres, LANES * pixels + LANES + start) + np.float32(top)
        texture = shade * _texture(x, y, maximum(plane_at(planes, plane, x, y), splat(_TINY)), waves)
        red, green = _mix(colours, 0, shade, texture), _mix(colours, 1, shade, texture)
        store_rgba(packed, start, red, green, _mix(colours, 2, shade, texture), splat(np.float32(255)))


@inlined
def _mix(colours, channel, shade, texture):
    value = fma(broadcast(colours, channel), shade, splat(np.float32(0.5)))
    return minimum(fma(broadcast(colours, 3 + channel), texture, value), splat(np.float32(255)))


@inlined
def _empty_tile(frame, first):
    store(frame[0], first, splat(np.float32(at.EMPTY)))
    store(frame[1], first, splat(_ZERO))
    store(frame[2], first, splat(_ZERO))


@kernel
def resolve(frame, box, tiles_x, pattern, centres, places, pixels, waves, colours, thickness, sums, packed, image):
    """Writes the pixels of `box` to `image` (uint32 `[h w]`, zero before) and empties `frame`.

    Args:
        frame: as in `block_kernels`.
        box: the first and last block in x, and in y.
        tiles_x: tiles in a row.
        pattern: positions of samples, then of the blocks of a tile.
        centres: x, then y of the pixels of a tile, block by block (in blocks, 16 more values behind each).
        places: row and column of these pixels in the tile.
        pixels: 1 or 4 a block.
        waves: the texture on this image.
        colours: the dark one, and what the light one has more, times 255.
        thickness: difference of depths up to which a pixel's texture is computed once.
        sums: scratch `[4 16 pixels + 16]`.
        packed: scratch `[16 pixels]`.
        image: RGBA.
    """
    owner, _, near, _, planes, used = frame
    side = 2 * at.TILE if pixels == 4 else at.TILE
    for tile_y in range(box[2] // at.TILE, box[3] // at.TILE + 1):
        for tile_x in range(box[0] // at.TILE, box[1] // at.TILE + 1):
            first = (tile_y * tiles_x + tile_x) * LANES
            if bits(load(near, first) > splat(_ZERO)) == 0:
                continue
            left, top = at.TILE * tile_x, at.TILE * tile_y
            plane = owner[first]
            if plane >= _ZERO and bits(load(owner, first) == splat(plane)) == _ALL:
                _colour_whole_tile(int(plane), planes, left, top, centres, pixels, waves, colours, packed)
            else:
                _reduce_tile(frame, first, left, top, pattern, centres, pixels, waves, thickness, sums)
                _colour_tile(left, top, centres, pixels, waves, colours, sums, packed)
            _empty_tile(frame, first)
            _place(packed, places, tile_x * side, tile_y * side, side, image)
    used[0] = 0


@inlined
def _place(packed, places, left, top, side, image):
    height, width = image.shape
    if left + side <= width and top + side <= height:
        for pixel in range(side * side):
            image[top + places[0, pixel], left + places[1, pixel]] = packed[pixel]
    else:
        for pixel in range(side * side):
            y, x = top + places[0, pixel], left + places[1, pixel]
            if y < height and x < width:
                image[y, x] = packed[pixel]


@kernel
def resolve_depth(frame, box, tiles_x, pattern, scale, values, image):
    """Writes z (times `scale`) of blocks of 4x4 pixels, one sample each, to `image` `[h w]` and empties `frame`."""
    height, width = image.shape
    for block_y in range(box[2], box[3] + 1):
        for block_x in range(box[0], box[1] + 1):
            block = block_number(block_x, block_y, tiles_x)
            if frame[2][block] == _ZERO:
                continue
            xs, ys = load(pattern, 0) + np.float32(block_x), load(pattern, LANES) + np.float32(block_y)
            w, _ = samples_of(frame, block, xs, ys)
            store(values, 0, w)
            for sample in range(LANES):
                y, x = 4 * block_y + sample // 4, 4 * block_x + sample % 4
                if values[sample] > 0 and y < height and x < width:
                    image[y, x] = scale / values[sample]
            frame[0][block], frame[1][block], frame[2][block] = np.float32(at.EMPTY), _ZERO, _ZERO
    frame[5][0] = 0
