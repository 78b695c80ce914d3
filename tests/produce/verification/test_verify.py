"""Every promise of a data folder is broken once, and `verify` must name the place."""

import dataclasses
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gsbench.produce.verification import verify
from gsbench.store.manifest import Manifest, Regime, Shard, load_manifest, save_manifest
from gsbench.store.shards import file_sha256

GAUSSIANS = "gaussians/test-00000-of-00001.parquet"
POINTS = "points/test-00000-of-00001.parquet"
VIEWS = "views/test-00000-of-00001.parquet"
RECONSTRUCTIONS = "reconstructions/test-00000-of-00001.parquet"


def edit(folder: Path, shard: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Changes a shard's rows and the manifest's hash of it, as one would who edits data and covers it up."""
    table = pq.read_table(folder / shard)
    rows = table.to_pylist()
    change(rows)
    rewrite(folder, shard, pa.Table.from_pylist(rows, schema=table.schema))


def rewrite(folder: Path, shard: str, table: pa.Table) -> None:
    pq.write_table(table, folder / shard)
    manifest = load_manifest(folder)
    path = folder / shard
    entry = Shard(file_sha256(path), path.stat().st_size, len(table))
    save_manifest(dataclasses.replace(manifest, shards={**manifest.shards, shard: entry}), folder)


def change_manifest(folder: Path, change: Callable[[Manifest], dict[str, Any]]) -> None:
    manifest = load_manifest(folder)
    save_manifest(dataclasses.replace(manifest, **change(manifest)), folder)


def test_a_sound_folder_has_no_problems(made: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = verify(made, progress=lambda done, total: seen.append((done, total)))
    assert report.problems == ()
    assert report.ok
    manifest = load_manifest(made)
    assert (report.shards, report.rows) == (len(manifest.shards), 26 + 26 + 78 + 78)
    assert report.fingerprint == manifest.fingerprint()
    assert seen[-1][0] == seen[-1][1] > sum(shard.bytes for shard in manifest.shards.values())
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("place", [0, 4, 0.25, 0.5, 0.75, -1])
def test_a_flipped_byte_is_found_wherever_it_is(folder: Path, place: float) -> None:
    data = bytearray((folder / GAUSSIANS).read_bytes())
    data[int(place * len(data)) if isinstance(place, float) else place] ^= 1
    (folder / GAUSSIANS).write_bytes(data)
    (problem,) = verify(folder).problems
    assert re.fullmatch(rf"{GAUSSIANS}: sha256 is \w{{12}}..., manifest.json says \w{{12}}...", problem)


def test_missing_truncated_and_unknown_files_are_found(folder: Path) -> None:
    (folder / POINTS).unlink()
    (folder / VIEWS).write_bytes((folder / VIEWS).read_bytes()[:-1])
    (folder / "points" / "extra.parquet").write_bytes(b"")
    (folder / "eval.yaml").unlink()
    problems = verify(folder).problems
    assert f"{POINTS}: missing" in problems
    assert any(re.fullmatch(rf"{VIEWS}: \d+ bytes, manifest.json says \d+", problem) for problem in problems)
    assert "points/extra.parquet: not in manifest.json" in problems
    assert not any("eval.yaml" in problem for problem in problems), "the Hub does not know the framework yet"
    assert len(problems) == 3


def set_value(row: int, column: str, value: object) -> Callable[[list[dict[str, Any]]], None]:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[row][column] = value(rows[row][column]) if callable(value) else value

    return change


def first_element(factor: float) -> Callable[[list[Any]], list[Any]]:
    """Multiplies the first number of a nested list."""

    def change(values: list[Any]) -> list[Any]:
        head = change(values[0]) if isinstance(values[0], list) else values[0] * factor
        return [head, *values[1:]]

    return change


def first_row(factor: float) -> Callable[[list[list[float]]], list[list[float]]]:
    """Multiplies the first row of a matrix."""
    return lambda rows: [[value * factor for value in rows[0]], *rows[1:]]


def picture(kind: str, mode: str, size: tuple[int, int], lossless: bool = True) -> dict[str, object]:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, lossless=lossless)
    return {"bytes": buffer.getvalue(), "path": None}


NAN = float("nan")
EDITS = [
    (GAUSSIANS, 2, "num_gaussians", lambda n: n + 1, "differs in length from num_gaussians"),
    (GAUSSIANS, 2, "opacities", lambda values: values[:-1], "opacities differs in length from num_gaussians"),
    (GAUSSIANS, 2, "means", first_element(NAN), "means is not finite"),
    (GAUSSIANS, 2, "sh", first_element(float("inf")), "sh is not finite"),
    (GAUSSIANS, 2, "sh", lambda values: [values[0][:3], *values[1:]], "sh has 3 values in dimension 1, not 4"),
    (GAUSSIANS, 2, "quats", first_row(1.1), "quats has a quaternion that is not unit"),
    (GAUSSIANS, 2, "quats", lambda values: [values[0][:3], *values[1:]], "quats has 3 values in dimension 1, not 4"),
    (GAUSSIANS, 2, "scales", first_element(-1), "scales has a scale <= 0"),
    (GAUSSIANS, 2, "scales", first_element(0), "scales has a scale <= 0"),
    (GAUSSIANS, 2, "opacities", lambda values: [1.01, *values[1:]], "opacities leaves 0..1"),
    (GAUSSIANS, 2, "fps_order", lambda order: [order[1], *order[1:]], "fps_order names a Gaussian twice"),
    (GAUSSIANS, 2, "fps_order", lambda order: order[:-1], r"fps_order has \d+ entries, not \d+"),
    (GAUSSIANS, 2, "fps_order", lambda order: [-1, *order[1:]], "fps_order leaves the range"),
    (GAUSSIANS, 2, "fps_order", sorted, "fps_order is not a furthest-point order"),
    (GAUSSIANS, 2, "psnr", NAN, "psnr is not finite"),
    (GAUSSIANS, 2, "ssim", 1.5, "ssim leaves -1..1"),
    (GAUSSIANS, 2, "mesh_sha256", "abc", "mesh_sha256 is no sha256"),
    (GAUSSIANS, 2, "label", 2, "label is no index of a class"),
    (POINTS, 2, "points", lambda points: points[::-1], "points is not in furthest-point order"),
    (POINTS, 2, "points", first_row(1.2), "points leaves the unit sphere"),
    (POINTS, 2, "points", lambda _: [], "points has no points"),
    (POINTS, 2, "normals", first_row(1.1), "normals has a normal that is not unit"),
    (POINTS, 2, "normals", lambda normals: normals[1:], "normals differs in length from points"),
    (VIEWS, 7, "viewmat", first_row(1.1), "viewmat is not a rotation and a translation"),
    (VIEWS, 7, "viewmat", first_row(-1), "viewmat is not a rotation"),
    (VIEWS, 7, "viewmat", lambda rows: rows[:3], "viewmat has 3 values in dimension 0, not 4"),
    (VIEWS, 7, "K", lambda rows: [[10, 0, 50], *rows[1:]], "K is no pinhole camera"),
    (VIEWS, 7, "K", lambda rows: [[-10, 0, 4], *rows[1:]], "K is no pinhole camera"),
    (VIEWS, 7, "image", {"bytes": b"no picture", "path": None}, "image is no lossless WebP"),
    (VIEWS, 7, "image", picture("WEBP", "RGB", (8, 8)), "image is RGB .must be RGBA"),
    (VIEWS, 7, "image", picture("WEBP", "RGBA", (8, 8), lossless=False), "image is no lossless WebP"),
    (VIEWS, 7, "image", picture("PNG", "RGBA", (8, 8)), "image is no lossless WebP"),
    (RECONSTRUCTIONS, 7, "image", picture("WEBP", "RGBA", (8, 8)), "image is RGBA .must be RGB"),
    (RECONSTRUCTIONS, 7, "cameras", "other", "cameras is none of train, novel"),
    (RECONSTRUCTIONS, 7, "psnr", NAN, "psnr is not finite"),
    (VIEWS, 7, "image", picture("WEBP", "RGBA", (8, 9)), "image differs in size from"),
]


@pytest.mark.parametrize(("shard", "row", "column", "value", "message"), EDITS)
def test_an_edited_column_is_named_with_shard_and_object(
    folder: Path, shard: str, row: int, column: str, value: object, message: str
) -> None:
    edit(folder, shard, set_value(row, column, value))
    problems = verify(folder).problems
    assert re.search(rf"^{shard}: chair_0013: .*{message}", problems[0])


def test_a_damaged_picture_is_found(folder: Path) -> None:
    def damage(image: dict[str, Any]) -> dict[str, Any]:
        return {**image, "bytes": image["bytes"][:-30]}

    edit(folder, VIEWS, set_value(7, "image", damage))
    assert verify(folder).problems[0].startswith(f"{VIEWS}: chair_0013: image is no lossless WebP, or cut off")


def swap_first_two(rows: list[dict[str, Any]]) -> None:
    rows[0], rows[1] = rows[1], rows[0]


def repeat_first(rows: list[dict[str, Any]]) -> None:
    rows[1]["object_id"] = rows[0]["object_id"]


CROSS_EDITS = [
    (GAUSSIANS, swap_first_two, "chair_0011: object_id out of order or twice"),
    (GAUSSIANS, repeat_first, "chair_0011: object_id out of order or twice"),
    (VIEWS, swap_first_two, "chair_0011: object_id out of order or twice"),
    (GAUSSIANS, set_value(0, "object_id", "chair_0001"), "chair_0001: in train and in test"),
    (GAUSSIANS, set_value(0, "label", 1), "counts of gaussians, test are"),
    (POINTS, set_value(0, "label", 1), "points, test: chair_0011 is not the same object as in gaussians"),
    (GAUSSIANS, set_value(0, "duplicate_of", "chair_0001"), "chair_0011: duplicate_of is chair_0001, must be None"),
    (GAUSSIANS, set_value(4, "duplicate_of", None), "sofa_0012: duplicate_of is None, must be chair_0002"),
    (GAUSSIANS, set_value(0, "regime_draws", ["50/0"]), r"chair_0011: regime_draws are \['50/0'\], must be \[\]"),
    (VIEWS, set_value(2, "view", 7), "views: the objects differ in their view numbers"),
]


@pytest.mark.parametrize(("shard", "change", "message"), CROSS_EDITS)
def test_what_only_shows_across_rows_is_found(
    folder: Path, shard: str, change: Callable[[list[dict[str, Any]]], None], message: str
) -> None:
    edit(folder, shard, change)
    problems = verify(folder).problems
    assert any(re.search(message, problem) for problem in problems), problems


def test_a_moved_object_breaks_the_regimes(folder: Path) -> None:
    (shard, *_) = load_manifest(folder).shards_of("gaussians", "train")
    edit(folder, shard, set_value(0, "regime_draws", []))
    assert any(re.search(r"chair_0001: regime_draws are \[\]", problem) for problem in verify(folder).problems)


def test_a_changed_type_is_named(folder: Path) -> None:
    table = pq.read_table(folder / GAUSSIANS)
    position = table.column_names.index("psnr")
    rewrite(folder, GAUSSIANS, table.set_column(position, "psnr", table["psnr"].cast(pa.float64())))
    assert verify(folder).problems == (f"{GAUSSIANS}: column psnr is double (must be float, not null)",)


def test_a_dropped_column_and_lost_features_are_named(folder: Path) -> None:
    table = pq.read_table(folder / GAUSSIANS)
    rewrite(folder, GAUSSIANS, table.drop_columns(["psnr"]))
    rewrite(folder, POINTS, pq.read_table(folder / POINTS).replace_schema_metadata({}))
    first, second = verify(folder).problems
    assert first.startswith(f"{GAUSSIANS}: columns are object_id, label")
    assert second.startswith(f"{POINTS}: the features in the schema's `huggingface` entry differ")


MANIFEST_EDITS = [
    (
        lambda m: {"counts": {**m.counts, "points": {**m.counts["points"], "test": {"chair": 4, "sofa": 2}}}},
        "manifest.json: counts of points, test are",
    ),
    (lambda m: {"regimes": {**m.regimes, "50/2": Regime(10, "0" * 64)}}, "manifest.json: regime 50/2 is"),
    (lambda m: {"regimes": {k: v for k, v in m.regimes.items() if k != "1/0"}}, "manifest.json: regime 1/0 is None"),
    (lambda m: {"set_aside": {"sofa_0012": "broken"}}, "sofa_0012 is set aside and yet in the data"),
    (
        lambda m: {"shards": {**m.shards, POINTS: dataclasses.replace(m.shards[POINTS], rows=7)}},
        f"{POINTS}: 6 rows, manifest.json says 7",
    ),
    (
        lambda m: {"shards": {k: v for k, v in m.shards.items() if k != POINTS}},
        f"{POINTS}: not in manifest.json",
    ),
    (lambda m: {"counts": {k: v for k, v in m.counts.items() if k != "views"}}, "belongs to no config and split"),
]


@pytest.mark.parametrize(("change", "message"), MANIFEST_EDITS)
def test_an_edited_manifest_is_found(folder: Path, change: Callable[[Manifest], dict[str, Any]], message: str) -> None:
    change_manifest(folder, change)
    assert any(message in problem for problem in verify(folder).problems)


def test_normals_may_be_missing(folder: Path) -> None:
    edit(folder, POINTS, set_value(0, "normals", None))
    assert verify(folder).ok


def test_a_folder_without_manifest_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no data set"):
        verify(tmp_path)


def damage_inside(rows: list[dict[str, Any]]) -> None:
    """Changes bytes in the midst of every picture of the last view: its head stays whole."""
    for row in rows:
        if row["view"] == 2:
            data = bytearray(row["image"]["bytes"])
            data[40:80] = bytes(40)
            row["image"] = {**row["image"], "bytes": bytes(data)}


def test_pictures_beyond_the_sample_are_decoded_on_demand(folder: Path) -> None:
    edit(folder, VIEWS, damage_inside)
    report = verify(folder)
    assert report.ok
    # A reconstruction from the rig and a novel one of each of 26 objects, and the view of the first.
    assert (report.images.rows, report.images.decoded, report.images.rendered, report.images.scored) == (
        156,
        78,
        52,
        26,
    )
    problems = verify(folder, all_images=True).problems
    assert f"{VIEWS}: chair_0011: no WebP that can be decoded" in problems[0]
    assert len(problems) == 6


def test_every_picture_can_be_decoded(made: Path) -> None:
    report = verify(made, all_images=True)
    assert report.ok
    assert report.images.decoded == report.images.rows == 156


def test_the_report_says_how_good_the_gaussians_are(made: Path) -> None:
    report = verify(made)
    assert list(report.quality) == ["chair", "sofa", "all"]
    assert report.quality["all"]["mean"] == pytest.approx(31.75)
    assert report.quality["sofa"]["p50"] == pytest.approx(31.75)
    assert list(report.worst)[:3] == ["chair_0001", "sofa_0001", "chair_0002"]
    assert len(report.worst) == 10
    assert report.alignment is not None
    assert report.alignment.against == "points"
    assert report.alignment.mean < 0.01
    assert len(report.alignment.worst) == 10


def test_a_reconstruction_without_its_view_is_found(folder: Path) -> None:
    def renumber(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["view"] += 7

    for name in load_manifest(folder).shards:
        if name.startswith("views/"):
            edit(folder, name, renumber)
    problems = verify(folder).problems
    assert any(re.search(r"reconstructions: chair_0001: view [01] is not in views", problem) for problem in problems)


def test_shards_that_end_in_the_midst_are_told_by_their_size_even_if_the_manifest_lies(folder: Path) -> None:
    """The manifest's size and hash are those of the truncated file, as of one that was cut off before it was hashed."""
    path = folder / GAUSSIANS
    path.write_bytes(path.read_bytes()[:-100])
    manifest = load_manifest(folder)
    entry = dataclasses.replace(manifest.shards[GAUSSIANS], sha256=file_sha256(path), bytes=path.stat().st_size)
    save_manifest(dataclasses.replace(manifest, shards={**manifest.shards, GAUSSIANS: entry}), folder)
    (problem,) = verify(folder).problems
    assert problem.startswith(f"{GAUSSIANS}: cannot be read as Parquet")
