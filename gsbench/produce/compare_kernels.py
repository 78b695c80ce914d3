"""A render of Gaussians to bytes, and how far it is from a view of the mesh over white."""

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy")
def quantize(planes, rgba, image, expected):
    """Fills `image` and `expected` `[h w 3]` uint8; returns the sum of their squared differences.

    `image` takes `planes` `[3 h w]` clipped to 0..1 and rounded, `expected` the straight-alpha `rgba` over white.
    """
    height, width, _ = rgba.shape
    total = 0
    for y in range(height):
        for x in range(width):
            alpha = np.int64(rgba[y, x, 3])
            clear = 255 * (255 - alpha)
            for c in range(3):
                value = np.int64(
                    min(max(planes[c, y, x], np.float32(0)), np.float32(1)) * np.float32(255) + np.float32(0.5)
                )
                target = (rgba[y, x, c] * alpha + clear + 127) // 255
                image[y, x, c], expected[y, x, c] = value, target
                total += (value - target) * (value - target)
    return total
