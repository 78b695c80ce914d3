"""Gaussians to the image plane and back, 16 at a time: EWA projection, antialiasing, and their gradients.

Sources: Zwicker 2001 and Kerbl 2023 for the projection, Yu 2024 (Mip-Splatting) for the antialiasing, gsplat 1.5.3 for
the constants; the gradients are our own. Arrays as in `gsbench.render.splats.layout`.
"""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import numpy as np
from numba import njit

from gsbench.render.simd16_kernels import WIDTH, load, maximum, minimum, select, splat, sqrt, store
from gsbench.render.splats import layout as at
from gsbench.render.splats.record_kernels import accumulate, colors, colors_backward, fill_derivatives

NEAR_PLANE = 0.01


@njit(forceinline=True)
def _rotation(w, x, y, z):
    return (
        1.0 - 2.0 * (y * y + z * z),
        2.0 * (x * y - w * z),
        2.0 * (x * z + w * y),
        2.0 * (x * y + w * z),
        1.0 - 2.0 * (x * x + z * z),
        2.0 * (y * z - w * x),
        2.0 * (x * z - w * y),
        2.0 * (y * z + w * x),
        1.0 - 2.0 * (x * x + y * y),
    )


@njit(forceinline=True)
def _unit_quats(params, n, i):
    w, x, y, z = (
        load(params, at.QUAT * n + i),
        load(params, (at.QUAT + 1) * n + i),
        load(params, (at.QUAT + 2) * n + i),
        load(params, (at.QUAT + 3) * n + i),
    )
    inverse = 1.0 / sqrt(w * w + x * x + y * y + z * z + 1e-30)
    return w * inverse, x * inverse, y * inverse, z * inverse, inverse


@njit(forceinline=True)
def _camera_space(params, n, i, camera):
    x, y, z = load(params, i), load(params, n + i), load(params, 2 * n + i)
    return (
        x * camera[0] + y * camera[1] + z * camera[2] + camera[at.TRANSLATION],
        x * camera[3] + y * camera[4] + z * camera[5] + camera[at.TRANSLATION + 1],
        x * camera[6] + y * camera[7] + z * camera[8] + camera[at.TRANSLATION + 2],
    )


@njit(forceinline=True)
def _jacobian(x, y, z, camera):
    """The non-zero entries 00, 02, 11, 12 of the projection's Jacobian, and the clamped x/z and y/z."""
    inverse = 1.0 / z
    u = minimum(maximum(x * inverse, splat(camera[at.LIMITS])), splat(camera[at.LIMITS + 1]))
    v = minimum(maximum(y * inverse, splat(camera[at.LIMITS + 2])), splat(camera[at.LIMITS + 3]))
    j00, j11 = camera[at.FX] * inverse, camera[at.FY] * inverse
    return j00, -(j00 * u), j11, -(j11 * v), u, v, inverse


@njit(forceinline=True)
def _image_axes(j00, j02, j11, j12, camera, rotation, s0, s1, s2):
    """T = J W `[2 3]` and the standard deviations in the image, T R S `[2 3]`: the covariance is its square."""
    t00, t01, t02 = (
        j00 * camera[0] + j02 * camera[6],
        j00 * camera[1] + j02 * camera[7],
        j00 * camera[2] + j02 * camera[8],
    )
    t10, t11, t12 = (
        j11 * camera[3] + j12 * camera[6],
        j11 * camera[4] + j12 * camera[7],
        j11 * camera[5] + j12 * camera[8],
    )
    r = rotation
    a0 = (t00 * r[0] + t01 * r[3] + t02 * r[6]) * s0
    a1 = (t00 * r[1] + t01 * r[4] + t02 * r[7]) * s1
    a2 = (t00 * r[2] + t01 * r[5] + t02 * r[8]) * s2
    b0 = (t10 * r[0] + t11 * r[3] + t12 * r[6]) * s0
    b1 = (t10 * r[1] + t11 * r[4] + t12 * r[7]) * s1
    b2 = (t10 * r[2] + t11 * r[5] + t12 * r[8]) * s2
    return (t00, t01, t02, t10, t11, t12), (a0, a1, a2, b0, b1, b2)


@njit(forceinline=True)
def _covariance(axes, camera):
    """xx, xy, yy of the image covariance before the low-pass, its determinant, and the one after."""
    a0, a1, a2, b0, b1, b2 = axes
    xx, xy, yy = a0 * a0 + a1 * a1 + a2 * a2, a0 * b0 + a1 * b1 + a2 * b2, b0 * b0 + b1 * b1 + b2 * b2
    # Cauchy-Binet: a sum of squares, so that thin Gaussians lose nothing to cancellation.
    m0, m1, m2 = a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0
    det_raw = m0 * m0 + m1 * m1 + m2 * m2
    return xx, xy, yy, det_raw, det_raw + camera[at.LOW_PASS] * (xx + yy) + camera[at.LOW_PASS_SQUARED]


@njit(cache=True, error_model="numpy")
def project(params, camera, sh_degree, antialiased, projected):
    """Fills `projected` `[12, n]` for one camera; what lies behind the near plane gets opacity 0."""
    n = params.shape[1]
    basis = np.empty(16 * WIDTH, np.float32)
    for i in range(0, n, WIDTH):
        x, y, z = _camera_space(params, n, i, camera)
        in_front = z > NEAR_PLANE
        z = select(in_front, z, splat(1.0))
        w, qx, qy, qz, _ = _unit_quats(params, n, i)
        scales = (
            load(params, at.SCALE * n + i),
            load(params, (at.SCALE + 1) * n + i),
            load(params, (at.SCALE + 2) * n + i),
        )
        j00, j02, j11, j12, _, _, inverse = _jacobian(x, y, z, camera)
        _, axes = _image_axes(j00, j02, j11, j12, camera, _rotation(w, qx, qy, qz), *scales)
        xx, xy, yy, det_raw, det = _covariance(axes, camera)
        opacity = load(params, at.OPACITY * n + i)
        if antialiased:
            opacity = opacity * sqrt(det_raw / det)
        inverse_det = 1.0 / det
        store(projected, at.X * n + i, camera[at.FX] * (x * inverse) + camera[at.CX])
        store(projected, at.Y * n + i, camera[at.FY] * (y * inverse) + camera[at.CY])
        store(projected, at.CONIC_A * n + i, (yy + camera[at.LOW_PASS]) * inverse_det)
        store(projected, at.CONIC_B * n + i, -(xy * inverse_det))
        store(projected, at.CONIC_C * n + i, (xx + camera[at.LOW_PASS]) * inverse_det)
        store(projected, at.VAR_X * n + i, xx + camera[at.LOW_PASS])
        store(projected, at.VAR_Y * n + i, yy + camera[at.LOW_PASS])
        store(projected, at.ALPHA * n + i, select(in_front, opacity, splat(0.0)))
        store(projected, at.DEPTH * n + i, z)
        colors(params, n, i, camera, sh_degree, projected, basis)


@njit(cache=True, error_model="numpy")
def project_backward(params, camera, sh_degree, antialiased, projected, moments, gradients, d_params):
    """Adds the loss's derivative by `params` to `d_params`, of the `moments` `[n 16]` that the tiles return.

    Fills `gradients` `[2 n]` with the derivatives by the image positions. Moments are zero of what did not reach the
    image.
    """
    n = params.shape[1]
    moments, gradients = moments.ravel(), gradients.ravel()
    fields = np.empty(at.RECORD * WIDTH, np.float32)
    derivatives = np.empty(at.DERIVATIVES * WIDTH, np.float32)
    basis = np.empty(16 * WIDTH, np.float32)
    sums = np.empty(16 * WIDTH, np.float32)
    for i in range(0, n, WIDTH):
        fill_derivatives(moments, projected, n, i, fields, derivatives)
        store(gradients, i, load(derivatives, at.D_X * WIDTH))
        store(gradients, n + i, load(derivatives, at.D_Y * WIDTH))
        gx, gy, gz = _geometry_backward(params, n, i, camera, antialiased, projected, derivatives, d_params)
        dx, dy, dz = colors_backward(params, n, i, camera, sh_degree, projected, derivatives, d_params, basis, sums)
        dx = dx + gx * camera[0] + gy * camera[3] + gz * camera[6]
        dy = dy + gx * camera[1] + gy * camera[4] + gz * camera[7]
        dz = dz + gx * camera[2] + gy * camera[5] + gz * camera[8]
        accumulate(d_params, i, dx)
        accumulate(d_params, n + i, dy)
        accumulate(d_params, 2 * n + i, dz)


@njit(forceinline=True)
def _geometry_backward(params, n, i, camera, antialiased, projected, derivatives, d_params):
    """Position, conic, opacity and depth: adds rows 3-10 of `d_params`, returns the derivative in camera space."""
    x, y, z = _camera_space(params, n, i, camera)
    z = select(z > NEAR_PLANE, z, splat(1.0))
    w, qx, qy, qz, inverse_norm = _unit_quats(params, n, i)
    rotation = _rotation(w, qx, qy, qz)
    scales = load(params, at.SCALE * n + i), load(params, (at.SCALE + 1) * n + i), load(params, (at.SCALE + 2) * n + i)
    j00, j02, j11, j12, u, v, inverse = _jacobian(x, y, z, camera)
    t, axes = _image_axes(j00, j02, j11, j12, camera, rotation, *scales)
    d_xx, d_xy, d_yy = _conic_backward(n, i, projected, derivatives)
    d_log_opacity = load(derivatives, at.D_LOG_ALPHA * WIDTH)
    opacity = load(params, at.OPACITY * n + i)
    accumulate(d_params, at.OPACITY * n + i, select(opacity > 0.0, d_log_opacity / opacity, splat(0.0)))
    if antialiased:
        # log of the compensation = .5 log det_raw - .5 log det
        xx, xy, yy, det_raw, det = _covariance(axes, camera)
        raw = select(det_raw > 0.0, 0.5 * d_log_opacity / det_raw, splat(0.0))
        filtered = 0.5 * d_log_opacity / det
        d_xx = d_xx + raw * yy - filtered * (yy + camera[at.LOW_PASS])
        d_yy = d_yy + raw * xx - filtered * (xx + camera[at.LOW_PASS])
        d_xy = d_xy - 2.0 * (raw - filtered) * xy
    d_t = _axes_backward(params, n, i, t, axes, rotation, scales, d_xx, d_xy, d_yy, d_params, inverse_norm)
    c = camera
    d_j00, d_j02 = d_t[0] * c[0] + d_t[1] * c[1] + d_t[2] * c[2], d_t[0] * c[6] + d_t[1] * c[7] + d_t[2] * c[8]
    d_j11, d_j12 = d_t[3] * c[3] + d_t[4] * c[4] + d_t[5] * c[5], d_t[3] * c[6] + d_t[4] * c[7] + d_t[5] * c[8]
    d_x, d_y = load(derivatives, at.D_X * WIDTH), load(derivatives, at.D_Y * WIDTH)
    gx, gy = j00 * d_x, j11 * d_y
    # j00 = fx / z, j02 = -j00 u, position = j00 x + cx; u = x / z unless it is clamped.
    gz = -(inverse * (j00 * (d_j00 - u * d_j02) + j11 * (d_j11 - v * d_j12) + gx * x + gy * y))
    free_u = select(u == x * inverse, -(j00 * d_j02) * inverse, splat(0.0))
    free_v = select(v == y * inverse, -(j11 * d_j12) * inverse, splat(0.0))
    gz = gz - u * free_u - v * free_v + load(derivatives, at.D_DEPTH * WIDTH)
    return gx + free_u, gy + free_v, gz


@njit(forceinline=True)
def _conic_backward(n, i, projected, derivatives):
    """The derivative by the covariance's xx, xy, yy of that by its inverse's entries: -Q G Q."""
    a, b, c = (
        load(projected, at.CONIC_A * n + i),
        load(projected, at.CONIC_B * n + i),
        load(projected, at.CONIC_C * n + i),
    )
    da, db = load(derivatives, at.D_CONIC_A * WIDTH), load(derivatives, at.D_CONIC_B * WIDTH)
    dc = load(derivatives, at.D_CONIC_C * WIDTH)
    d_xx = -(a * a * da + a * b * db + b * b * dc)
    d_xy = -(2.0 * (a * b) * da + (a * c + b * b) * db + 2.0 * (b * c) * dc)
    d_yy = -(b * b * da + b * c * db + c * c * dc)
    return d_xx, d_xy, d_yy


@njit(forceinline=True)
def _axes_backward(params, n, i, t, axes, rotation, scales, d_xx, d_xy, d_yy, d_params, inverse_norm):
    """Adds the rows of scales and quats to `d_params`; returns the derivative by T `[2 3]`."""
    a0, a1, a2, b0, b1, b2 = axes
    da = 2.0 * d_xx * a0 + d_xy * b0, 2.0 * d_xx * a1 + d_xy * b1, 2.0 * d_xx * a2 + d_xy * b2
    db = 2.0 * d_yy * b0 + d_xy * a0, 2.0 * d_yy * b1 + d_xy * a1, 2.0 * d_yy * b2 + d_xy * a2
    t00, t01, t02, t10, t11, t12 = t
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = rotation
    # Derivative by R S, entry by entry; then by S (along R's columns) and by R.
    m00, m01, m02 = t00 * da[0] + t10 * db[0], t00 * da[1] + t10 * db[1], t00 * da[2] + t10 * db[2]
    m10, m11, m12 = t01 * da[0] + t11 * db[0], t01 * da[1] + t11 * db[1], t01 * da[2] + t11 * db[2]
    m20, m21, m22 = t02 * da[0] + t12 * db[0], t02 * da[1] + t12 * db[1], t02 * da[2] + t12 * db[2]
    s0, s1, s2 = scales
    accumulate(d_params, at.SCALE * n + i, m00 * r00 + m10 * r10 + m20 * r20)
    accumulate(d_params, (at.SCALE + 1) * n + i, m01 * r01 + m11 * r11 + m21 * r21)
    accumulate(d_params, (at.SCALE + 2) * n + i, m02 * r02 + m12 * r12 + m22 * r22)
    matrix = (m00 * s0, m01 * s1, m02 * s2, m10 * s0, m11 * s1, m12 * s2, m20 * s0, m21 * s1, m22 * s2)
    _quats_backward(params, n, i, matrix, d_params, inverse_norm)
    a0, a1, a2 = da[0] * s0, da[1] * s1, da[2] * s2
    b0, b1, b2 = db[0] * s0, db[1] * s1, db[2] * s2
    return (
        a0 * r00 + a1 * r01 + a2 * r02,
        a0 * r10 + a1 * r11 + a2 * r12,
        a0 * r20 + a1 * r21 + a2 * r22,
        b0 * r00 + b1 * r01 + b2 * r02,
        b0 * r10 + b1 * r11 + b2 * r12,
        b0 * r20 + b1 * r21 + b2 * r22,
    )


@njit(forceinline=True)
def _quats_backward(params, n, i, matrix, d_params, inverse_norm):
    """Adds the rows of the quaternions (not unit) to `d_params`, of the derivative by the rotation matrix."""
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix
    w, x, y, z, _ = _unit_quats(params, n, i)
    dw = 2.0 * (x * (m21 - m12) + y * (m02 - m20) + z * (m10 - m01))
    dx = 2.0 * (w * (m21 - m12) + y * (m01 + m10) + z * (m02 + m20) - 2.0 * x * (m11 + m22))
    dy = 2.0 * (w * (m02 - m20) + x * (m01 + m10) + z * (m12 + m21) - 2.0 * y * (m00 + m22))
    dz = 2.0 * (w * (m10 - m01) + x * (m02 + m20) + y * (m12 + m21) - 2.0 * z * (m00 + m11))
    radial = w * dw + x * dx + y * dy + z * dz
    accumulate(d_params, at.QUAT * n + i, (dw - radial * w) * inverse_norm)
    accumulate(d_params, (at.QUAT + 1) * n + i, (dx - radial * x) * inverse_norm)
    accumulate(d_params, (at.QUAT + 2) * n + i, (dy - radial * y) * inverse_norm)
    accumulate(d_params, (at.QUAT + 3) * n + i, (dz - radial * z) * inverse_norm)
