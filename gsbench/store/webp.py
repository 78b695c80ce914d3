"""Images to bytes and back: lossless WebP, by Pillow."""

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from gsbench.core.parsing import InputError
from gsbench.core.types import Array

if TYPE_CHECKING:
    from PIL import Image

MAX_METHOD = 6

MAX_SIDE = 4096
"""Most pixels a side of an image that is written or read: a file of 34 bytes may ask for 16,384, a GB of memory."""


def encode_webp(image: UInt8[Array, "h w c"], method: int) -> bytes:
    """The image as a lossless WebP file; colors are kept where alpha is 0, too.

    Renders before an empty background at 224 pixels take 1.1 ms and 15.8 KB by method 0, 4.2 ms and 8.9 KB by method 1,
    25 ms and some 6 KB by method 4; PNG at level 1 takes as long as method 0, and is larger.

    Args:
        image: c is 3 (sRGB) or 4 (with straight alpha).
        method: libwebp's effort, 0 (fast) to 6 (small).

    Raises:
        InputError: a size or a number of channels that the format does not hold.
    """
    from PIL import Image  # takes .1 s, and most readers need none

    if image.ndim != 3 or image.shape[2] not in (3, 4):
        raise InputError(f"image: {list(image.shape)} (must be [h w 3] or [h w 4])")
    if not 1 <= min(image.shape[:2]) <= max(image.shape[:2]) <= MAX_SIDE:
        raise InputError(f"image: {list(image.shape)} (must have 1 to {MAX_SIDE} pixels a side)")
    buffer = io.BytesIO()
    # In lossless files `quality` is an effort, too: what more of it than this saves is not worth its time.
    Image.fromarray(np.ascontiguousarray(image)).save(
        buffer, "WEBP", lossless=True, exact=True, quality=10, method=method
    )
    return buffer.getvalue()


def decode_image(data: bytes) -> UInt8[Array, "h w c"]:
    """The pixels of an encoded image with the channels that it has.

    Raises:
        InputError: no image, or a damaged one.
    """
    with _opened(data, ["WEBP"]) as image:
        return np.asarray(image)


def decode_over_white(data: bytes, size: int | None = None) -> tuple[tuple[int, int], UInt8[Array, "h w 3"]]:
    """An encoded image before a white background, and its stored height and width.

    Args:
        data: WebP or PNG, with or without an alpha channel.
        size: height and width that it is resized to, bilinearly with antialiasing; None leaves it as it is.

    Raises:
        InputError: no image, a damaged one, or one to be resized that is not square.
    """
    from PIL import Image  # takes .1 s, and most readers need none

    with _opened(data, ["WEBP", "PNG"]) as image:
        flat = _over_white(image)
    height, width = flat.height, flat.width
    if size is not None and height != width:
        raise InputError(f"{width} x {height} pixels (must be square to be resized to {size})")
    if size not in (None, width):
        flat = flat.resize((size, size), Image.Resampling.BILINEAR)
    return (height, width), np.asarray(flat)


@contextlib.contextmanager
def _opened(data: bytes, formats: Sequence[str]) -> "Iterator[Image.Image]":
    """An encoded image, decoded; its size is read before there is memory for its pixels."""
    from PIL import Image  # takes .1 s, and most readers need none

    stated, kind = _stated_size(data), "WebP" if list(formats) == ["WEBP"] else "image"
    if stated is None:
        raise InputError(f"no {kind} that can be decoded (must be {' or '.join(formats)})")
    if max(stated) > MAX_SIDE:
        raise InputError(f"{stated[0]} x {stated[1]} pixels (at most {MAX_SIDE} a side)")
    try:
        with Image.open(io.BytesIO(data), formats=list(formats)) as image:
            if image.size != stated:
                raise InputError(f"{image.width} x {image.height} pixels, and {stated[0]} x {stated[1]} in its head")
            image.load()
            yield image
    except InputError:
        raise
    # What Pillow and the libraries below it raise for damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, OverflowError, struct.error, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"no {kind} that can be decoded ({reason[:120]})") from None


def _stated_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the head of a WebP (RFC 9649) or PNG file; None if it is neither."""
    head = data[:30].ljust(30, b"\0")
    if head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR":
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[12:16] == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def _over_white(image: "Image.Image") -> "Image.Image":
    if image.mode == "RGB":
        return image
    from PIL import Image

    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    flat = Image.new("RGB", image.size, (255, 255, 255))
    flat.paste(rgba, mask=rgba.getchannel("A"))
    return flat


def over_white(rgba: UInt8[Array, "h w 4"]) -> UInt8[Array, "h w 3"]:
    """An image of straight alpha over white, rounded to 8 bits."""
    rgb, alpha = rgba[..., :3].astype(np.uint16), rgba[..., 3:].astype(np.uint16)
    return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
