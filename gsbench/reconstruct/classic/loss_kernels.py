"""The published loss's derivative by the image: mean absolute difference and structural similarity (Wang 2004).

The similarity's window is an 11x11 Gaussian of sigma 1.5 that sees zeros beyond the border. With m, v, q and p the
windowed means of x, y, x^2 + y^2 and x y, S = (2 m v + C1)(2 p - 2 m v + C2) / ((m^2 + v^2 + C1)(q - m^2 - v^2 + C2)).
The window is symmetric: the derivative by x of the sum of S is w * dS/dm + y (w * dS/dp) + 2 x (w * dS/dq).
"""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import math

from numba import njit

from gsbench.core.image_kernels import REACH, SIGMA
from gsbench.render.simd16_kernels import WIDTH, iota, load, load_bytes, select, splat, store

_C1, _C2 = 0.01**2, 0.03**2
# The middle tap, then those at distance 1 to 5.
_TAPS = tuple(math.exp(-(i**2) / (2 * SIGMA**2)) for i in range(REACH + 1))
_TAPS = tuple(tap / (2 * sum(_TAPS) - _TAPS[0]) for tap in _TAPS)


@njit(forceinline=True)
def _window(array, place, step):
    """The window along one axis of `array`, whose pixels lie `step` apart, about 16 pixels from `place` on."""
    return (
        _TAPS[0] * load(array, place)
        + _TAPS[1] * (load(array, place - step) + load(array, place + step))
        + _TAPS[2] * (load(array, place - 2 * step) + load(array, place + 2 * step))
        + _TAPS[3] * (load(array, place - 3 * step) + load(array, place + 3 * step))
        + _TAPS[4] * (load(array, place - 4 * step) + load(array, place + 4 * step))
        + _TAPS[5] * (load(array, place - 5 * step) + load(array, place + 5 * step))
    )


@njit(cache=True, error_model="numpy")
def loss_gradient(planes, target, width, height, ssim_weight, moments, slopes, rows, d_planes):
    """Fills the colors of `d_planes` `[5 h w]` with the derivative by `planes` of (1 - s) L1 + s (1 - SSIM).

    Both terms are means over the `height` x `width` pixels and three channels; `target` `[4 h w]` is uint8. All three
    are padded to whole tiles, `d_planes` stays 0 there. `moments` `[4 h+10 w+32]`, `slopes` `[3 h+10 w+32]` and `rows`
    `[4 w+32]` are room, framed by zeros that stay.
    """
    stride, plane = planes.shape[2], planes.shape[1] * planes.shape[2]
    image, wanted, derivative = planes.ravel(), target.ravel(), d_planes.ravel()
    maps, gradients, lines = moments.ravel(), slopes.ravel(), rows.ravel()
    share = 1 / (3 * height * width)
    for channel in range(3):
        _fill_moments(image, wanted, channel * plane, stride, width, height, maps, moments.shape)
        _fill_slopes(maps, moments.shape, width, height, ssim_weight * share, lines, gradients)
        for row in range(height):
            _down(gradients, moments.shape, 3, row, width, lines)
            for column in range(0, width, WIDTH):
                place = channel * plane + row * stride + column
                x, y = load(image, place), load_bytes(wanted, place) * (1 / 255)
                by_mean, by_product, by_squares = _across(lines, moments.shape[2], column)
                absolute = (1 - ssim_weight) * share
                slope = select(x > y, splat(absolute), select(x < y, splat(-absolute), splat(0.0)))
                slope = slope + by_mean + y * by_product + 2.0 * (x * by_squares)
                store(derivative, place, select(iota() < splat(width - column), slope, splat(0.0)))


@njit(forceinline=True)
def _fill_moments(image, wanted, first, stride, width, height, maps, shape):
    """x, y, x^2 + y^2 and x y of one channel."""
    size = shape[1] * shape[2]
    for row in range(height):
        for column in range(0, width, WIDTH):
            inside = iota() < splat(width - column)
            place = first + row * stride + column
            x = select(inside, load(image, place), splat(0.0))
            y = select(inside, load_bytes(wanted, place) * (1 / 255), splat(0.0))
            to = (row + REACH) * shape[2] + WIDTH + column
            store(maps, to, x)
            store(maps, to + size, y)
            store(maps, to + 2 * size, x * x + y * y)
            store(maps, to + 3 * size, x * y)


@njit(forceinline=True)
def _down(maps, shape, count, row, width, lines):
    """The window along the columns of `count` maps, at one row."""
    size = shape[1] * shape[2]
    for index in range(count):
        place, to = index * size + (row + REACH) * shape[2], index * shape[2]
        for column in range(WIDTH, WIDTH + width, WIDTH):
            store(lines, to + column, _window(maps, place + column, shape[2]))


@njit(forceinline=True)
def _across(lines, stride, column):
    """The window along the first three lines, at 16 pixels."""
    place = WIDTH + column
    return _window(lines, place, 1), _window(lines, place + stride, 1), _window(lines, place + 2 * stride, 1)


@njit(forceinline=True)
def _fill_slopes(maps, shape, width, height, weight, lines, gradients):
    """The derivative of `weight` times the sum of 1 - S over all pixels by m, p and q."""
    size = shape[1] * shape[2]
    for row in range(height):
        _down(maps, shape, 4, row, width, lines)
        for column in range(0, width, WIDTH):
            m, v, q = _across(lines, shape[2], column)
            p = _window(lines, 3 * shape[2] + WIDTH + column, 1)
            a1, a2 = 2.0 * (m * v) + _C1, 2.0 * (p - m * v) + _C2
            b1, b2 = m * m + v * v + _C1, q - (m * m + v * v) + _C2
            inverse = 1.0 / (b1 * b2)
            similarity = a1 * a2 * inverse
            scale = select(iota() < splat(width - column), splat(-weight), splat(0.0))
            to = (row + REACH) * shape[2] + WIDTH + column
            by_mean = 2.0 * ((a2 - a1) * inverse * v + similarity * m * ((b1 - b2) * inverse))
            store(gradients, to, scale * by_mean)
            store(gradients, to + size, scale * (2.0 * (a1 * inverse)))
            store(gradients, to + 2 * size, -(scale * (similarity * b1 * inverse)))
