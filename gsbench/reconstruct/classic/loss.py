"""The published loss on CPU."""

import numpy as np
from jaxtyping import Float32, UInt8

from gsbench.core.image_kernels import REACH
from gsbench.core.types import Array
from gsbench.reconstruct.classic.loss_kernels import loss_gradient
from gsbench.render.simd16_kernels import WIDTH
from gsbench.render.splats import layout
from gsbench.render.splats.cpu import padded


class ImageLoss:
    """The loss's derivative by images of one size; owns its buffers and reuses them."""

    def __init__(self, width: int, height: int):
        self._width, self._height = width, height
        framed = (height + 2 * REACH, padded(width) + 2 * WIDTH)
        self._moments, self._slopes = (np.zeros((maps, *framed), np.float32) for maps in (4, 3))
        self._rows = np.zeros((4, framed[1]), np.float32)
        self._d_planes = np.zeros((layout.PLANES, padded(height), padded(width)), np.float32)

    def gradient(
        self, planes: Float32[Array, "5 h w"], target: UInt8[Array, "4 h w"], ssim_weight: float
    ) -> Float32[Array, "5 h w"]:
        """The derivative of (1 - s) L1 + s (1 - SSIM) by the planes' colours; the next call overwrites it.

        Args:
            planes: as `Workspace.composite` fills them, padded to whole tiles.
            target: the colours to reach in 0..255; its alpha is not used.
            ssim_weight: s.
        """
        loss_gradient(
            *(planes, target, self._width, self._height, ssim_weight),
            *(self._moments, self._slopes, self._rows, self._d_planes),
        )
        return self._d_planes
