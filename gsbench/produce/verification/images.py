"""What must hold for images and their cameras, on one table at a time: by the images' heads, without decoding them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int64, UInt8

from gsbench.core.types import Array
from gsbench.store.arrays import ragged
from gsbench.store.values import Finding, first_row

_ORTHONORMAL_TOLERANCE = 1e-4
_HEAD_BYTES = 25


def check_views(table: pa.Table) -> Iterator[Finding]:
    """Checks the config `views`."""
    yield from _check_pictures(table, alpha=True)


def check_reconstructions(table: pa.Table) -> Iterator[Finding]:
    """Checks the config `reconstructions`."""
    yield from _check_pictures(table, alpha=False)


def _check_pictures(table: pa.Table, alpha: bool) -> Iterator[Finding]:
    viewmats = ragged(table["viewmat"], (4,))[0].reshape(-1, 4, 4).astype(np.float64)
    rotations = viewmats[:, :3, :3]
    skew = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max((1, 2)) > _ORTHONORMAL_TOLERANCE
    rigid = ~skew & (np.linalg.det(rotations) > 0) & (viewmats[:, 3] == [0, 0, 0, 1]).all(1)
    yield from first_row(~rigid, "viewmat", "is not a rotation and a translation")
    heads = read_heads(table)
    yield from first_row(~heads.whole, "image", "is no lossless WebP, or cut off")
    wanted, other = ("RGBA", "RGB") if alpha else ("RGB", "RGBA")
    yield from first_row(heads.whole & (heads.alpha != alpha), "image", f"is {other} (must be {wanted})")
    # One camera rig takes all pictures of a data set.
    first = f"{heads.width[0]}x{heads.height[0]}"
    odd = heads.whole & ((heads.width != heads.width[0]) | (heads.height != heads.height[0]))
    yield from first_row(odd, "image", f"differs in size from {first}")
    K = ragged(table["K"], (3,))[0].reshape(-1, 3, 3)
    zeros = (K[:, 0, 1] == 0) & (K[:, 1, 0] == 0) & (K[:, 2] == [0, 0, 1]).all(1)
    inside = (K[:, 0, 2] > 0) & (K[:, 0, 2] < heads.width) & (K[:, 1, 2] > 0) & (K[:, 1, 2] < heads.height)
    sane = zeros & inside & (K[:, 0, 0] > 0) & (K[:, 1, 1] > 0)
    yield from first_row(heads.whole & ~sane, "K", "is no pinhole camera whose centre lies in the image")


class Heads(NamedTuple):
    """What the first bytes of images say.

    Attributes:
        whole: `[b]` whether it is a lossless WebP of the length that it states; else the rest means nothing.
        width: `[b]` pixels.
        height: `[b]` pixels.
        alpha: `[b]` whether it has an alpha channel.
    """

    whole: Bool[Array, " b"]
    width: Int64[Array, " b"]
    height: Int64[Array, " b"]
    alpha: Bool[Array, " b"]


def read_heads(table: pa.Table) -> Heads:
    """Reads the heads of all images of a table (RFC 9649, sections 2.4, 2.6 and 3.4)."""
    encoded = table["image"].combine_chunks().field("bytes")
    offsets = np.frombuffer(encoded.buffers()[1], np.int32)[encoded.offset :][: len(encoded) + 1].astype(np.int64)
    data = np.frombuffer(encoded.buffers()[2] or b"", np.uint8)
    lengths = np.diff(offsets)
    head = np.zeros((len(encoded), _HEAD_BYTES), np.uint8)
    long = np.flatnonzero(lengths >= _HEAD_BYTES)
    head[long] = data[offsets[long, None] + np.arange(_HEAD_BYTES)]
    marked = np.ones(len(head), np.bool_)
    for at, mark in ((0, b"RIFF"), (8, b"WEBP"), (12, b"VP8L"), (20, b"\x2f")):
        marked &= (head[:, at : at + len(mark)] == np.frombuffer(mark, np.uint8)).all(1)
    size = _little_endian(head[:, 21:25])
    return Heads(
        whole=marked & (_little_endian(head[:, 4:8]) + 8 == lengths) & (size >> 29 == 0),
        width=(size & 0x3FFF) + 1,
        height=(size >> 14 & 0x3FFF) + 1,
        alpha=(size >> 28 & 1).astype(np.bool_),
    )


def _little_endian(digits: UInt8[Array, "b 4"]) -> Int64[Array, " b"]:
    return digits.astype(np.int64) @ (1 << 8 * np.arange(4))
