"""Samples to pixels: coverage, colour and depth, the texture computed once a pixel wherever that is enough.

A pixel's colour is the mean of its covered samples, each shade(n) * mix(dark, light, t(p)). Where they lie at about one
depth, t is computed once, in the middle of the pixel at their mean 1/z, and stands for all: t is smooth, so what is
lost is of second order. Elsewhere, as where one part of an object hides another, every sample has its own.
"""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import numpy as np
from numba import njit

from gsbench.render.lanes_kernels import bits, broadcast, load, maximum, minimum, select, splat, store
from gsbench.render.lanes_sample_kernels import fma, fold_max, fold_sum, nearest, store_rgba

LANES = 16
# Rows of the scratch: samples covered, sum of their shades, of their 1/z, and of shade * t (-1: not computed).
_COUNT, _SHADE, _DEPTH, _TEXTURE = range(4)
_TINY = np.float32(1e-30)
# sin(2 pi r) for r in -1/2..1/2 as r (c0 + c1 r^2 + ...), minimax, 6e-6.
_SINE = tuple(np.float32(c) for c in (6.2830558, -41.3312143, 81.3668151, -74.4780035, 32.781399))


@njit
def _sine(turns):
    """The sine of so many turns, to 6e-6."""
    r = turns - nearest(turns)
    s = r * r
    value = fma(splat(_SINE[4]), s, splat(_SINE[3]))
    value = fma(value, s, splat(_SINE[2]))
    value = fma(value, s, splat(_SINE[1]))
    return r * fma(value, s, splat(_SINE[0]))


@njit
def _texture(x, y, w, waves):
    """t of the points at image position x, y (blocks) and 1/z w > 0."""
    z = splat(np.float32(1)) / w
    total = splat(np.float32(0))
    for wave in range(3):
        at = 4 * wave
        along = fma(broadcast(waves, at), x, fma(broadcast(waves, at + 1), y, broadcast(waves, at + 2)))
        total = total + _sine(fma(along, z, broadcast(waves, at + 3)))
    return fma(total, splat(np.float32(1 / 6)), splat(np.float32(0.5)))


@njit
def _reduce_row(frame, first, last, block_y, blocks_x, pattern, pixels, waves, thickness, sums):
    """Sums up the samples of one row of blocks, pixel by pixel, and empties it; returns whether any was covered."""
    zero, one = splat(np.float32(0)), splat(np.float32(1))
    any_covered = False
    stride = sums.shape[1]
    for block_x in range(first, last + 1):
        at = (block_y * blocks_x + block_x) * 2 * LANES
        to = (block_x - first) * pixels
        w = load(frame, at)
        covered = w > zero
        if bits(covered) == 0:
            store(sums, to, zero)
            continue
        any_covered = True
        store(frame, at, zero)
        shade = select(covered, load(frame, at + LANES), zero)
        nearest_w = fold_max(w, pixels)
        texture = splat(np.float32(-1))
        if bits(covered & (nearest_w - w > nearest_w * w * thickness)):
            x = load(pattern, 0) + np.float32(block_x)
            y = load(pattern, LANES) + np.float32(block_y)
            texture = fold_sum(shade * _texture(x, y, select(covered, w, nearest_w), waves), pixels)
        store(sums, to, fold_sum(select(covered, one, zero), pixels))
        store(sums, _SHADE * stride + to, fold_sum(shade, pixels))
        store(sums, _DEPTH * stride + to, fold_sum(w, pixels))
        store(sums, _TEXTURE * stride + to, texture)
    return any_covered


@njit
def _colour_row(count, first, block_y, centres, pixels, waves, colours, sums, packed):
    """Turns `count` sums into RGBA, straight alpha, and nothing at all where no sample is covered."""
    zero, stride = splat(np.float32(0)), sums.shape[1]
    for start in range(0, count, LANES):
        covered = load(sums, start)
        share = splat(np.float32(1)) / maximum(covered, splat(np.float32(1)))
        shade = load(sums, _SHADE * stride + start)
        w = maximum(load(sums, _DEPTH * stride + start) * share, splat(_TINY))
        x = load(centres, 0) + np.float32(first + start // pixels)
        y = load(centres, LANES) + np.float32(block_y)
        texture = load(sums, _TEXTURE * stride + start)
        texture = select(texture < zero, shade * _texture(x, y, w, waves), texture) * share
        shade = shade * share
        some = covered > zero
        red, green, blue = (
            _mix(colours, 0, shade, texture),
            _mix(colours, 1, shade, texture),
            _mix(colours, 2, shade, texture),
        )
        alpha = fma(covered, splat(np.float32(255 * pixels / 16)), splat(np.float32(0.5)))
        store_rgba(packed, start, select(some, red, zero), select(some, green, zero), select(some, blue, zero), alpha)


@njit
def _mix(colours, channel, shade, texture):
    value = fma(broadcast(colours, channel), shade, splat(np.float32(0.5)))
    return minimum(fma(broadcast(colours, 3 + channel), texture, value), splat(np.float32(255)))


@njit(cache=True, error_model="numpy")
def resolve(frame, box, blocks_x, pattern, centres, pixels, waves, colours, thickness, sums, packed, image):
    """Writes the pixels of `box` to `image` (uint32 `[h w]`, zero before) and empties `frame`."""
    side = 2 if pixels == 4 else 1
    height, width = image.shape
    first, last = box[0], box[1]
    for block_y in range(box[2], box[3] + 1):
        if not _reduce_row(frame, first, last, block_y, blocks_x, pattern, pixels, waves, thickness, sums):
            continue
        count = (last - first + 1) * pixels
        _colour_row(count, first, block_y, centres, pixels, waves, colours, sums, packed)
        for row in range(side):
            y = block_y * side + row
            if y >= height:
                break
            for x in range(first * side, min((last + 1) * side, width)):
                block = x // side - first
                image[y, x] = packed[block * pixels + row * side + x % side]


@njit(cache=True, error_model="numpy")
def resolve_depth(frame, box, blocks_x, scale, image):
    """Writes z (times `scale`) of blocks of 4x4 pixels, one sample each, to `image` `[h w]` and empties `frame`."""
    height, width = image.shape
    for block_y in range(box[2], box[3] + 1):
        for block_x in range(box[0], box[1] + 1):
            at = (block_y * blocks_x + block_x) * 2 * LANES
            for sample in range(LANES):
                y, x = 4 * block_y + sample // 4, 4 * block_x + sample % 4
                w = frame[at + sample]
                frame[at + sample] = 0
                if w > 0 and y < height and x < width:
                    image[y, x] = scale / w
