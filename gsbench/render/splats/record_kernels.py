"""From projected Gaussians to one record each, a cache line that tiles read, and gradients back again, 16 at a time."""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import math

import numpy as np
from numba import njit

from gsbench.render.simd16_kernels import WIDTH, bits, load, maximum, minimum, splat, sqrt, store, trailing_zeros
from gsbench.render.splats import layout as at
from gsbench.render.splats.block_kernels import scaled_in_double, transpose

ALPHA_MIN = 1 / 255
_LOG2_E = math.log2(math.e)
_LOG_255 = math.log(255)
# Half extents beyond this many pixels (overflow, as a rule) count as not in view: no integer holds their tiles.
_EXTENT_MAX = 1e9
# Rounding must take no tile away.
_MARGIN = 1 + 1e-5


@njit(cache=True, error_model="numpy")
def make_records(projected, width, height, records, order):
    """Writes a record for every Gaussian, lists in `order` those that reach the image, and returns their number."""
    n = projected.shape[1]
    tiles_x, tiles_y = (width + at.TILE - 1) // at.TILE, (height + at.TILE - 1) // at.TILE
    projected, records = projected.ravel(), records.ravel()
    fields = np.zeros(at.RECORD * WIDTH, np.float32)
    count = 0
    for i in range(0, n, WIDTH):
        visible = bits(load(projected, at.ALPHA * n + i) >= ALPHA_MIN)
        reach = _fill_opacities(projected, n, i, visible, fields)
        x, y = load(projected, at.X * n + i), load(projected, at.Y * n + i)
        half_x = sqrt(reach * load(projected, at.VAR_X * n + i)) * _MARGIN
        half_y = sqrt(reach * load(projected, at.VAR_Y * n + i)) * _MARGIN
        visible &= bits((half_x < _EXTENT_MAX) & (half_y < _EXTENT_MAX))
        visible &= bits((x + half_x > 0.0) & (x - half_x < splat(width)))
        visible &= bits((y + half_y > 0.0) & (y - half_y < splat(height)))
        _fill_forms(projected, n, i, fields)
        store(fields, at.R_X * WIDTH, x)
        store(fields, at.R_Y * WIDTH, y)
        zero = splat(0.0)
        store(fields, at.R_LEFT * WIDTH, maximum((x - half_x) * (1 / at.TILE), zero))
        store(fields, at.R_TOP * WIDTH, maximum((y - half_y) * (1 / at.TILE), zero))
        store(fields, at.R_RIGHT * WIDTH, minimum((x + half_x) * (1 / at.TILE) + 1.0, splat(tiles_x)))
        store(fields, at.R_BOTTOM * WIDTH, minimum((y + half_y) * (1 / at.TILE) + 1.0, splat(tiles_y)))
        transpose(fields, 0, WIDTH, records, i * at.RECORD, at.RECORD)
        while visible != 0:
            order[count] = i + trailing_zeros(visible)
            visible &= visible - 1
            count += 1
    return count


@njit(forceinline=True)
def _fill_opacities(projected, n, i, visible, fields):
    """Writes log2(opacity) of the visible; returns the squared Mahalanobis radius where alpha falls to 1/255."""
    place = at.R_LEFT * WIDTH
    while visible != 0:
        lane = trailing_zeros(visible)
        visible &= visible - 1
        reach = 2 * math.log(255 * projected[at.ALPHA * n + i + lane])
        fields[at.R_LOG * WIDTH + lane] = (0.5 * reach - _LOG_255) * _LOG2_E
        fields[place + lane] = reach
    return load(fields, place)


@njit(forceinline=True)
def _fill_forms(projected, n, i, fields):
    a, b, c = (
        load(projected, at.CONIC_A * n + i),
        load(projected, at.CONIC_B * n + i),
        load(projected, at.CONIC_C * n + i),
    )
    store(fields, at.R_A * WIDTH, scaled_in_double(a, -0.5 * _LOG2_E))
    store(fields, at.R_B * WIDTH, scaled_in_double(b, -_LOG2_E))
    store(fields, at.R_C * WIDTH, scaled_in_double(c, -0.5 * _LOG2_E))
    store(fields, at.R_RIDGE_X * WIDTH, -b / a)
    store(fields, at.R_RIDGE_Y * WIDTH, -b / c)
    for channel in range(3):
        store(fields, (at.R_RED + channel) * WIDTH, load(projected, (at.RED + channel) * n + i))
    store(fields, at.R_DEPTH * WIDTH, load(projected, at.DEPTH * n + i))


@njit(forceinline=True)
def fill_derivatives(moments, projected, n, i, fields, derivatives):
    """Writes the 16 Gaussians' derivatives by position, conic, log(opacity), colour and depth, 16 lanes each.

    `moments` is flat; `fields` is room for 16 of its rows.
    """
    transpose(moments, i * at.RECORD, at.RECORD, fields, 0, WIDTH)
    a, b, c = (
        load(projected, at.CONIC_A * n + i),
        load(projected, at.CONIC_B * n + i),
        load(projected, at.CONIC_C * n + i),
    )
    mx, my = load(fields, at.M_X * WIDTH), load(fields, at.M_Y * WIDTH)
    store(derivatives, at.D_X * WIDTH, a * mx + b * my)
    store(derivatives, at.D_Y * WIDTH, b * mx + c * my)
    store(derivatives, at.D_CONIC_A * WIDTH, -0.5 * load(fields, at.M_XX * WIDTH))
    store(derivatives, at.D_CONIC_B * WIDTH, -load(fields, at.M_XY * WIDTH))
    store(derivatives, at.D_CONIC_C * WIDTH, -0.5 * load(fields, at.M_YY * WIDTH))
    store(derivatives, at.D_LOG_ALPHA * WIDTH, load(fields, at.M_ONE * WIDTH))
    for channel in range(3):
        store(derivatives, (at.D_RED + channel) * WIDTH, load(fields, (at.M_RED + channel) * WIDTH))
    store(derivatives, at.D_DEPTH * WIDTH, load(fields, at.M_DEPTH * WIDTH))
