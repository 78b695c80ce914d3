"""From raw parameters to activated ones, and Adam on the raw ones. Rows as in `gsbench.render.splats.layout`.

Raw scales are logarithms and raw opacities logits; all other rows are the same activated.
"""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

from numba import njit

from gsbench.render.simd16_kernels import WIDTH, exp2, fma, load, maximum, minimum, splat, sqrt, store
from gsbench.render.splats import layout as at

_LOG2_E = 1.4426950408889634


@njit(forceinline=True)
def _exp(x):
    return exp2(minimum(maximum(x * _LOG2_E, splat(-80.0)), splat(80.0)))


@njit(cache=True, error_model="numpy")
def activate(raw, params):
    """Fills `params` `[11 + 3 k, n]` with the activated `raw`."""
    n = raw.shape[1]
    flat_raw, flat = raw.ravel(), params.ravel()
    for row in range(raw.shape[0]):
        for i in range(row * n, (row + 1) * n, WIDTH):
            store(flat, i, _activated(load(flat_raw, i), row))


@njit(forceinline=True)
def _activated(value, row):
    if at.SCALE <= row < at.OPACITY:
        value = _exp(value)
    elif row == at.OPACITY:
        value = 1.0 / (1.0 + _exp(-value))
    return value


@njit(cache=True, error_model="numpy")
def adam(raw, params, d_params, first, second, rates, beta_2, step):
    """One step (counted from 1) of Adam with betas .9 and `beta_2` on `raw`, and on `params`, the same activated.

    `rates` is one a row; rows of rate 0 stay as they are. Zeroes `d_params`.
    """
    n = raw.shape[1]
    correction_1, correction_2 = 1 / (1 - 0.9**step), 1 / (1 - beta_2**step)
    flat_raw, flat, flat_d = raw.ravel(), params.ravel(), d_params.ravel()
    flat_first, flat_second = first.ravel(), second.ravel()
    for row in range(raw.shape[0]):
        rate = rates[row] * correction_1
        if rate == 0:
            continue
        for i in range(row * n, (row + 1) * n, WIDTH):
            gradient = load(flat_d, i)
            if at.SCALE <= row < at.OPACITY:
                gradient = gradient * load(flat, i)
            elif row == at.OPACITY:
                opacity = load(flat, i)
                gradient = gradient * (opacity * (1.0 - opacity))
            mean = fma(0.9, load(flat_first, i), 0.1 * gradient)
            square = fma(beta_2, load(flat_second, i), (1 - beta_2) * (gradient * gradient))
            store(flat_first, i, mean)
            store(flat_second, i, square)
            store(flat_d, i, splat(0.0))
            value = load(flat_raw, i) - rate * mean / (sqrt(correction_2 * square) + 1e-15)
            store(flat_raw, i, value)
            store(flat, i, _activated(value, row))
