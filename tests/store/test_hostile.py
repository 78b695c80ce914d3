"""Data folders that somebody broke, by accident or on purpose: refused in one line, without much memory or time.

Each is the small folder of the store's tests with one thing changed; in most, the manifest is changed along, as by one
who covers it up. What is asked of them is what `gsbench eval`, `convert` and `load_dataset` ask before they compute.
"""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gsbench.core.parsing import InputError
from gsbench.core.tasks import Task
from gsbench.learn.data import check_data, check_views, open_objects
from gsbench.store import hashes
from gsbench.store.folder import check_configs, find_rows, load_object, open_folder, read_labels, read_table
from gsbench.store.manifest import MANIFEST
from gsbench.store.schema import SPLITS
from gsbench.store.shards import file_sha256
from gsbench.store.webp import decode_over_white, encode_webp
from tests.conftest import ROOT
from tests.store.conftest import SIZE

GAUSSIANS, POINTS = "gaussians/test-00000-of-00001.parquet", "points/test-00000-of-00001.parquet"
VIEWS, RENDERS = "views/test-00000-of-00001.parquet", "reconstructions/test-00000-of-00001.parquet"
SECONDS, BYTES = 10.0, 2e9
"""What no folder may take more of."""

Change = Callable[[Path], None]


def use(path: Path) -> None:
    """Does with a data folder what commands do before they train."""
    folder = open_folder(path)
    check_configs(folder, list(folder.manifest.counts))
    common = ("tiny", "0.1", "0" * 64, "test")
    for modality, features in (("points", "xyz"), ("gaussians", "xyz+geo+sh"), ("gaussians", "xyz")):
        task = Task(*common, modality, "supervised", 100, 0, features, "fps", 10, None, None)
        check_data(folder, [task])
        open_objects(folder, task, "test", min_opacity=0.01 if features == "xyz" and modality == "gaussians" else 0)
    for source in ("meshes", "gaussians"):
        task = Task(*common, "images", "supervised", 100, 0, None, None, None, 2, source)
        check_data(folder, [task])
        for split in SPLITS:
            check_views(folder, task, split)
        open_objects(folder, task, "test")
    for config in folder.manifest.counts:
        for split in SPLITS:
            read_table(folder, config, split)
        find_rows(folder, config, min(read_labels(folder, "test")))
    load_object(folder, min(read_labels(folder, "test")))


def refusal(path: Path) -> str:
    """The line that a folder is refused with; fails where it is used, or where it takes too long."""
    begin = time.monotonic()
    with pytest.raises(InputError) as caught:
        use(path)
    assert time.monotonic() - begin < SECONDS
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1500
    assert message.isprintable(), "nothing of it reaches a terminal raw"
    return message


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the manifest as a file, so that it may become anything."""
    table = json.loads((folder / MANIFEST).read_text())
    change(table)
    (folder / MANIFEST).write_text(json.dumps(table))


def cover_up(folder: Path, shard: str) -> None:
    """Makes the manifest say of a shard what it now is."""
    path = folder / shard
    with open(path, "rb") as file:
        try:
            rows = pq.read_metadata(file).num_rows
        except (OSError, pa.ArrowException, ValueError):
            rows = None

    def change(table: dict[str, Any]) -> None:
        about = table["shards"][shard]
        known = {"rows": rows} if rows is not None else {}
        table["shards"][shard] = about | {"sha256": file_sha256(path), "bytes": path.stat().st_size} | known

    edit_manifest(folder, change)


def rewrite(folder: Path, shard: str, table: pa.Table, **how: Any) -> None:
    pq.write_table(table, folder / shard, **how)
    cover_up(folder, shard)


def edit_rows(shard: str, change: Callable[[list[dict[str, Any]]], None]) -> Change:
    """Changes rows of a shard, and covers it up."""

    def apply(folder: Path) -> None:
        table = pq.read_table(folder / shard)
        rows = table.to_pylist()
        change(rows)
        rewrite(folder, shard, pa.Table.from_pylist(rows, schema=table.schema))

    return apply


def edit_cell(shard: str, column: str, value: Any, row: int = 1) -> Change:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[row][column] = value(rows[row][column]) if callable(value) else value

    return edit_rows(shard, change)


def first_number(value: float) -> Callable[[Any], Any]:
    """Puts a number in place of the first of nested lists."""

    def change(values: Any) -> Any:
        return [change(values[0]), *values[1:]] if isinstance(values, list) else value

    return change


NAN, INF = float("nan"), float("inf")
FLOATS = {
    GAUSSIANS: ("means", "quats", "scales", "opacities", "sh"),
    POINTS: ("points", "normals"),
    VIEWS: ("viewmat", "K"),
    RENDERS: ("viewmat", "K"),
}


def bad_numbers() -> Iterator[tuple[str, Change]]:
    for shard, columns in FLOATS.items():
        for column in columns:
            for number in (NAN, INF, -INF):
                yield f"{shard}-{column}-{number}", edit_cell(shard, column, first_number(number))
            for name, cut in (("short", lambda v: v[:-1]), ("long", lambda v: [*v, v[0]]), ("empty", lambda v: [])):
                yield f"{shard}-{column}-{name}", edit_cell(shard, column, cut)
            if column != "opacities":
                for name, cut in (
                    ("narrow", lambda v: [v[0][:-1], *v[1:]]),
                    ("wide", lambda v: [[*r, r[0]] for r in v]),
                ):
                    yield f"{shard}-{column}-{name}", edit_cell(shard, column, cut)
    for column, number in (("scales", 0.0), ("scales", -1.0), ("opacities", 1.5), ("opacities", -0.1), ("quats", 9.0)):
        yield f"{column}-{number}", edit_cell(GAUSSIANS, column, first_number(number))
    yield "zero-quaternion", edit_cell(GAUSSIANS, "quats", lambda v: [[0.0] * 4, *v[1:]])
    for number in (0, -1, 10**6, 2**31 - 1):
        yield f"num_gaussians-{number}", edit_cell(GAUSSIANS, "num_gaussians", number)
    orders = {"outside": first_number(10**6), "negative": first_number(-1), "highest": first_number(2**31 - 1)}
    orders |= {
        "twice": lambda v: [v[1], *v[1:]],
        "short": lambda v: v[:-1],
        "long": lambda v: [*v, 0],
        "none": lambda v: [],
    }
    for name, change in orders.items():
        yield f"fps_order-{name}", edit_cell(GAUSSIANS, "fps_order", change)
    for shard in FLOATS:
        for label in (-1, 2, 10**6, -(2**63), 2**63 - 1):
            yield f"{shard}-label-{label}", edit_cell(shard, "label", label)
        for text in ("", "../x", "a/b", "a\nb", "a\x1b[31mb", "‮", "x" * 300, ".."):
            yield f"{shard}-id-{text[:9]!r}", edit_cell(shard, "object_id", text)
    for column in ("psnr", "ssim"):
        for number in (NAN, INF):
            yield f"{column}-{number}", edit_cell(GAUSSIANS, column, number)
    yield "ssim-2", edit_cell(GAUSSIANS, "ssim", 2.0)
    yield "render-psnr", edit_cell(RENDERS, "psnr", NAN)
    yield "cameras", edit_cell(RENDERS, "cameras", "elsewhere")
    for digest in ("", "abc", "g" * 64, "A" * 64):
        yield f"digest-{digest[:4]}", edit_cell(GAUSSIANS, "mesh_sha256", digest)


def encoded(kind: str, size: tuple[int, int], mode: str = "RGBA", **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **how)
    return buffer.getvalue()


def empty_webp(side: int) -> bytes:
    """34 bytes or so that ask for side x side pixels of one color."""
    bits = (side - 1) | (side - 1) << 14
    body = b"\x2f" + struct.pack("<I", bits) + bytes.fromhex("07101111118888fe0700")
    return b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBPVP8L" + struct.pack("<I", len(body)) + body


def png_bomb(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    )


def bad_images() -> Iterator[tuple[str, Change]]:
    good = encode_webp(np.zeros((SIZE, SIZE, 4), np.uint8), 0)
    images = {
        "null": None,
        "nothing": b"",
        "text": b"no picture",
        "cut": good[:-6],
        "head": good[:20],
        "huge": empty_webp(13_000),
        "hugest": empty_webp(16_384),
        "beyond": b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6,
        "png": png_bomb(2**31 - 1),
        "large png": png_bomb(13_000),
        "other size": encode_webp(np.zeros((SIZE, SIZE + 1, 4), np.uint8), 0),
        "jpeg": encoded("JPEG", (SIZE, SIZE), "RGB"),
        "tiff": encoded("TIFF", (SIZE, SIZE)),
    }
    for shard in (VIEWS, RENDERS):
        for name, data in images.items():
            yield f"{shard}-{name}", edit_cell(shard, "image", {"bytes": data, "path": None}, row=3)
        yield f"{shard}-path", edit_cell(shard, "image", {"bytes": None, "path": "/etc/hostname"}, row=3)


def change_table(shard: str, change: Callable[[pa.Table], pa.Table], **how: Any) -> Change:
    return lambda folder: rewrite(folder, shard, change(pq.read_table(folder / shard)), **how)


def replaced(name: str, kind: pa.DataType, value: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        column = pa.array([value] * len(table), kind)
        return table.set_column(table.column_names.index(name), name, column)

    return change


def bad_tables() -> Iterator[tuple[str, Change]]:
    for shard in (GAUSSIANS, POINTS, VIEWS, RENDERS):
        table = shard.partition("/")[0]
        for column in ("object_id", "label"):
            yield f"{table}-without-{column}", change_table(shard, lambda t, c=column: t.drop_columns([c]))
            yield f"{table}-null-{column}", change_table(shard, lambda t, c=column: replaced(c, t[c].type, None)(t))
        yield f"{table}-more", change_table(shard, lambda t: t.append_column("more", t["label"]))
        yield f"{table}-order", change_table(shard, lambda t: t.select(t.column_names[::-1]))
        yield f"{table}-bare", change_table(shard, lambda t: t.replace_schema_metadata(None))
        yield f"{table}-ids", change_table(shard, replaced("object_id", pa.int64(), 3))
        yield f"{table}-labels", change_table(shard, replaced("label", pa.string(), "chair"))
        yield f"{table}-twice", change_table(shard, lambda t: pa.concat_tables([t, t]))
        yield f"{table}-fewer", change_table(shard, lambda t: t.slice(0, len(t) - 1))
        yield f"{table}-none", change_table(shard, lambda t: t.slice(0, 0))
        yield f"{table}-turned", change_table(shard, lambda t: t.take(list(range(len(t)))[::-1]))
        yield f"{table}-of-train", lambda f, s=shard, t=table: swap_splits(f, s, t)
    for column in ("means", "quats", "scales", "sh"):
        yield f"{column}-strings", change_table(GAUSSIANS, replaced(column, pa.string(), "1 2 3"))
        yield f"{column}-null", change_table(GAUSSIANS, replaced(column, pa.list_(pa.list_(pa.float32())), None))


def swap_splits(folder: Path, shard: str, config: str) -> None:
    """Puts the training objects in the place of the test objects."""
    train = sorted((folder / config).glob("train-*"))[0]
    rewrite(folder, shard, pq.read_table(train))


def exchange(key: str, value: Any) -> Change:
    def change(table: dict[str, Any]) -> None:
        *path, last = key.split("|")
        for step in path:
            table = table[step]
        table[last] = value(table[last]) if callable(value) else value

    return lambda folder: edit_manifest(folder, change)


def rename_key(key: str, old: str, new: str) -> Change:
    def change(table: dict[str, Any]) -> None:
        for step in filter(None, key.split("|")):
            table = table[step]
        table[new] = table.pop(old)

    return lambda folder: edit_manifest(folder, change)


def bad_manifests() -> Iterator[tuple[str, Change]]:
    names = [
        "../up/x",
        "/abs/x",
        "a/b",
        "..",
        ".",
        "",
        "a b",
        "a\nb",
        "x" * 300,
        "a\0",
        "a@b",
        "ü",
        "-x",
        "con:x",
        "a\\b",
    ]
    for key in ("name", "version"):
        for value in (*names, None, 3, True, ["x"], {}):
            yield f"{key}-{str(value)[:9]!r}", exchange(key, value)
    for key in ("classes", "counts", "shards", "regimes", "recipe", "created_by", "set_aside", "missing", "quality"):
        for value in (None, 3, "x", True):
            yield f"{key}-{value}", exchange(key, value)
    for key in ("format_version", "sh_coefficients"):
        for value in (0, -1, 2, 10**400, True, 1.5, NAN, "1", None, []):
            yield f"{key}-{str(value)[:6]}", exchange(key, value)
    for value in ("float64", None, 16, "float16"):
        yield f"float_type-{value}", exchange("float_type", value)
    for classes in (
        [],
        ["chair"],
        ["sofa", "chair"],
        ["chair", "chair"],
        ["chair", "sofa", "table"],
        ["couch", "sofa"],
    ):
        yield f"classes-{classes}", exchange("classes", classes)
    for label in ("a/b", "a\nb", "\x1b[2J", "", "x" * 999, "‮fas"):
        yield f"class-{label[:5]!r}", exchange("classes", ["chair", label])
    for shard in ("../up.parquet", "/etc/passwd", "points/../x.parquet", "points/test-1-of-1.parquet", "points/x", ""):
        yield f"shard-{shard}", rename_key("shards", POINTS, shard)
    for shard in (
        "points/test-00001-of-00002.parquet",
        "points/test-00000-of-00002.parquet",
        "views/test-00001-of-00001.parquet",
    ):
        yield f"shard-{shard}", rename_key("shards", POINTS, shard)
    for key, values in {
        "sha256": ("", "f" * 64, "x" * 64, "0" * 63, None, 3),
        "bytes": (0, -1, 10**12, 1.5, None, True, 2**63),
        "rows": (0, -1, 7, 10**9, 2**63, None, "6"),
    }.items():
        for value in values:
            yield f"{key}-{str(value)[:5]}", exchange(f"shards|{POINTS}|{key}", value)
    for value in (-1, 4, 2**70, None, True, 1.0):
        yield f"count-{value}", exchange("counts|points|test|chair", value)
    yield "counts-empty", exchange("counts", {})
    yield "counts-unknown", rename_key("counts", "points", "depths")
    yield "counts-split", rename_key("counts|points", "test", "val")
    yield "counts-class", rename_key("counts|points|test", "chair", "couch")
    yield "regime-name", rename_key("regimes", "50/0", "../x")
    yield "regime-digest", exchange("regimes|100/0|sha256", "0" * 64)
    yield "regime-count", exchange("regimes|50/0|count", -1)
    for key in ("about", "fit", "rig", "store"):
        yield f"recipe-{key}", exchange("recipe", {key: 3})
    yield "title", exchange("recipe", {"about": {"title": "\x1b]0;x\x07"}})
    yield "reason", exchange("set_aside", {"chair_0099": "\x1b[31mred"})
    yield "set-aside", exchange("set_aside", {"../x": "broken"})
    yield "missing", exchange("missing", ["a\nb"])
    yield "quality-nan", exchange("quality", {"psnr": NAN})
    yield "unknown", exchange("more", 1)
    texts = {
        "empty": "", "number": '{"format_version": 1' + "0" * 5000,
        "no utf-8": b"\xff\xfe", "list": "[1]", "string": '"x"', "null": "null",
        "another": '{"format_version": 1, "name": 1}',
    }  # fmt: skip
    for name, text in texts.items():
        data = text if isinstance(text, bytes) else text.encode()
        yield f"text-{name}", lambda folder, data=data: (folder / MANIFEST).write_bytes(data) and None


def put(shard: str, make: Callable[[Path], object]) -> Change:
    """Puts something else in a shard's place, and leaves the manifest as it is."""

    def apply(folder: Path) -> None:
        (folder / shard).unlink()
        make(folder / shard)

    return apply


def flip(place: float) -> Change:
    def apply(folder: Path) -> None:
        data = bytearray((folder / GAUSSIANS).read_bytes())
        data[int(place * (len(data) - 1))] ^= 1
        (folder / GAUSSIANS).write_bytes(data)

    return apply


def bad_files() -> Iterator[tuple[str, Change]]:
    for shard in (GAUSSIANS, POINTS, VIEWS, RENDERS, MANIFEST):
        name = shard.partition("/")[0]
        yield f"{name}-missing", put(shard, lambda path: None)
        yield f"{name}-folder", put(shard, lambda path: path.mkdir())
        yield f"{name}-pipe", put(shard, os.mkfifo)
        yield f"{name}-loop", put(shard, lambda path: path.symlink_to(path.name))
        yield f"{name}-device", put(shard, lambda path: path.symlink_to("/dev/zero"))
        yield f"{name}-nowhere", put(shard, lambda path: path.symlink_to("/nowhere"))
        yield f"{name}-empty", put(shard, lambda path: path.write_bytes(b""))
        yield f"{name}-zeros", put(shard, lambda path: path.write_bytes(bytes(1000)))
    for place in (0.0, 0.3, 0.6, 0.9, 1.0):
        yield f"flipped-{place}", flip(place)
    yield "truncated", lambda folder: os.truncate(folder / GAUSSIANS, 1000)
    yield "longer", lambda folder: os.truncate(folder / GAUSSIANS, 10**6)
    yield "other", lambda folder: (folder / POINTS).write_bytes((folder / VIEWS).read_bytes()) and None
    for shard in (GAUSSIANS, POINTS):
        yield (
            f"{shard}-edited",
            lambda folder, shard=shard: pq.write_table(pq.read_table(folder / shard), folder / shard),
        )


ALL = dict((*bad_numbers(), *bad_images(), *bad_tables(), *bad_manifests(), *bad_files()))
SHORT = list(ALL)[::9]


def test_the_sound_folder_is_used(made: Path, folder: Path) -> None:
    use(made)
    for shard in (GAUSSIANS, POINTS, VIEWS, RENDERS):  # what every change below does beside its own
        edit_rows(shard, lambda rows: None)(folder)
    use(folder)


@pytest.mark.parametrize("name", SHORT)
def test_a_hostile_folder_is_refused(folder: Path, name: str) -> None:
    ALL[name](folder)
    refusal(folder)


@pytest.mark.slow
def test_all_hostile_folders_are_refused(made: Path, tmp_path: Path, memory_taken: Callable[[], int]) -> None:
    assert len(ALL) >= 400
    for number, (name, change) in enumerate(ALL.items()):
        folder = Path(shutil.copytree(made, tmp_path / str(number)))
        change(folder)
        try:
            refusal(folder)
        except BaseException as error:
            raise AssertionError(f"{name}: {error!r}") from error
        shutil.rmtree(folder)
    assert memory_taken() < BYTES


def test_an_object_that_is_not_finite_is_named_with_shard_and_column(folder: Path) -> None:
    edit_cell(GAUSSIANS, "means", first_number(NAN))(folder)
    assert refusal(folder) == f"{folder / GAUSSIANS}: chair_0012: means is not finite"


def test_labels_that_were_exchanged_are_found_between_configs(folder: Path) -> None:
    """The numbers by class stay what they were."""

    def exchange_labels(rows: list[dict[str, Any]]) -> None:
        rows[0]["label"], rows[-1]["label"] = rows[-1]["label"], rows[0]["label"]

    edit_rows(POINTS, exchange_labels)(folder)
    assert refusal(folder) == f"{folder}: points, test: chair_0011 is not as in gaussians (must be)"


def test_an_object_in_both_splits_is_found(folder: Path) -> None:
    for shard in (GAUSSIANS, POINTS, VIEWS, RENDERS):
        edit_rows(
            shard, lambda rows: [row.update(object_id="chair_0001") for row in rows if row["object_id"] == "chair_0011"]
        )(folder)
    assert refusal(folder) == f"{folder}: gaussians: chair_0001 is in train and in test (must be in one)"


def test_what_was_hashed_once_is_hashed_again_after_a_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "LARGE", 1)
    monkeypatch.setattr(hashes, "_SETTLED_SECONDS", 0.0)
    hashed: list[Path] = []
    monkeypatch.setattr(hashes, "file_sha256", lambda path: hashed.append(path) or file_sha256(path))
    opened = open_folder(folder)
    for _ in range(2):
        check_configs(opened, ["points"])
        assert len(hashed) == len(opened.manifest.shards_of("points", "train")) + 1
        monkeypatch.setattr(hashes, "_known", {})  # as in another process
    for record in (tmp_path / "cache").rglob("*.json"):
        record.write_text("[" * 9)
    check_configs(opened, ["points"])
    assert len(hashed) == 2 * (len(opened.manifest.shards_of("points", "train")) + 1)
    path, data = folder / POINTS, bytearray((folder / POINTS).read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(path.stat().st_atime_ns, 10**18))
    with pytest.raises(InputError, match="shard is damaged or another"):
        check_configs(opened, ["points"])


@pytest.mark.parametrize("cache", ["/proc/nowhere", "relative", ""])
def test_where_nothing_can_be_remembered_it_is_hashed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    monkeypatch.setenv("HOME", "/proc/nowhere")
    monkeypatch.setattr(hashes, "LARGE", 1)
    monkeypatch.setattr(hashes, "_SETTLED_SECONDS", 0.0)
    check_configs(open_folder(folder), ["points"])
    assert not Path("relative").exists()


def zeros(count: int) -> pa.Array:
    return pa.array(np.zeros(count, np.float32))


def points_of_zeros(schema: pa.Schema, rows: int, each: int) -> pa.Table:
    """Rows with `each` points, all of them 0."""
    kind = schema.field("points").type
    ends = pa.array(np.arange(0, 3 * rows * each + 1, 3, dtype=np.int32))
    inner = pa.ListArray.from_arrays(ends, zeros(3 * rows * each), kind.value_type)
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * each)
    points = pa.ListArray.from_arrays(offsets, inner, kind)
    ids = pa.array([f"chair_{i:09d}" for i in range(rows)]) if rows < 1000 else pa.repeat("", rows)
    normals = pa.nulls(rows, schema.field("normals").type)
    return pa.Table.from_arrays([ids, pa.array(np.zeros(rows, np.int64)), points, normals], schema=schema)


BOMBS: dict[str, Change] = {
    "zeros": lambda folder: rewrite(
        folder, POINTS, points_of_zeros(pq.read_schema(folder / POINTS), 6, 12_000_000), compression="zstd"
    ),
    "zeros of a dictionary": lambda folder: rewrite(
        folder, POINTS, points_of_zeros(pq.read_schema(folder / POINTS), 60, 500_000), use_dictionary=True
    ),
    "empty rows": lambda folder: rewrite(
        folder, POINTS, points_of_zeros(pq.read_schema(folder / POINTS), 4_000_000, 0), compression="zstd"
    ),
}

MEASURE = """
import resource, sys
from pathlib import Path
from gsbench.core.parsing import InputError
from tests.store.test_hostile import use
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    use(Path(sys.argv[1]))
except InputError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_does_not_take_much_memory(folder: Path, name: str) -> None:
    """In a process of its own, whose memory was never large."""
    BOMBS[name](folder)
    for path in folder.glob("*/*.parquet"):
        assert path.stat().st_size < 5e6
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder)], capture_output=True, text=True, timeout=60, cwd=ROOT, check=True
    )
    message, megabytes = done.stdout.splitlines()
    assert message.startswith(str(folder)), message
    assert int(megabytes) < 500


SEEDS = range(40)
MORE_SEEDS = range(40, 1000)


def mutate(folder: Path, seed: int) -> str:
    """Changes some bytes of a file of the folder, at random and yet the same each time, and covers it up."""
    rng = np.random.default_rng(seed)
    shard = (GAUSSIANS, POINTS, VIEWS, RENDERS, MANIFEST)[seed % 5]
    data = bytearray((folder / shard).read_bytes())
    kind = int(rng.integers(5))
    # The foot of a Parquet file, its length in the last 8 bytes, is where most of its structure is.
    low = len(data) - int.from_bytes(data[-8:-4], "little") - 8 if shard != MANIFEST and rng.random() < 0.6 else 0
    place = int(rng.integers(max(low, 0), len(data)))
    if kind == 0:
        data[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del data[place : place + int(rng.integers(1, 50))]
    elif kind == 2:
        data[place:place] = rng.bytes(int(rng.integers(1, 50)))
    elif kind == 3:
        data[place : place + 8] = b"\xff" * len(data[place : place + 8])
    else:
        other = int(rng.integers(len(data)))
        data[place : place + 30] = data[other : other + 30]
    (folder / shard).write_bytes(data)
    if shard != MANIFEST:
        cover_up(folder, shard)
    return shard


def fuzz(made: Path, tmp_path: Path, seeds: Iterable[int]) -> int:
    """How many of the mutated folders are used; whatever else than an InputError is raised names the seed."""
    used, lines = 0, list[str]()
    for seed in seeds:
        folder = Path(shutil.copytree(made, tmp_path / str(seed)))
        shard = mutate(folder, seed)
        begin = time.monotonic()
        try:
            use(folder)
            used += 1
        except InputError as error:
            lines.append(str(error))
        except BaseException as error:
            raise AssertionError(f"seed {seed}, {shard}: {error!r}") from error
        assert time.monotonic() - begin < SECONDS, seed
        shutil.rmtree(folder)
    assert not [line for line in lines if not line.isprintable()]
    return used


def test_bytes_changed_at_random_give_an_input_error_or_data(made: Path, tmp_path: Path) -> None:
    assert fuzz(made, tmp_path, SEEDS) < len(SEEDS) / 3


@pytest.mark.slow
def test_many_bytes_changed_at_random_give_an_input_error_or_data(
    made: Path, tmp_path: Path, memory_taken: Callable[[], int]
) -> None:
    assert fuzz(made, tmp_path, MORE_SEEDS) < len(MORE_SEEDS) / 3
    assert memory_taken() < BYTES


@pytest.mark.parametrize("side", [13_000, 16_384])
def test_an_image_states_its_size_before_it_is_decoded(side: int) -> None:
    data = empty_webp(side)
    assert len(data) < 40
    with pytest.raises(InputError, match=rf"{side} x {side} pixels \(at most 4096 a side\)"):
        decode_over_white(data)
    with pytest.raises(InputError, match="must have 1 to 4096 pixels a side"):
        encode_webp(np.zeros((1, 5000, 3), np.uint8), 0)
