"""Images to bytes: lossless WebP by an encoder of our own, and back by Pillow."""

import io

import numpy as np
from jaxtyping import UInt8

from gsbench.store import webp_kernels
from gsbench.types import Array

_MAX_SIDE = 1 << 14


def encode_webp(image: UInt8[Array, "h w c"]) -> bytes:
    """The image as a lossless WebP file that every decoder reads; the same bytes for the same image, always.

    For renders before an empty background, at 224 and 800 pixels, it takes a quarter of the time of libwebp's method 1
    and about its bytes: half of those of libwebp's fastest method and of PNG at level 1, in less time than either.

    Args:
        image: c is 3 (sRGB) or 4 (with straight alpha), at most 16,384 pixels a side.

    Raises:
        ValueError: another number of channels, no pixels, or too many.
    """
    height, width, channels = image.shape
    if channels not in (3, 4) or not (0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE):
        raise ValueError(f"image: {list(image.shape)} (must be [h w 3] or [h w 4], 1 to {_MAX_SIDE} pixels a side)")
    file = np.empty(webp_kernels.BYTES_A_PIXEL * height * width + webp_kernels.BYTES_ASIDE, np.uint8)
    return file[: webp_kernels.encode(np.ascontiguousarray(image), file)].tobytes()


def decode_image(data: bytes) -> UInt8[Array, "h w c"]:
    """The pixels of an encoded image with the channels that it has.

    Raises:
        ValueError: no image, or a damaged one.
    """
    from PIL import Image  # takes .1 s, and most readers need none

    try:
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
            return np.asarray(image)
    except (OSError, SyntaxError) as error:  # what Pillow raises for damaged files
        raise ValueError(f"image: no WebP that can be decoded ({error})") from None
