"""Every reader against files that were damaged at random: each is read, finite and within its ranges, or refused.

Refused means an InputError of one line that names the file, or an OSError; nothing else may be raised, warnings
included. A seed names its mutation, so that a failure comes back. `slow` tries 50,000 in all.
"""

import io
import json
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import plyfile
import pytest
import trimesh

from gsbench.core.parsing import InputError
from gsbench.core.recipe import load_recipe
from gsbench.formats import gltf, load_splats, save_splats
from gsbench.formats.activation import check_gaussians
from gsbench.meshes.load import load_mesh
from gsbench.store.manifest import load_manifest
from tests.formats.samples import random_gaussians
from tests.formats.test_gltf import put_together, take_apart
from tests.formats.test_ply import element, raw_columns
from tests.formats.test_spz import version_2, version_4

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 10  # that no file of a few kilobytes may take
NUMBERS = (
    b"-1",
    b"0",
    b"1e400",
    b"-1e39",
    b"nan",
    b"inf",
    b"1.#QNAN",
    b"4000000000",
    b"9" * 30,
    b"9" * 5000,
    b"1.5.3",
    b"",
)
WORDS = [
    *(struct.pack("<I", value) for value in (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 24)),
    *(struct.pack("<f", value) for value in (np.nan, np.inf, -np.inf, 3e38, 1e-45, -1)),
]
PIECES = (
    b"\n",
    b" ",
    b"\r",
    b"#",
    b"\0",
    b"\xff",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"\\ud800",
    b"\\u0000",
    b"=",
    b"[" * 3000,
)


def mutate(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """The bytes with one to four damages."""
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(data) + 1))
        length = int(rng.integers(1, 64))
        match rng.integers(9):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + bytes([rng.integers(256)]) + data[at + 1 :]
            case 2:
                data = data[:at] + data[at + length :]
            case 3:
                data = data[:at] + data[at : at + length] * int(rng.integers(2, 9)) + data[at + length :]
            case 4:
                word = WORDS[rng.integers(len(WORDS))]
                data = data[:at] + word + data[at + 4 :]
            case 5:
                data = data[:at] + PIECES[rng.integers(len(PIECES))] + data[at:]
            case 6:
                data = data[:at] + rng.bytes(length) + data[at + length :]
            case 7:
                other = others[rng.integers(len(others))]
                data = data[:at] + other[int(rng.integers(len(other) + 1)) :]
            case _:  # a number of a text
                starts = [i for i in range(len(data)) if data[i : i + 1].isdigit() and not data[i - 1 : i].isdigit()]
                if starts:
                    start = end = starts[rng.integers(len(starts))]
                    while data[end : end + 1].isdigit():
                        end += 1
                    data = data[:start] + NUMBERS[rng.integers(len(NUMBERS))] + data[end:]
    return data


def check_mesh(path: Path) -> None:
    mesh = load_mesh(path)
    assert len(mesh.faces)
    assert np.isfinite(mesh.vertices).all()
    assert mesh.faces.min() >= 0
    assert mesh.faces.max() < len(mesh.vertices)


def check_splats(path: Path) -> None:
    gaussians = load_splats(path, notify=lambda note: None)
    check_gaussians(gaussians)
    np.testing.assert_allclose(np.linalg.norm(gaussians.quats, axis=1), 1, atol=3e-3)


@dataclass(frozen=True)
class Reader:
    """A reader, what its files begin as, and what becomes of damaged bytes before they are a file again."""

    file: str
    read: Callable[[Path], object]
    seeds: Callable[[], list[bytes]]
    pack: Callable[[bytes], bytes] = field(default=lambda data: data)


def off_files() -> list[bytes]:
    vertices, faces = b"0 0 0\n1 0 0\n1 1 0\n0 1 0\n", b"3 0 1 2\n3 0 2 3\n"
    colored = vertices.replace(b"\n", b" 255 0 0 255 0 0 1\n")
    return [
        b"OFF\n4 2 0\n" + vertices + faces,
        b"OFF4 2 1\r\n# made\r\n" + (vertices + b"4 0 1 2 3\n3 0 1 2 255 0 0\n").replace(b"\n", b"\r\n"),
        b"NCOFF\n4 2 0\n" + colored + faces,
        b"OFF 4 2 0 " + (vertices + faces).replace(b"\n", b" "),
    ]


def exported(suffix: str, **options: Any) -> bytes:
    data = trimesh.creation.box((1, 2, 3)).export(file_type=suffix, **options)
    return data.encode() if isinstance(data, str) else data


def saved(suffix: str, degree: int) -> bytes:
    path = Path(f"seed{suffix}")
    save_splats(random_gaussians(12, degree), path, notify=lambda note: None)
    return path.read_bytes()


def splat_plys() -> list[bytes]:
    columns = raw_columns(random_gaussians(6, 0)) | {"filter_3D": np.full(6, 0.01, np.float32)}
    text = io.BytesIO()
    plyfile.PlyData([element(columns)], text=True).write(text)
    faces = np.array([(np.array([0, 1, 2], "i4"),)], [("corners", "O")])
    lists = io.BytesIO()
    plyfile.PlyData([plyfile.PlyElement.describe(faces, "face"), element(columns)], byte_order=">").write(lists)
    return [saved(".ply", 1), text.getvalue(), lists.getvalue()]


def in_json_chunk(data: bytes) -> bytes:
    """A .glb file of a damaged JSON text, with the binary chunk that belongs to it."""
    binary = take_apart(gltf.encode(random_gaussians(12, 1), "z-up"))[1]
    whole = put_together({}, binary)
    text = data + b" " * (-len(data) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, len(whole) - 4 + len(text), len(text), b"JSON")
    return head + text + whole[24:]


def gzipped(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=31)
    return deflate.compress(data) + deflate.flush()


def inflated(data: bytes) -> bytes:
    return zlib.decompress(data, wbits=31)


READERS = {
    "OFF": Reader("damaged.off", check_mesh, off_files),
    "PLY mesh": Reader("damaged.ply", check_mesh, lambda: [exported("ply"), exported("ply", encoding="ascii")]),
    "OBJ mesh": Reader("damaged.obj", check_mesh, lambda: [exported("obj")]),
    "STL mesh": Reader("damaged.stl", check_mesh, lambda: [exported("stl"), exported("stl_ascii")]),
    "GLB mesh": Reader("damaged.glb", check_mesh, lambda: [exported("glb")]),
    "PLY": Reader("damaged.ply", check_splats, splat_plys),
    ".splat": Reader("damaged.splat", check_splats, lambda: [saved(".splat", 0)]),
    "SPZ": Reader("damaged.spz", check_splats, lambda: [saved(".spz", 1), version_4(random_gaussians(9, 1))]),
    "SPZ in gzip": Reader(
        "damaged.spz",
        check_splats,
        lambda: [inflated(saved(".spz", 2)), inflated(version_2(random_gaussians(9, 0)))],
        gzipped,
    ),
    "GLB": Reader("damaged.glb", check_splats, lambda: [saved(".glb", 1)]),
    "GLB's JSON": Reader(
        "damaged.glb",
        check_splats,
        lambda: [json.dumps(take_apart(gltf.encode(random_gaussians(12, 1), "z-up"))[0]).encode()],
        in_json_chunk,
    ),
    "JSON": Reader(
        "manifest.json",
        lambda path: load_manifest(path.parent),
        lambda: [(ROOT / "gsbench" / "mini" / "manifest.json").read_bytes()],
    ),
    "TOML": Reader(
        "damaged.toml", load_recipe, lambda: [(ROOT / "baselines" / "pointnet2" / "recipe.toml").read_bytes()]
    ),
}


def try_mutations(reader: Reader, seeds: range, folder: Path) -> tuple[int, list[str]]:
    """How many mutated files were read, and what went wrong with the others: seed and reason."""
    originals = reader.seeds()
    path = folder / reader.file
    read, wrong = 0, []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        path.write_bytes(reader.pack(mutate(originals[seed % len(originals)], originals, rng)))
        start = time.perf_counter()
        try:
            reader.read(path)
            read += 1
        except InputError as error:
            if str(path) not in str(error) or "\n" in str(error) or len(str(error)) > 1000:
                wrong.append(f"seed {seed}: message {str(error)!r}")
        except OSError:
            pass
        except Exception as error:
            wrong.append(f"seed {seed}: {type(error).__name__}: {error}")
        if (seconds := time.perf_counter() - start) > SECONDS:
            wrong.append(f"seed {seed}: {seconds:.1f} s")
    return read, wrong


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert try_mutations(READERS[name], range(40), tmp_path)[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_50_000_damaged_files_are_read_or_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    read, wrong = try_mutations(READERS[name], range(1_000_000, 1_003_850), tmp_path)
    assert wrong == []
    assert read > 30  # some damage must be harmless, or nothing behind the first check is tried
