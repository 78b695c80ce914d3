"""From projected Gaussians to one record each, a cache line that tiles read, and gradients back again, 16 at a time."""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import math

import numpy as np
from numba import njit

from gsbench.render.simd16_kernels import (
    WIDTH,
    bits,
    fma,
    load,
    maximum,
    minimum,
    select,
    splat,
    sqrt,
    store,
    trailing_zeros,
)
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
    """Writes the 16 Gaussians' derivatives by position, conic, log(opacity), color and depth, 16 lanes each.

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


@njit(forceinline=True)
def _directions(params, n, i, camera):
    x, y, z = (
        load(params, i) - camera[at.CENTER],
        load(params, n + i) - camera[at.CENTER + 1],
        load(params, 2 * n + i) - camera[at.CENTER + 2],
    )
    inverse = 1.0 / sqrt(x * x + y * y + z * z + 1e-30)
    return x * inverse, y * inverse, z * inverse, inverse


@njit(forceinline=True)
def colors(params, n, i, camera, sh_degree, projected, basis):
    """Writes the color rows of `projected` for the 16 Gaussians from `i` on; `basis` is room for 16 coefficients."""
    dx, dy, dz, _ = _directions(params, n, i, camera)
    _fill_basis(basis, sh_degree, dx, dy, dz)
    for channel in range(3):
        color = splat(0.5)
        for k in range((sh_degree + 1) ** 2):
            color = fma(load(params, (at.SH + 3 * k + channel) * n + i), load(basis, k * WIDTH), color)
        store(projected, (at.RED + channel) * n + i, maximum(color, splat(0.0)))


@njit(forceinline=True)
def _fill_basis(basis, degree, x, y, z):
    """Writes the spherical harmonics of unit directions into `basis`, 16 lanes a coefficient."""
    store(basis, 0, splat(0.28209479177387814))
    if degree >= 1:
        store(basis, 1 * WIDTH, -0.48860251190291987 * y)
        store(basis, 2 * WIDTH, 0.48860251190291987 * z)
        store(basis, 3 * WIDTH, -0.48860251190291987 * x)
    if degree >= 2:
        xx, yy, zz = x * x, y * y, z * z
        store(basis, 4 * WIDTH, 1.0925484305920792 * (x * y))
        store(basis, 5 * WIDTH, -1.0925484305920792 * (y * z))
        store(basis, 6 * WIDTH, 0.94617469575756 * zz - 0.31539156525252)
        store(basis, 7 * WIDTH, -1.0925484305920792 * (x * z))
        store(basis, 8 * WIDTH, 0.5462742152960395 * (xx - yy))
        if degree >= 3:
            ring = -0.4570457994644658 * (5.0 * zz - 1.0)
            store(basis, 9 * WIDTH, -0.5900435899266435 * (y * (3.0 * xx - yy)))
            store(basis, 10 * WIDTH, 2.890611442640554 * (x * y * z))
            store(basis, 11 * WIDTH, ring * y)
            store(basis, 12 * WIDTH, 0.3731763325901154 * (z * (5.0 * zz - 3.0)))
            store(basis, 13 * WIDTH, ring * x)
            store(basis, 14 * WIDTH, 1.445305721320277 * (z * (xx - yy)))
            store(basis, 15 * WIDTH, -0.5900435899266435 * (x * (xx - 3.0 * yy)))


@njit(forceinline=True)
def _basis_gradient(s, degree, x, y, z):
    """The derivative by direction of sum_k s_k Y_k, where `s` holds 16 lanes a coefficient; degree is 1 to 3."""
    s1, s2, s3 = load(s, 1 * WIDTH), load(s, 2 * WIDTH), load(s, 3 * WIDTH)
    gx, gy, gz = -0.48860251190291987 * s3, -0.48860251190291987 * s1, 0.48860251190291987 * s2
    if degree >= 2:
        xy, yz, xz = 1.0925484305920792 * load(s, 4 * WIDTH), load(s, 5 * WIDTH), load(s, 7 * WIDTH)
        yz, xz = -1.0925484305920792 * yz, -1.0925484305920792 * xz
        zz, difference = 1.89234939151512 * load(s, 6 * WIDTH), 1.092548430592079 * load(s, 8 * WIDTH)
        gx = gx + xy * y + xz * z + difference * x
        gy = gy + xy * x + yz * z - difference * y
        gz = gz + yz * y + zz * z + xz * x
    if degree >= 3:
        c9, c15 = -0.5900435899266435 * load(s, 9 * WIDTH), -0.5900435899266435 * load(s, 15 * WIDTH)
        c10, c12 = 2.890611442640554 * load(s, 10 * WIDTH), 0.3731763325901154 * load(s, 12 * WIDTH)
        c11, c13 = -0.4570457994644658 * load(s, 11 * WIDTH), -0.4570457994644658 * load(s, 13 * WIDTH)
        c14 = 1.445305721320277 * load(s, 14 * WIDTH)
        xx, yy, zz = x * x, y * y, z * z
        ring, saddle = 5.0 * zz - 1.0, xx - yy
        gx = gx + 6.0 * (c9 * (x * y)) + c10 * (y * z) + c13 * ring + 2.0 * (c14 * (x * z)) + 3.0 * (c15 * saddle)
        gy = gy + 3.0 * (c9 * saddle) + c10 * (x * z) + c11 * ring - 2.0 * (c14 * (y * z)) - 6.0 * (c15 * (x * y))
        gz = gz + c10 * (x * y) + 10.0 * (z * (c11 * y + c13 * x)) + c12 * (15.0 * zz - 3.0) + c14 * saddle
    return gx, gy, gz


@njit(forceinline=True)
def accumulate(array, index, value):
    """Adds 16 floats at flat position `index` of a contiguous float32 array."""
    store(array, index, load(array, index) + value)


@njit(forceinline=True)
def colors_backward(params, n, i, camera, sh_degree, projected, derivatives, d_params, basis, sums):
    """The color's part of `project_backward`: writes the at.SH rows, returns the derivative by the mean."""
    dx, dy, dz, inverse = _directions(params, n, i, camera)
    _fill_basis(basis, sh_degree, dx, dy, dz)
    zero = splat(0.0)
    # A channel that the clamp at 0 holds passes nothing on.
    d_red = select(load(projected, at.RED * n + i) > 0.0, load(derivatives, at.D_RED * WIDTH), zero)
    d_green = select(load(projected, (at.RED + 1) * n + i) > 0.0, load(derivatives, (at.D_RED + 1) * WIDTH), zero)
    d_blue = select(load(projected, (at.RED + 2) * n + i) > 0.0, load(derivatives, (at.D_RED + 2) * WIDTH), zero)
    for k in range((sh_degree + 1) ** 2):
        value = load(basis, k * WIDTH)
        row = (at.SH + 3 * k) * n + i
        store(d_params, row, fma(value, d_red, load(d_params, row)))
        store(d_params, row + n, fma(value, d_green, load(d_params, row + n)))
        store(d_params, row + 2 * n, fma(value, d_blue, load(d_params, row + 2 * n)))
        if k > 0:
            mixed = fma(load(params, row), d_red, load(params, row + n) * d_green)
            store(sums, k * WIDTH, fma(load(params, row + 2 * n), d_blue, mixed))
    if sh_degree == 0:
        return zero, zero, zero
    gx, gy, gz = _basis_gradient(sums, sh_degree, dx, dy, dz)
    radial = gx * dx + gy * dy + gz * dz
    return (gx - radial * dx) * inverse, (gy - radial * dy) * inverse, (gz - radial * dz) * inverse
