"""Views as the fit compares with them: over white, at the resolution of a stage."""

import numpy as np
from jaxtyping import UInt8

from gsbench.types import Array, Cameras, Views


def over_white(rgba: UInt8[Array, "v h w 4"]) -> UInt8[Array, "v h w 3"]:
    """Straight-alpha images over white, rounded to 8 bits."""
    alpha = rgba[..., 3:].astype(np.uint16)
    blended = rgba[..., :3] * alpha + 255 * (255 - alpha)
    return ((blended + 127) // 255).astype(np.uint8)


def box_downsample(views: Views, width: int) -> Views:
    """The views averaged over square boxes of pixels down to `width` pixels in width, cameras with them.

    Raises:
        ValueError: the box is not a whole number of pixels, or does not divide the height.
    """
    factor, remainder = divmod(views.cameras.width, width)
    if remainder or not factor or views.cameras.height % factor:
        size = f"{views.cameras.width}x{views.cameras.height}"
        raise ValueError(f"stages: resolution {width} does not divide views of {size} into whole pixels")
    if factor == 1:
        return views
    cameras = Cameras(
        views.cameras.viewmats,
        (views.cameras.Ks / np.float32([[factor], [factor], [1]])).astype(np.float32),
        width,
        views.cameras.height // factor,
    )
    boxes = views.rgba.reshape(len(views), cameras.height, factor, width, factor, 4)
    alpha = boxes[..., 3:].astype(np.uint32)
    total = alpha.sum((2, 4))
    colour = (boxes[..., :3] * alpha).sum((2, 4)) + total // 2
    rgb = np.where(total > 0, colour // np.maximum(total, 1), 0)
    rgba = np.concatenate([rgb, (total + factor**2 // 2) // factor**2], axis=-1)
    return Views(rgba.astype(np.uint8), cameras)
