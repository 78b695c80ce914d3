"""Samples to pixels: coverage, color and depth, the texture computed once a pixel wherever that is enough.

A pixel's color is the mean of its covered samples, each shade(n) * mix(dark, light, t(p)). Where one triangle has the
whole block, or the samples lie at about one depth, t is computed once, in the middle of the pixel at their mean 1/z,
and stands for all: t is smooth, so what is lost is of second order. Elsewhere, as where one part of an object hides
another, every sample has its own.
"""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import numpy as np

from gsbench.render.mesh import triangle_layout as at
from gsbench.render.mesh.block_kernels import plane_at, samples_of, tile_number
from gsbench.render.mesh.sample_kernels import fold_max, fold_sum, nearest, store_4x4, store_8x2, store_square
from gsbench.render.mesh.triangle_layout import inlined, kernel
from gsbench.render.simd16_kernels import (
    bits,
    broadcast,
    fma,
    load,
    maximum,
    minimum,
    select,
    splat,
    store,
    trailing_zeros,
)

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
def _reduce_tile(frame, first, left, top, pattern, centers, pixels, waves, thickness, sums):
    """Sums up the samples of a tile, block by block and pixel by pixel; `left`, `top`: its first block."""
    owner, _, near, _, planes, _, _ = frame
    whole = splat(np.float32(LANES // pixels))
    for number in range(LANES):
        block, to = first + number, number * pixels
        if near[block] == _ZERO:
            store(sums, to, splat(_ZERO))
        elif owner[block] >= _ZERO:
            plane = int(owner[block])
            x, y = load(centers, to) + np.float32(left), load(centers, LANES * pixels + LANES + to) + np.float32(top)
            shade = splat(planes[plane * at.PLANE + at.P_SHADE])
            _keep(sums, to, whole, whole * shade, whole * plane_at(planes, plane, x, y), splat(np.float32(-1)))
        else:
            xs = load(pattern, at.SAMPLES_X) + np.float32(left + number % at.TILE)
            ys = load(pattern, at.SAMPLES_Y) + np.float32(top + number // at.TILE)
            _reduce_block(frame, block, xs, ys, pixels, waves, thickness, sums, to)


@inlined
def _color_tile(left, top, centers, pixels, waves, colors, sums, image, first, stride):
    """Turns the sums into RGBA, straight alpha, and nothing at all where no sample is covered."""
    size, zero = sums.shape[1], splat(_ZERO)
    for start in range(0, LANES * pixels, LANES):
        covered = load(sums, start)
        share = splat(_ONE) / maximum(covered, splat(_ONE))
        shade = load(sums, _SHADE * size + start)
        w = maximum(load(sums, _DEPTH * size + start) * share, splat(_TINY))
        x = load(centers, start) + np.float32(left)
        y = load(centers, LANES * pixels + LANES + start) + np.float32(top)
        texture = load(sums, _TEXTURE * size + start)
        texture = select(texture < zero, shade * _texture(x, y, w, waves), texture) * share
        shade, some = shade * share, covered > zero
        red = select(some, _mix(colors, 0, shade, texture), zero)
        green = select(some, _mix(colors, 1, shade, texture), zero)
        blue = select(some, _mix(colors, 2, shade, texture), zero)
        alpha = fma(covered, splat(np.float32(255 * pixels / 16)), splat(np.float32(0.5)))
        _store(image, first, stride, start, pixels, red, green, blue, alpha)


@inlined
def _color_whole_tile(plane, planes, left, top, centers, pixels, waves, colors, image, first, stride):
    """The same of a tile that one triangle covers whole."""
    shade, opaque = splat(planes[plane * at.PLANE + at.P_SHADE]), splat(np.float32(255))
    for start in range(0, LANES * pixels, LANES):
        x = load(centers, start) + np.float32(left)
        y = load(centers, LANES * pixels + LANES + start) + np.float32(top)
        texture = shade * _texture(x, y, maximum(plane_at(planes, plane, x, y), splat(_TINY)), waves)
        red, green = _mix(colors, 0, shade, texture), _mix(colors, 1, shade, texture)
        _store(image, first, stride, start, pixels, red, green, _mix(colors, 2, shade, texture), opaque)


@inlined
def _store(image, first, stride, start, pixels, red, green, blue, alpha):
    """Writes 16 pixels of a tile; its first one stands at `first`."""
    if pixels == 1:
        store_4x4(image, first, stride, red, green, blue, alpha)
    else:
        store_8x2(image, first + start // 8 * stride, stride, red, green, blue, alpha)


@inlined
def _mix(colors, channel, shade, texture):
    value = fma(broadcast(colors, channel), shade, splat(np.float32(0.5)))
    return minimum(fma(broadcast(colors, 3 + channel), texture, value), splat(np.float32(255)))


@inlined
def _empty_tile(frame, tile):
    owner, far, near, _, _, _, farthest = frame
    store(owner, tile * LANES, splat(np.float32(at.EMPTY)))
    store(far, tile * LANES, splat(_ZERO))
    store(near, tile * LANES, splat(_ZERO))
    farthest[tile] = _ZERO


@kernel
def resolve(frame, box, patches_x, pattern, centers, pixels, waves, colors, thickness, sums, spare, image):
    """Writes the pixels of `box` to `image` (uint32 `[h w]`, zero before) and empties `frame`.

    Args:
        frame: as in `block_kernels`.
        box: the first and last block in x, and in y.
        patches_x: patches in a row.
        pattern: positions of samples, then of the blocks of a tile.
        centers: x, then y of the pixels of a tile, block by block (in blocks, 16 more values behind each).
        pixels: 1 or 4 a block.
        waves: the texture on this image.
        colors: the dark one, and what the light one has more, times 255.
        thickness: difference of depths up to which a pixel's texture is computed once.
        sums: scratch `[4 16 pixels + 16]`.
        spare: scratch, uint32 `[s s]` of a tile's pixels.
        image: RGBA.
    """
    owner, _, near, _, planes, used, _ = frame
    height, width = image.shape
    side = len(spare)
    for tile_y in range(box[2] // at.TILE, box[3] // at.TILE + 1):
        for tile_x in range(box[0] // at.TILE, box[1] // at.TILE + 1):
            tile = tile_number(tile_x, tile_y, patches_x)
            if bits(load(near, tile * LANES) > splat(_ZERO)) == 0:
                continue
            left, top = at.TILE * tile_x, at.TILE * tile_y
            x, y = side * tile_x, side * tile_y
            inner = x + side <= width and y + side <= height
            target, first, stride = (image, y * width + x, width) if inner else (spare, 0, side)
            plane = owner[tile * LANES]
            if plane >= _ZERO and bits(load(owner, tile * LANES) == splat(plane)) == _ALL:
                _color_whole_tile(int(plane), planes, left, top, centers, pixels, waves, colors, target, first, stride)
            else:
                _reduce_tile(frame, tile * LANES, left, top, pattern, centers, pixels, waves, thickness, sums)
                _color_tile(left, top, centers, pixels, waves, colors, sums, target, first, stride)
            if not inner:
                _copy_corner(spare, image, x, y)
            _empty_tile(frame, tile)
    used[0] = 0


@kernel
def resolve_depth(frame, box, patches_x, pattern, scale, spare, image):
    """Writes z (times `scale`) of blocks of 4x4 pixels, one sample each, to `image` (float32 `[h w]`, zero before).

    Arguments as above; `spare` is float32 `[4 4]`. `frame` is empty then.
    """
    height, width = image.shape
    for tile_y in range(box[2] // at.TILE, box[3] // at.TILE + 1):
        for tile_x in range(box[0] // at.TILE, box[1] // at.TILE + 1):
            tile = tile_number(tile_x, tile_y, patches_x)
            touched = bits(load(frame[2], tile * LANES) > splat(_ZERO))
            while touched:
                number = trailing_zeros(touched)
                touched &= touched - 1
                block_x, block_y = at.TILE * tile_x + number % at.TILE, at.TILE * tile_y + number // at.TILE
                xs = load(pattern, at.SAMPLES_X) + np.float32(block_x)
                ys = load(pattern, at.SAMPLES_Y) + np.float32(block_y)
                w, _ = samples_of(frame, tile * LANES + number, xs, ys)
                z = select(w > splat(_ZERO), splat(scale) / w, splat(_ZERO))
                x, y = 4 * block_x, 4 * block_y
                if x + 4 <= width and y + 4 <= height:
                    store_square(image, y * width + x, width, z)
                else:
                    store_square(spare, 0, 4, z)
                    _copy_corner(spare, image, x, y)
            _empty_tile(frame, tile)
    frame[5][0] = 0


@inlined
def _copy_corner(spare, image, x, y):
    """Copies to `image` what of a tile at its edge lies in it."""
    for row in range(min(len(spare), image.shape[0] - y)):
        for column in range(min(len(spare), image.shape[1] - x)):
            image[y + row, x + column] = spare[row, column]
