"""A few objects looked at with care: their Gaussians rendered again, and the renders scored again."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int64, UInt8

from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Cameras, Gaussians
from gsbench.store.arrays import gaussians_of, ragged
from gsbench.store.schema import IMAGE_CONFIGS, Schema
from gsbench.store.values import Finding, first_row
from gsbench.store.webp import decode_image, over_white

SAMPLED = 256
"""About how many objects are looked at."""

# Renders by another processor or a GPU differ in single gray levels; other conventions give below 30 dB.
_LEAST_LIKENESS = 40.0
_PSNR_TOLERANCE = 0.02
# Of one view, which may be smaller than those that scored, the PSNR is this much below that of the object at most.
_VIEWS_DIFFER = 12.0
_MATRICES = (("viewmat", 4), ("K", 3))
_NOT_GIVEN = "the stored Gaussians do not give"
_HINT = "; are they shifted, scaled, turned, or in other conventions?"


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """How the images were looked at.

    Attributes:
        rows: images in all; the head of each was read.
        decoded: how many were decoded.
        rendered: how many reconstructions were rendered again from the stored Gaussians.
        scored: how many reconstructions were compared with the view of the mesh from their camera.
    """

    rows: int = 0
    decoded: int = 0
    rendered: int = 0
    scored: int = 0


@dataclass(slots=True)
class Sample:
    """The objects that a hash of their ids picks. Tables come config by config in the order of their names.

    Attributes:
        objects: how many objects there are.
        antialiased: how the Gaussians are rendered.
        has_reconstructions: whether there are any; if not, the Gaussians are held against the views themselves.
        all_images: whether every image is decoded, not just those of the sample.
        decoded: images decoded so far.
        rendered: renders of the stored Gaussians so far.
        scored: comparisons of a reconstruction with its view so far.
    """

    objects: int
    antialiased: bool
    has_reconstructions: bool
    all_images: bool
    decoded: int = 0
    rendered: int = 0
    scored: int = 0
    _gaussians: dict[str, tuple[Gaussians, float]] = field(default_factory=dict)
    _done: set[tuple[str, str]] = field(default_factory=set)
    _unscored: dict[tuple[str, int], tuple[UInt8[Array, "h w 3"], float]] = field(default_factory=dict)

    def take(self, schema: Schema, table: pa.Table) -> Iterator[str]:
        """Looks at the next table; yields what is wrong with a row, beginning with its object's id."""
        if schema.config == "gaussians":
            self._keep_gaussians(schema, table)
        elif schema.config in IMAGE_CONFIGS:
            picked = self._pick(schema.config, table)
            for row in range(len(table)) if self.all_images else sorted(picked):
                object_id = table["object_id"][row].as_py()
                try:
                    image = decode_image(table["image"][row].as_py()["bytes"])
                except InputError as error:
                    yield f"{object_id}: {error}"
                    continue
                self.decoded += 1
                if row in picked:
                    one = table.slice(row, 1)
                    found = self._look(one, image) if schema.config == "views" else self._look_again(one, image)
                    yield from (f"{object_id}: view {one['view'][0]}: {what}" for what in found)

    def left(self) -> Iterator[str]:
        """Reconstructions of the sample whose camera is said to be of the rig, and has no view."""
        for object_id, view in self._unscored:
            yield f"reconstructions: {object_id}: view {view} is not in views"

    def _is_picked(self, object_id: str) -> bool:
        return _hash(object_id) * self.objects < SAMPLED * 2**64

    def _keep_gaussians(self, schema: Schema, table: pa.Table) -> None:
        for row, object_id in enumerate(table["object_id"].to_pylist()):
            if self._is_picked(object_id):
                gaussians = gaussians_of(table.slice(row, 1), schema)
                self._gaussians[object_id] = gaussians, table["psnr"][row].as_py()

    def _pick(self, config: str, table: pa.Table) -> set[int]:
        """The rows to look at: of a picked object a camera of each kind, by its hash; of views those to score."""
        ids = table["object_id"].to_pylist()
        if config == "views" and self.has_reconstructions:
            keys = zip(ids, table["view"].to_pylist(), strict=True)
            return {row for row, key in enumerate(keys) if key in self._unscored}
        kinds = table["cameras"].to_pylist() if config == "reconstructions" else [config] * len(ids)
        rows: dict[tuple[str, str], list[int]] = {}
        for row, key in enumerate(zip(ids, kinds, strict=True)):
            if key not in self._done and self._is_picked(key[0]):
                rows.setdefault(key, []).append(row)
        self._done |= rows.keys()
        return {own[_hash(object_id) % len(own)] for (object_id, _), own in rows.items()}

    def _look_again(self, row: pa.Table, image: UInt8[Array, "h w 3"]) -> Iterator[str]:
        """At a reconstruction."""
        from gsbench.core.image_metrics import psnr_of_bytes  # here and below, since it loads numba

        object_id = row["object_id"][0].as_py()
        if row["cameras"][0].as_py() == "train":
            self._unscored[object_id, row["view"][0].as_py()] = (image, row["psnr"][0].as_py())
        if object_id in self._gaussians:
            likeness = psnr_of_bytes(self._render(row, image), image)
            if likeness < _LEAST_LIKENESS:
                yield f"{_NOT_GIVEN} the reconstruction ({likeness:.1f} dB, at least {_LEAST_LIKENESS:.0f}){_HINT}"

    def _look(self, row: pa.Table, image: UInt8[Array, "h w 4"]) -> Iterator[str]:
        """At a view."""
        from gsbench.core.image_metrics import psnr_of_bytes

        object_id, expected = row["object_id"][0].as_py(), over_white(image)
        if not self.has_reconstructions:
            if object_id in self._gaussians:
                least = self._gaussians[object_id][1] - _VIEWS_DIFFER
                found = psnr_of_bytes(self._render(row, expected), expected)
                if found < least:
                    yield f"{_NOT_GIVEN} the view ({found:.1f} dB, at least {least:.1f} by their psnr){_HINT}"
            return
        reconstruction, stated = self._unscored.pop((object_id, row["view"][0].as_py()))
        if expected.shape != reconstruction.shape:
            yield "its reconstruction is of another size"
            return
        self.scored += 1
        if abs((found := psnr_of_bytes(reconstruction, expected)) - stated) > _PSNR_TOLERANCE:
            yield f"the reconstruction's psnr is {stated:.2f}, the images give {found:.2f}"

    def _render(self, row: pa.Table, image: UInt8[Array, "h w 3"]) -> UInt8[Array, "h w 3"]:
        from gsbench.render.splats import rasterize

        viewmats, Ks = (ragged(row[name], (side,))[0].reshape(1, side, side) for name, side in _MATRICES)
        cameras = Cameras(viewmats, Ks, image.shape[1], image.shape[0])
        gaussians, _ = self._gaussians[row["object_id"][0].as_py()]
        rgb = rasterize(gaussians, cameras, antialiased=self.antialiased).rgb[0]
        self.rendered += 1
        return (np.clip(rgb, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def _hash(object_id: str) -> int:
    return int.from_bytes(hashlib.sha256(object_id.encode()).digest()[:8])


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
    yield from first_row(heads.whole & ~sane, "K", "is no pinhole camera whose center lies in the image")


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
