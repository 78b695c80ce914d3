"""Niantic's SPZ: Gaussians in about 20 bytes each before compression; versions 2, 3 and 4 are read, 3 is written.

Positions are fixed point numbers, to 2^-17 of the extent or to 1/8192; log scales 8 bits, from e^-10 to e^5.9 in steps
of 1/16; opacities 8 bits; DC colors 8 bits of -3.3 to 3.3; quaternions three components of 10 bits; SH 5 bits (degree
1) and 4 bits (2 and 3) of -1..1, as Niantic's encoder has them by default. y is up. In numpy, since Niantic's library
is in no package registry, and gsply unpacks a file before it looks at the sizes that it announces; version 3 is
written, since only the newest readers know 4.
Source: https://github.com/nianticlabs/spz, README.md and src/cc/load-spz.cc.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8

from gsbench.core.geometry import MAX_SH_DEGREE, sh_degree_of
from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Gaussians
from gsbench.formats.activation import from_log, to_log, unit

_MAGIC = b"NGSP"
_HEADER = struct.Struct("<4sIIBBBB")
_HEADER_4 = struct.Struct("<4sIIBBBBI12x")
_VERSIONS = (2, 3, 4)
_HAS_EXTENSIONS = 2
_COORDINATE_SYSTEM, _RUB = 0xADBE0003, 4  # an extension of Adobe's that names another frame, and the usual one
_GZIP = 16 + zlib.MAX_WBITS
# Most bytes that a file may inflate to: a few times its own, real ones twice. Gaussians take ten times those of memory.
_MAX_BYTES, _MAX_RATIO = 50_000_000, 50

_COLOR_RANGE = 0.15
_FIXED_BITS = 23  # and a sign
_MAX_FIXED = (1 << _FIXED_BITS) - 1
_EXTENT_BITS, _LEAST_BITS, _MOST_BITS = 16, 12, 24
_SH_STEPS = (8, 16)  # of 256, above degree 0: degree 1, degrees 2 and 3
_MAGNITUDE = 511  # 9 bits and a sign
_HALF_SQRT = np.sqrt(0.5)


class _Streams(NamedTuple):
    """The attributes as they are stored, one row of bytes a Gaussian, in the file's order."""

    positions: UInt8[Array, "n 9"]
    opacities: UInt8[Array, "n 1"]
    colors: UInt8[Array, "n 3"]
    scales: UInt8[Array, "n 3"]
    rotations: UInt8[Array, "n q"]
    sh: UInt8[Array, "n s"]


@dataclass(frozen=True, slots=True)
class _Header:
    version: int
    count: int
    degree: int
    fraction_bits: int
    has_extensions: bool

    def widths(self) -> tuple[int, ...]:
        """Bytes a Gaussian of each stream."""
        return (9, 1, 3, 3, 3 if self.version == 2 else 4, 3 * ((self.degree + 1) ** 2 - 1))


def read(path: Path, notify: Callable[[str], None]) -> Gaussians:
    """Reads an SPZ file, y up; InputError if it is none, truncated, or of a version that is not known."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        header, streams = _read_gzip(data, notify)
    elif data[:4] == _MAGIC:
        header, streams = _read_zstd(data, notify)
    else:
        raise InputError("not an SPZ file: it begins neither as gzip nor with NGSP")
    return _decode(header, streams)


def _parse_header(fields: Sequence[Any], num_bytes: int) -> _Header:
    """Checks the fields that all versions begin with; `num_bytes` is the size of the file."""
    magic, version, count, degree, fraction_bits, flags = fields
    if magic != _MAGIC:
        raise InputError("not an SPZ file: its gzip stream does not begin with NGSP")
    if version not in _VERSIONS:
        raise InputError(f"SPZ version {version} (allowed: {', '.join(map(str, _VERSIONS))})")
    if degree > MAX_SH_DEGREE:
        raise InputError(f"SH of degree {degree} (allowed: 0 to {MAX_SH_DEGREE})")
    if fraction_bits > _MOST_BITS:
        raise InputError(f"{fraction_bits} bits behind the point (allowed: 0 to {_MOST_BITS})")
    header = _Header(version, count, degree, fraction_bits, bool(flags & _HAS_EXTENSIONS))
    size, most = count * sum(header.widths()), max(_MAX_BYTES, _MAX_RATIO * num_bytes)
    if size > most:
        raise InputError(
            f"{count} Gaussians announced, too many for {num_bytes} bytes (they take {size}; at most {most} are read)"
        )
    return header


def _read_gzip(data: bytes, notify: Callable[[str], None]) -> tuple[_Header, _Streams]:
    """Versions 2 and 3: one gzip stream of a header and the attributes one after the other."""
    inflate = zlib.decompressobj(_GZIP)
    try:
        head = inflate.decompress(data, _HEADER.size)
        if len(head) < _HEADER.size:
            raise InputError("truncated: its header is not complete")
        header = _parse_header(_HEADER.unpack(head)[:6], len(data))
        if header.version > 3:
            raise InputError(f"SPZ version {header.version} within gzip (allowed there: 2, 3)")
        widths = header.widths()
        size = header.count * sum(widths)
        body = inflate.decompress(inflate.unconsumed_tail, max(1, size))  # zlib takes 0 for no limit
        behind = inflate.decompress(inflate.unconsumed_tail, 1)  # and checks the sum once it has seen the end
    except zlib.error as error:
        raise InputError(f"its gzip stream is damaged ({error})") from None
    if len(body) < size:
        raise InputError(f"truncated: {header.count} Gaussians announced, {len(body)} of their {size} bytes are there")
    if behind:
        notify("left out what lies behind its Gaussians")
    elif not inflate.eof:
        raise InputError("truncated: its gzip stream has no end")
    ends = np.cumsum([header.count * width for width in widths])[:-1]
    parts = np.split(np.frombuffer(body, np.uint8, size), ends)
    return header, _Streams(*(part.reshape(header.count, width) for part, width in zip(parts, widths, strict=True)))


def _read_zstd(data: bytes, notify: Callable[[str], None]) -> tuple[_Header, _Streams]:
    """Version 4: a plain header, extensions, a table of sizes, and one zstd stream an attribute."""
    import pyarrow as pa  # takes .1 s

    if 0 < (version := int.from_bytes(data[4:8], "little")) < 4:
        raise InputError(f"SPZ version {version} without gzip (allowed: versions 2 and 3 in gzip, 4 without)")
    if len(data) < _HEADER_4.size:
        raise InputError("truncated: its header is not complete")
    *fields, num_streams, table = _HEADER_4.unpack_from(data)
    header = _parse_header(fields, len(data))
    _check_extensions(data[_HEADER_4.size : table], header, notify)
    widths = [width for width in header.widths() if width]
    if num_streams != len(widths) or not _HEADER_4.size <= table <= len(data) - 16 * num_streams:
        raise InputError(f"its table of {num_streams} streams makes no sense ({len(widths)} are needed)")
    start = table + 16 * num_streams
    parts = []
    for index, width in enumerate(widths):
        packed, size = struct.unpack_from("<QQ", data, table + 16 * index)
        chunk = data[start : start + packed]
        if size != header.count * width or len(chunk) < packed:
            raise InputError(f"truncated: stream {index} does not hold {header.count} Gaussians")
        try:
            plain = pa.decompress(chunk, decompressed_size=size, codec="zstd", asbytes=True)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"stream {index} is damaged ({' '.join(str(error).split())})") from None
        if len(plain) != size:
            raise InputError(f"stream {index} is damaged ({len(plain)} of {size} bytes)")
        parts.append(np.frombuffer(plain, np.uint8).reshape(header.count, width))
        start += packed
    return header, _Streams(*parts, *[np.empty((header.count, 0), np.uint8)] * (6 - len(parts)))


def _check_extensions(records: bytes, header: _Header, notify: Callable[[str], None]) -> None:
    """Says that the extensions of a version 4 file are left out; refuses the one that changes what numbers mean."""
    if not header.has_extensions:
        return
    position = 0
    while position + 8 <= len(records):
        kind, size = struct.unpack_from("<II", records, position)
        if kind == _COORDINATE_SYSTEM and records[position + 8 : position + 12] != struct.pack("<I", _RUB):
            raise InputError("stored in another frame by SPZ_ADOBE_coordinate_system (allowed: RUB, the usual one)")
        position += 8 + size
    notify("left out the extensions of its writer")


def _decode(header: _Header, streams: _Streams) -> Gaussians:
    count, width = header.count, (header.degree + 1) ** 2 - 1
    sh = np.empty((count, 1 + width, 3), np.float32)
    sh[:, 0] = (streams.colors.astype(np.float32) / 255 - 0.5) / _COLOR_RANGE
    sh[:, 1:] = ((streams.sh.astype(np.float32) - 128) / 128).reshape(count, width, 3)
    unpack = _unpack_first_three if header.version == 2 else _unpack_smallest_three
    return Gaussians(
        (_unpack_positions(streams.positions) / (1 << header.fraction_bits)).astype(np.float32),
        unpack(streams.rotations),
        from_log(streams.scales.astype(np.float32) / 16 - 10),
        streams.opacities[:, 0].astype(np.float32) / 255,
        sh,
    )


def _unpack_positions(packed: UInt8[Array, "n 9"]) -> Float[Array, "n 3"]:
    words = np.zeros((len(packed), 3, 4), np.uint8)
    words[:, :, 1:] = packed.reshape(-1, 3, 3)
    return (words.view("<i4")[:, :, 0] >> 8).astype(np.float64)  # the shift brings the sign along


def _unpack_first_three(packed: UInt8[Array, "n 3"]) -> Float32[Array, "n 4"]:
    xyz = packed.astype(np.float64) / 127.5 - 1
    w = np.sqrt(np.maximum(0, 1 - np.square(xyz).sum(axis=1, keepdims=True)))
    return unit(np.concatenate([w, xyz], axis=1).astype(np.float32), 0)


def _unpack_smallest_three(packed: UInt8[Array, "n 4"]) -> Float32[Array, "n 4"]:
    words = np.ascontiguousarray(packed).view("<u4")
    fields = words >> np.array([20, 10, 0], np.uint32)
    small = (fields & _MAGNITUDE) * (_HALF_SQRT / _MAGNITUDE) * np.where(fields & (_MAGNITUDE + 1), -1, 1)
    quats = np.empty((len(packed), 4))
    largest = words >> 30
    others = np.arange(3) + (np.arange(3) >= largest)
    np.put_along_axis(quats, others, small, axis=1)
    rest = np.sqrt(np.maximum(0, 1 - np.square(small).sum(axis=1, keepdims=True)))
    np.put_along_axis(quats, largest.astype(np.int64), rest, axis=1)
    return unit(np.roll(quats, 1, axis=1).astype(np.float32))  # xyzw to wxyz


def encode(gaussians: Gaussians, notify: Callable[[str], None]) -> bytes:
    """The bytes of an SPZ file, version 3, of Gaussians whose y is up."""
    fraction_bits = _choose_fraction_bits(float(np.abs(gaussians.means).max()))
    logs, rest = to_log(gaussians.scales), gaussians.sh[:, 1:]
    _tell_clipped(logs, gaussians.sh, notify)
    streams = _Streams(
        _pack_positions(gaussians.means, fraction_bits),
        _to_byte(gaussians.opacities[:, None] * np.float32(255)),
        _to_byte(gaussians.sh[:, 0] * np.float32(_COLOR_RANGE * 255) + np.float32(127.5)),
        _to_byte((logs + 10) * 16),
        _pack_smallest_three(gaussians.quats),
        _pack_sh(rest),
    )
    header = _HEADER.pack(_MAGIC, 3, len(gaussians), sh_degree_of(1 + rest.shape[1]), fraction_bits, 0, 0)
    deflate = zlib.compressobj(wbits=_GZIP)  # its gzip header holds no time: same bytes each run
    body = b"".join(stream.tobytes() for stream in streams)
    return deflate.compress(header + body) + deflate.flush()


def _choose_fraction_bits(extent: float) -> int:
    """Bits behind the point: 16 of the extent, or Niantic's fixed 12 if those are finer, as far as 24 bits hold it."""
    whole = int(np.frexp(extent)[1])
    bits = min(max(_EXTENT_BITS - whole, _LEAST_BITS), _FIXED_BITS - whole, _MOST_BITS)
    if bits < 0:
        raise InputError(f"a position of {extent:g} (.spz holds up to {_MAX_FIXED})")
    return bits


def _tell_clipped(logs: Float32[Array, "n 3"], sh: Float32[Array, "n k 3"], notify: Callable[[str], None]) -> None:
    """Says how many Gaussians have values beyond what bytes can hold."""
    half = 0.5 / _COLOR_RANGE * (1 + 1 / 255)
    for name, wrong, allowed in (
        ("scales", (logs < -10 - 1 / 32) | (logs > 255 / 16 - 10 + 1 / 32), "4.5e-5 to 380"),
        ("DC colors", np.abs(sh[:, 0]) > half, f"-{half:.2f} to {half:.2f}"),
        ("SH", np.abs(sh[:, 1:]) > 1 + 1 / 32, "-1 to 1"),
    ):
        count = int(wrong.reshape(len(logs), -1).any(axis=1).sum())
        if count:
            notify(f".spz holds {name} of {allowed}: cut in {count} of {len(logs)} Gaussians")


def _round(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """To the nearest whole number, halves away from zero, as C does it."""
    return np.trunc(values + np.copysign(0.5, values.astype(np.float64)))


def _to_byte(values: Float[Array, "n c"]) -> UInt8[Array, "n c"]:
    return _round(values).clip(0, 255).astype(np.uint8)


def _pack_positions(means: Float32[Array, "n 3"], fraction_bits: int) -> UInt8[Array, "n 9"]:
    fixed = np.minimum(_round(means * np.float32(1 << fraction_bits)), _MAX_FIXED).astype("<i4")
    return np.ascontiguousarray(fixed)[:, :, None].view(np.uint8)[:, :, :3].reshape(len(means), 9)


def _pack_smallest_three(quats: Float32[Array, "n 4"]) -> UInt8[Array, "n 4"]:
    """Index of the largest component in 2 bits, the others in xyzw order in 10: sign and magnitude over sqrt(.5)."""
    xyzw = np.roll(unit(quats, 0).astype(np.float64), -1, axis=1)
    largest = np.abs(xyzw).argmax(axis=1, keepdims=True)
    small = np.take_along_axis(xyzw, np.arange(3) + (np.arange(3) >= largest), axis=1)
    negative = (small < 0) ^ (np.take_along_axis(xyzw, largest, axis=1) < 0)
    magnitude = np.minimum(np.floor(np.abs(small) / _HALF_SQRT * _MAGNITUDE + 0.5), _MAGNITUDE)
    fields = (magnitude + negative * (_MAGNITUDE + 1)).astype("<u4") << np.array([20, 10, 0], "<u4")
    words = (largest.astype("<u4") << 30) | np.bitwise_or.reduce(fields, axis=1, keepdims=True)
    return words.astype("<u4").view(np.uint8)


def _pack_sh(rest: Float32[Array, "n k 3"]) -> UInt8[Array, "n s"]:
    """Eight bits, of which the lowest 3 (degree 1) or 4 are rounded away for gzip's sake."""
    steps = np.where(np.arange(rest.shape[1]) < 3, *_SH_STEPS).astype(np.int16)[:, None]
    fine = _round(rest.clip(-2, 2) * np.float32(128)).astype(np.int16) + np.int16(128)
    coarse = (fine + steps // 2) & -steps  # the steps are powers of two
    return coarse.clip(0, 255).astype(np.uint8).reshape(len(rest), 3 * rest.shape[1])
