"""SPZ: its bytes against a decoder written from Niantic's description, all versions, and every way to be wrong."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gsbench.core.types import Gaussians
from gsbench.formats import load_splats, save_splats, spz
from gsbench.formats.activation import rotate, to_y_up
from tests.formats.samples import DEGREES, assert_same, assert_shapes_close, random_gaussians

WIDTHS = {"positions": 9, "opacities": 1, "colors": 3, "scales": 3, "rotations": 4, "sh": 0}


def silent(note: str) -> None:
    raise AssertionError(note)


def encode(gaussians: Gaussians) -> tuple[tuple, dict[str, np.ndarray]]:
    """The header's fields and the streams of what we write."""
    data = zlib.decompress(spz.encode(gaussians, silent), 31)
    fields = struct.unpack_from("<4sIIBBBB", data)
    streams, position = {}, 16
    for name, width in (WIDTHS | {"sh": 3 * ((fields[3] + 1) ** 2 - 1)}).items():
        size = fields[2] * width
        streams[name] = np.frombuffer(data, np.uint8, size, position).reshape(fields[2], width)
        position += size
    assert position == len(data)
    return fields, streams


def plain_rotation(word: int) -> list[float]:
    """wxyz of a packed quaternion, bit by bit."""
    largest, xyzw = word >> 30, [0.0] * 4
    for component in (c for c in (3, 2, 1, 0) if c != largest):
        magnitude, sign = word & 511, word >> 9 & 1
        xyzw[component] = (-1) ** sign * magnitude / 511 / 2**0.5
        word >>= 10
    xyzw[largest] = max(0.0, 1 - sum(x * x for x in xyzw)) ** 0.5
    return [xyzw[3], *xyzw[:3]]


@pytest.mark.parametrize("degree", DEGREES)
def test_our_bytes_mean_what_the_format_says(degree: int) -> None:
    g = random_gaussians(200, degree)
    (magic, version, count, found, bits, flags, reserved), streams = encode(g)
    assert (magic, version, count, found, bits, flags, reserved) == (b"NGSP", 3, 200, degree, 16, 0, 0)
    for i in range(0, 200, 7):
        xyz = [int.from_bytes(bytes(streams["positions"][i, j : j + 3]), "little", signed=True) for j in (0, 3, 6)]
        np.testing.assert_allclose(np.array(xyz) / 2**bits, g.means[i], atol=0.501 / 2**bits)
        np.testing.assert_allclose(streams["opacities"][i] / 255, g.opacities[i], atol=0.501 / 255)
        np.testing.assert_allclose((streams["colors"][i] / 255 - 0.5) / 0.15, g.sh[i, 0], atol=0.501 / 255 / 0.15)
        np.testing.assert_allclose(streams["scales"][i] / 16 - 10, np.log(g.scales[i]), atol=0.501 / 16)
        quat = plain_rotation(int.from_bytes(bytes(streams["rotations"][i]), "little"))
        assert abs(np.dot(quat, g.quats[i])) > 1 - 2e-5
        rest = (streams["sh"][i].reshape(-1, 3).astype(int) - 128) / 128
        np.testing.assert_allclose(rest[:3], g.sh[i, 1:4], atol=4.51 / 128)
        np.testing.assert_allclose(rest[3:], g.sh[i, 4:], atol=8.51 / 128)
        assert not (streams["sh"][i][:9] % 8).any()
        assert not (streams["sh"][i][9:] % 16).any()


@pytest.mark.parametrize("axes", ["z-up", "y-down"])
@pytest.mark.parametrize("degree", DEGREES)
def test_round_trip(tmp_path: Path, degree: int, axes: str) -> None:
    gaussians = random_gaussians(500, degree)
    gaussians = replace(gaussians, sh=gaussians.sh * np.float32(0.7))  # so that none leaves -1..1 when turned
    save_splats(gaussians, tmp_path / "a.spz", axes, silent)
    again = load_splats(tmp_path / "a.spz", axes=axes, notify=silent)
    np.testing.assert_allclose(again.means, gaussians.means, atol=2**-17)
    np.testing.assert_allclose(again.scales, gaussians.scales, rtol=0.032)
    np.testing.assert_allclose(again.opacities, gaussians.opacities, atol=0.501 / 255)
    assert_shapes_close(again, gaussians, 0.08)
    np.testing.assert_allclose(again.sh[:, 0], gaussians.sh[:, 0], atol=0.501 / 255 / 0.15)
    # Turned to y up, the error of one coefficient is spread over those of its degree.
    np.testing.assert_allclose(again.sh[:, 1:4], gaussians.sh[:, 1:4], atol=4.51 / 128)
    np.testing.assert_allclose(again.sh[:, 4:], gaussians.sh[:, 4:], atol=8.51 / 128 * (1 if axes == "y-down" else 1.8))


def test_the_same_gaussians_make_the_same_bytes_and_read_ones_hardly_others(tmp_path: Path) -> None:
    gaussians = random_gaussians(2000)
    first = spz.encode(gaussians, silent)
    assert spz.encode(gaussians, silent) == first
    (tmp_path / "a.spz").write_bytes(first)
    (_, before), (_, after) = encode(gaussians), encode(spz.read(tmp_path / "a.spz", silent))
    for name in set(WIDTHS) - {"rotations"}:
        np.testing.assert_array_equal(before[name], after[name])
    # Where two components are all but equally large, either may be the one that is left out.
    assert (before["rotations"] != after["rotations"]).any(axis=1).mean() < 0.02


def test_y_is_up_in_the_file(tmp_path: Path) -> None:
    gaussians = random_gaussians(50, 0)
    save_splats(gaussians, tmp_path / "a.spz")
    stored = spz.read(tmp_path / "a.spz", silent)
    np.testing.assert_allclose(stored.means, gaussians.means[:, [0, 2, 1]] * [1, 1, -1], atol=2**-17)
    save_splats(gaussians, tmp_path / "b.spz", axes="y-down")
    stored = spz.read(tmp_path / "b.spz", silent)
    np.testing.assert_allclose(stored.means, gaussians.means * [1, -1, -1], atol=2**-17)


@pytest.mark.parametrize(
    ("extent", "bits"), [(1e-4, 24), (0.01, 22), (0.9, 16), (1.5, 15), (100, 12), (3000, 11), (8e6, 0)]
)
def test_the_point_moves_with_the_extent(tmp_path: Path, extent: float, bits: int) -> None:
    gaussians = random_gaussians(100, 0)
    moved = replace(gaussians, means=gaussians.means / np.abs(gaussians.means).max() * np.float32(extent))
    (*_, found, _, _), _ = encode(moved)
    assert found == bits
    (tmp_path / "a.spz").write_bytes(spz.encode(moved, silent))
    np.testing.assert_allclose(spz.read(tmp_path / "a.spz", silent).means, moved.means, atol=0.501 / 2**bits)


def test_positions_beyond_24_bits_are_refused(tmp_path: Path) -> None:
    far = replace(random_gaussians(3, 0), means=np.full((3, 3), 1e7, np.float32))
    with pytest.raises(ValueError, match=r"a\.spz: a position of 1e\+07 .\.spz holds up to 8388607"):
        save_splats(far, tmp_path / "a.spz")
    assert not (tmp_path / "a.spz").exists()


def test_what_its_bytes_cannot_hold_is_counted(tmp_path: Path) -> None:
    gaussians = random_gaussians(20, 1)
    gaussians.scales[:3] = 1e-6
    gaussians.sh[7, 0] = 5
    gaussians.sh[8, 2] = -1.5
    notes: list[str] = []
    save_splats(gaussians, tmp_path / "a.spz", notify=notes.append)
    assert [note.partition(".spz holds ")[2] for note in notes] == [
        "scales of 4.5e-5 to 380: cut in 3 of 20 Gaussians",
        "DC colors of -3.35 to 3.35: cut in 1 of 20 Gaussians",
        "SH of -1 to 1: cut in 1 of 20 Gaussians",
    ]


def version_2(gaussians: Gaussians) -> bytes:
    """The file of version 2 with the same values: rotations as xyz in a byte each."""
    fields, streams = encode(gaussians)
    xyz = gaussians.quats[:, 1:] * np.sign(gaussians.quats[:, :1])
    streams["rotations"] = np.round(xyz * 127.5 + 127.5).astype(np.uint8)
    head = struct.pack("<4sIIBBBB", fields[0], 2, *fields[2:])
    deflate = zlib.compressobj(wbits=31)
    return deflate.compress(head + b"".join(one.tobytes() for one in streams.values())) + deflate.flush()


def version_4(gaussians: Gaussians, extension: bytes = b"") -> bytes:
    """The file of version 4 with the same values: a zstd stream for each attribute."""
    fields, streams = encode(gaussians)
    plain = [one.tobytes() for one in streams.values() if one.size]
    packed = [pa.compress(one, codec="zstd", asbytes=True) for one in plain]
    flags = 2 if extension else 0
    head = struct.pack("<4sIIBBBBI12x", b"NGSP", 4, *fields[2:5], flags, len(plain), 32 + len(extension))
    table = b"".join(struct.pack("<QQ", len(p), len(q)) for p, q in zip(packed, plain, strict=True))
    return head + extension + table + b"".join(packed)


def test_what_lies_behind_the_gaussians_is_left_out_and_told(tmp_path: Path) -> None:
    gaussians = random_gaussians(10, 0)
    data = zlib.decompress(spz.encode(gaussians, silent), 31)
    (tmp_path / "a.spz").write_bytes(zlib.compress(data + b"more", wbits=31))
    notes: list[str] = []
    assert len(load_splats(tmp_path / "a.spz", notify=notes.append)) == 10
    assert notes == [f"{tmp_path / 'a.spz'}: left out what lies behind its Gaussians"]


@pytest.mark.parametrize("degree", DEGREES)
def test_reads_version_4(tmp_path: Path, degree: int) -> None:
    gaussians = random_gaussians(100, degree)
    (tmp_path / "a.spz").write_bytes(spz.encode(gaussians, silent))
    (tmp_path / "b.spz").write_bytes(version_4(gaussians))
    assert_same(spz.read(tmp_path / "a.spz", silent), spz.read(tmp_path / "b.spz", silent))


def test_reads_version_2(tmp_path: Path) -> None:
    gaussians = random_gaussians(500, 1)
    (tmp_path / "a.spz").write_bytes(spz.encode(gaussians, silent))
    (tmp_path / "b.spz").write_bytes(version_2(gaussians))
    newer, older = spz.read(tmp_path / "a.spz", silent), spz.read(tmp_path / "b.spz", silent)
    assert_same(newer, older, ("means", "scales", "opacities", "sh"))
    assert np.quantile(np.abs((newer.quats * older.quats).sum(axis=1)), 0.05) > 0.999


def test_extensions_are_left_out_and_told_but_for_another_frame(tmp_path: Path) -> None:
    gaussians = random_gaussians(10, 0)
    notes: list[str] = []
    orbit = struct.pack("<IIfff", 0xADBE0002, 12, 0, 0, 0)
    (tmp_path / "a.spz").write_bytes(version_4(gaussians, orbit + struct.pack("<III", 0xADBE0003, 4, 4)))
    load_splats(tmp_path / "a.spz", notify=notes.append)
    assert notes == [f"{tmp_path / 'a.spz'}: left out the extensions of its writer"]
    (tmp_path / "a.spz").write_bytes(version_4(gaussians, orbit + struct.pack("<III", 0xADBE0003, 4, 7)))
    with pytest.raises(ValueError, match="stored in another frame by SPZ_ADOBE_coordinate_system"):
        load_splats(tmp_path / "a.spz", notify=notes.append)


def gzipped(*fields: int, body: bytes = b"") -> bytes:
    deflate = zlib.compressobj(wbits=31)
    return deflate.compress(struct.pack("<4sIIBBBB", b"NGSP", *fields) + body) + deflate.flush()


def changed(at: int, *new: bytes) -> bytes:
    """A file of version 4, 50 Gaussians of degree 1, with other bytes from `at` on."""
    whole = version_4(random_gaussians(50, 1))
    return whole[:at] + b"".join(new) + whole[at + len(b"".join(new)) :]


def word(value: int) -> bytes:
    return struct.pack("<I", value)


WRONG = {
    "empty": (lambda: b"", "not an SPZ file"),
    "another format": (lambda: b"ply\n", "not an SPZ file"),
    "rubbish": (lambda: b"\x1f\x8b\x08rubbish rubbish", "its gzip stream is damaged"),
    "gzip of another": (lambda: zlib.compress(bytes(100), wbits=31), "its gzip stream does not begin with NGSP"),
    "half a header": (lambda: gzipped(3, 1, 0, 12, 0, 0)[:20], "truncated: its header is not complete"),
    "version 1": (lambda: gzipped(1, 1, 0, 12, 0, 0), "SPZ version 1 .allowed: 2, 3, 4"),
    "version 9": (lambda: gzipped(9, 1, 0, 12, 0, 0), "SPZ version 9"),
    "degree 4": (lambda: gzipped(3, 1, 4, 12, 0, 0), "SH of degree 4 .allowed: 0 to 3"),
    "point too far": (lambda: gzipped(3, 1, 0, 60, 0, 0), "60 bits behind the point"),
    "four billion": (
        lambda: gzipped(3, 4_000_000_000, 3, 12, 0, 0),
        "4000000000 Gaussians announced, too many for [0-9]+ bytes .they take",
    ),
    "a bomb": (lambda: gzipped(3, 2_000_000, 3, 12, 0, 0, body=bytes(130_000_000)), "at most 50000000 are read"),
    "2: without gzip": (
        lambda: zlib.decompress(version_2(random_gaussians(9, 0)), wbits=31),
        r"SPZ version 2 without gzip .allowed: versions 2 and 3 in gzip, 4 without",
    ),
    "4: within gzip": (lambda: gzipped(4, 1, 0, 12, 0, 0, body=bytes(20)), "SPZ version 4 within gzip"),
    "too short": (
        lambda: gzipped(3, 2, 0, 12, 0, 0, body=bytes(25)),
        "truncated: 2 Gaussians announced, 25 of their 40 bytes are there",
    ),
    "none": (lambda: gzipped(3, 0, 0, 12, 0, 0), "no Gaussians"),
    "a flipped bit": (
        lambda: spz.encode(random_gaussians(9, 0), silent)[:-6] + bytes(6),
        "its gzip stream is damaged .Error -3 while decompressing data: incorrect data check",
    ),
    "4: half a header": (lambda: changed(0)[:20], "truncated: its header is not complete"),
    "4: cut": (lambda: changed(0)[:-1], "truncated: stream 5 does not hold 50 Gaussians"),
    "4: one too many": (lambda: changed(8, word(51)), "truncated: stream 0 does not hold 51 Gaussians"),
    "4: four billion": (lambda: changed(8, word(2**32 - 1)), "4294967295 Gaussians announced, too many"),
    "4: streams": (lambda: changed(15, b"\x05"), "its table of 5 streams makes no sense .6 are needed"),
    "4: table": (lambda: changed(16, word(2**31)), "its table of 6 streams makes no sense"),
    "4: damaged": (lambda: changed(32 + 6 * 16, bytes(8)), "stream 0 is damaged"),
}


@pytest.mark.parametrize("name", WRONG)
def test_refuses_in_one_line_that_names_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "broken.spz"
    make, message = WRONG[name]
    path.write_bytes(make())
    with pytest.raises(ValueError, match=message) as caught:
        load_splats(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_no_prefix_of_a_file_is_taken_for_one(tmp_path: Path) -> None:
    data = spz.encode(rotate(random_gaussians(40, 1), to_y_up("z-up")), silent)
    for cut in range(0, len(data), 5):
        (tmp_path / "cut.spz").write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"cut\.spz: (truncated|not an SPZ)"):
            load_splats(tmp_path / "cut.spz")
