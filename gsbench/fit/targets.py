"""Views as the fit compares with them: over white, at the resolution of a stage."""

import numpy as np
from jaxtyping import Int32, UInt8

from gsbench.fit.target_kernels import fill_targets
from gsbench.parsing import InputError
from gsbench.types import Array, Cameras, Views


def target_planes(views: Views, width: int, multiple: int = 1) -> UInt8[Array, "v 4 h w"]:
    """Colour over white and alpha, plane by plane, box-averaged down to `width` pixels in width.

    Height and width are then padded with zeros to a multiple of `multiple`.

    Raises:
        InputError: the box is not a whole number of pixels, or does not divide the height.
    """
    factor = _box(views.cameras, width)
    height = views.cameras.height // factor
    planes = np.zeros((len(views), 4, -(-height // multiple) * multiple, -(-width // multiple) * multiple), np.uint8)
    fill_targets(pixel_words(views), factor, planes)
    return planes


def pixel_words(views: Views) -> Int32[Array, "v h w"]:
    """The pixels as the kernels take them: alpha in the highest byte of a word, red in the lowest."""
    return np.ascontiguousarray(views.rgba).view("<i4")[..., 0]


def scaled_cameras(cameras: Cameras, width: int) -> Cameras:
    """The cameras of the views box-averaged down to `width` pixels in width; InputError as `target_planes`."""
    factor = _box(cameras, width)
    Ks = (cameras.Ks / np.array([[factor], [factor], [1]])).astype(np.float32)
    return Cameras(cameras.viewmats, Ks, width, cameras.height // factor)


def _box(cameras: Cameras, width: int) -> int:
    factor, remainder = divmod(cameras.width, width)
    if remainder or not factor or cameras.height % factor:
        size = f"{cameras.width}x{cameras.height}"
        raise InputError(f"stages: resolution {width} does not divide views of {size} into whole pixels")
    return factor
