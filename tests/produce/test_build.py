"""Builds of a few procedural shapes, at a size where an object takes a tenth of a second."""

import dataclasses
import io
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gsbench.core.files import TEMPORARY_PREFIX
from gsbench.core.parsing import InputError
from gsbench.meshes.off import save_off
from gsbench.meshes.shapes import make_shape
from gsbench.meshes.split import MeshFile, list_meshes, mesh_sha256
from gsbench.produce.build import build
from gsbench.produce.made import make_object
from gsbench.produce.objects import build_object, rows_of_object
from gsbench.produce.preset import Preset, load_preset
from gsbench.produce.verification import verify
from gsbench.store.arrays import rows_of
from gsbench.store.folder import open_folder, read_labels, read_table
from gsbench.store.manifest import Manifest
from gsbench.store.schema import CONFIGS
from tests.disks import small_disk

Built = tuple[Path, Manifest, list[tuple[object, ...]]]
TINY = str(Path(__file__).parents[1] / "tiny_preset.toml")
GAUSSIANS = 64


def tiny_preset() -> Preset:
    return load_preset(TINY)


def assert_same_bytes(folder: Path, other: Path) -> None:
    files = sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    assert len(files) > 8
    assert files == sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    for name in files:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="session")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes; one object twice under two names, and three files that no object can be made of."""
    root = tmp_path_factory.mktemp("meshes")
    for label in ("chair", "table"):
        for split, numbers in (("train", (1, 2)), ("test", (3,))):
            (root / label / split).mkdir(parents=True)
            for number in numbers:
                save_off(root / label / split / f"{label}_{number:04d}.off", make_shape(label, number))
    shutil.copy(root / "chair/train/chair_0002.off", root / "table/test/table_0004.off")
    (root / "chair/train/chair_0009.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n")
    (root / "table/test/table_0009.off").write_text("OFF\n3 1 0\n0 0 0\n0 0 0\n0 0 0\n3 0 1 2\n")
    (root / "table/train/table_0009b.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 nan 0\n3 0 1 2\n")
    return root


@pytest.fixture(scope="session")
def built(meshes: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The folder that two workers built, its manifest, and the progress that was told."""
    out = tmp_path_factory.mktemp("built") / "tiny"
    told: list[tuple[object, ...]] = []
    manifest = build(meshes, out, TINY, workers=2, max_set_aside=30, progress=lambda *step: told.append(step))
    return out, manifest, told


def test_a_build_is_a_sound_data_folder(built: Built) -> None:
    out, manifest, told = built
    assert verify(out).problems == ()
    assert open_folder(out).manifest == manifest
    assert manifest.counts["gaussians"] == {"train": {"chair": 2, "table": 2}, "test": {"chair": 1, "table": 2}}
    assert manifest.counts["views"]["test"] == {"chair": 4, "table": 8}
    assert [step[:3] for step in told if step[0] == "objects"] == [("objects", done, 10) for done in range(11)]
    shards = len(manifest.shards)
    assert [step for step in told if step[0] == "shards"] == [("shards", n, shards, 3) for n in range(shards + 1)]
    assert sorted(path.name for path in out.parent.iterdir()) == ["tiny"]
    assert sorted(path.name for path in out.iterdir()) == sorted(["README.md", "eval.yaml", "manifest.json", *CONFIGS])


def test_objects_that_cannot_be_made_are_set_aside_with_their_reason(
    built: Built,
) -> None:
    set_aside = built[1].set_aside
    assert list(set_aside) == ["chair_0009", "table_0009", "table_0009b"]
    assert set_aside["chair_0009"].startswith("truncated")
    assert "no extent" in set_aside["table_0009"]
    assert "not finite" in set_aside["table_0009b"]
    assert all(reason in (built[0] / "README.md").read_text() for reason in set_aside.values())


def test_rows_hold_what_the_recipe_says(built: Built, meshes: Path) -> None:
    folder = open_folder(built[0])
    table = read_table(folder, "gaussians", "test")
    assert table["num_gaussians"].to_pylist() == [GAUSSIANS] * 3
    assert table["duplicate_of"].to_pylist() == [None, None, "chair_0002"]
    assert table["mesh_sha256"][0].as_py() == mesh_sha256(meshes / "chair/test/chair_0003.off")
    assert folder.manifest.quality["psnr"] == pytest.approx(
        np.mean(table["psnr"].to_pylist() + read_table(folder, "gaussians", "train")["psnr"].to_pylist())
    )
    assert min(table["psnr"].to_pylist()) > 18
    points = rows_of(read_table(folder, "points", "test")["points"], (3,))
    assert {each.shape for each in points if each is not None} == {(50, 3)}
    views = read_table(folder, "views", "test")
    assert views["view"].to_pylist()[:4] == [0, 4, 7, 11]
    for image in views["image"].to_pylist():
        picture = np.asarray(Image.open(io.BytesIO(image["bytes"])))
        assert picture.shape == (16, 16, 4)
        assert picture[..., 3].max() == 255
        assert not picture[picture[..., 3] == 0].any()


def test_the_manifest_keeps_the_whole_recipe(built: Built) -> None:
    recipe = built[1].recipe
    assert set(recipe["about"]) == {"name", "version", "title", "license", "source"}
    assert set(recipe) == {field.name for field in dataclasses.fields(Preset)}
    assert recipe["rig"]["views"] == 12
    assert recipe["fit"]["lr_scales"] == tiny_preset().fit.lr_scales


@pytest.mark.slow
def test_the_number_of_workers_changes_no_byte(built: Built, meshes: Path, tmp_path: Path) -> None:
    build(meshes, tmp_path / "again", TINY, workers=1, max_set_aside=30)
    assert_same_bytes(tmp_path / "again", built[0])


def test_an_object_is_a_function_of_its_file_and_id(meshes: Path) -> None:
    (file,) = (file for file in list_meshes(meshes) if file.object_id == "chair_0001")
    once, again = (build_object(file, tiny_preset()) for _ in range(2))
    other = build_object(dataclasses.replace(file, object_id="chair_0099"), tiny_preset())
    np.testing.assert_array_equal(once.gaussians.means, again.gaussians.means)
    np.testing.assert_array_equal(once.points, again.points)
    assert not np.array_equal(once.points, other.points)
    assert not np.array_equal(once.gaussians.means, other.gaussians.means)
    np.testing.assert_array_equal(once.views.rgba, other.views.rgba)
    (row,) = rows_of_object("chair_0001", once, "gaussians")
    np.testing.assert_array_equal(row["sh"], once.gaussians.sh)
    assert row["object_id"] == "chair_0001"
    for stored, rgba in zip(rows_of_object("chair_0001", once, "views"), once.views.rgba, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored["image"]))), rgba)


def test_when_no_object_can_be_made_the_first_reason_is_told(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "meshes/chair" / split).mkdir(parents=True)
        (tmp_path / f"meshes/chair/{split}/chair_{split}.off").write_text("OFF\n")
    with pytest.raises(ValueError, match="none of 2 objects could be made; chair_test: the counts must be"):
        build(tmp_path / "meshes", tmp_path / "out", "mini", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["meshes"]


@pytest.mark.slow
def test_a_build_that_sets_more_aside_than_allowed_fails_and_goes_on_when_it_is_allowed(
    built: Built, meshes: Path, tmp_path: Path
) -> None:
    told_of = (
        r"3 of 10 objects could not be made, 30 % \(allowed: 1 %\); most often, 1 times, such as chair_0009: "
        r"truncated.* --max-set-aside 30; what is finished stays in .*\.out\.building"
    )
    with pytest.raises(InputError, match=told_of):
        build(meshes, tmp_path / "out", TINY, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == [".out.building"]
    with pytest.raises(InputError, match=r"30 % \(allowed: 29\.9 %\)"):
        build(meshes, tmp_path / "out", TINY, workers=1, max_set_aside=29.9)
    told: list[tuple[object, ...]] = []
    build(meshes, tmp_path / "out", TINY, max_set_aside=30, progress=lambda *step: told.append(step))
    assert told[0] == ("objects", 10, 10, 3), "nothing is made again"
    assert_same_bytes(tmp_path / "out", built[0])


@pytest.mark.slow
def test_when_the_meshes_that_were_set_aside_are_mended_all_others_stay_made(meshes: Path, tmp_path: Path) -> None:
    mended = Path(shutil.copytree(meshes, tmp_path / "mended"))
    with pytest.raises(InputError, match="mend or remove such meshes"):
        build(mended, tmp_path / "out", TINY, workers=1)
    save_off(mended / "chair/train/chair_0009.off", make_shape("chair", 9))
    (mended / "table/test/table_0009.off").unlink()
    (mended / "table/train/table_0009b.off").unlink()
    save_off(mended / "table/train/table_0009c.off", make_shape("table", 9))
    told: list[tuple[object, ...]] = []
    manifest = build(mended, tmp_path / "out", TINY, workers=1, progress=lambda *step: told.append(step))
    assert told[0] == ("objects", 7, 9, 0)
    assert manifest.set_aside == {}
    assert verify(tmp_path / "out", mended).problems == ()
    assert set(read_labels(open_folder(tmp_path / "out"), "train")) >= {"chair_0009", "table_0009c"}
    build(mended, tmp_path / "anew", TINY, workers=1)
    assert_same_bytes(tmp_path / "out", tmp_path / "anew")


@pytest.mark.parametrize("share", [-1, 100.5, float("nan")])
def test_shares_out_of_range_are_refused(meshes: Path, tmp_path: Path, share: float) -> None:
    with pytest.raises(InputError, match=r"max_set_aside: .* \(allowed: 0 to 100"):
        build(meshes, tmp_path / "out", TINY, max_set_aside=share)


def test_an_unexpected_exception_is_told_as_a_fault_of_gsbench(
    meshes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = (file for file in list_meshes(meshes) if file.object_id == "chair_0001")

    def broken(*_arguments: object) -> None:
        np.zeros(3).reshape(2, 2)  # numpy's ValueError is no InputError

    made = make_object(file, tiny_preset(), tmp_path, broken)  # type: ignore[arg-type]
    assert made.reason is not None
    assert re.match(r"a fault of gsbench, at \w+\.py:\d+: ValueError: cannot reshape", made.reason)
    (bad,) = (file for file in list_meshes(meshes) if file.object_id == "chair_0009")
    assert "fault" not in (make_object(bad, tiny_preset(), tmp_path).reason or "fault")


def test_a_data_set_needs_both_splits(tmp_path: Path) -> None:
    (tmp_path / "meshes/chair/train").mkdir(parents=True)
    save_off(tmp_path / "meshes/chair/train/chair_0001.off", make_shape("chair", 1))
    with pytest.raises(ValueError, match="meshes: there is no object of the split test"):
        build(tmp_path / "meshes", tmp_path / "out", "mini", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["meshes"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "light"}, "preset: no 'light'; did you mean 'lite'"),
        ({"meshes": Path("nowhere")}, "nowhere: no such folder"),
        ({"preset": "light.toml"}, "light.toml: cannot be read"),
        ({"workers": 0}, "workers: 0 .must be at least 1"),
        ({"renderer": "blender"}, "renderer is 'blender'"),
        ({"device": "gpu"}, "device: 'gpu' .allowed: cpu, cuda, auto"),
        ({"engine": "spark"}, "engine: 'spark' .allowed: local, ray"),
        ({"ray_address": "auto"}, "ray_address: auto .only the engine ray has one"),
        ({"limit_per_class": (0, 1)}, "limit_per_class: train is 0"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_made(
    meshes: Path, tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(**{"meshes": meshes, "out": tmp_path / "out", "preset": "mini", **arguments})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_taken_or_cannot_be_written_is_named(meshes: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file: exists already"):
        build(meshes, tmp_path / "file", "mini")
    with pytest.raises(ValueError, match="file/out: cannot be written"):
        build(meshes, tmp_path / "file/out", "mini")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 160 kB: room for some of the objects."""
    with small_disk(tmp_path / "disk", "160k") as folder:
        yield folder


def test_a_mount_point_cannot_be_the_output(meshes: Path, disk: Path) -> None:
    with pytest.raises(ValueError, match=r"disk: is a mount point .allowed: a new or an empty folder in it"):
        build(meshes, disk, TINY)


@pytest.mark.slow
def test_an_output_may_be_a_link_to_an_empty_folder(built: Built, meshes: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    build(meshes, tmp_path / "link", TINY, workers=1, max_set_aside=30)
    assert_same_bytes(tmp_path / "real", built[0])


@pytest.mark.slow
def test_a_disk_that_fills_up_is_one_line_and_the_build_goes_on_when_there_is_room(
    built: Built, meshes: Path, disk: Path
) -> None:
    with pytest.raises(
        ValueError, match=r"out: cannot be written \(No space left on device\); what is finished stays in"
    ):
        build(meshes, disk / "out", TINY, workers=1)
    assert [path.name for path in disk.iterdir()] == [".out.building"]
    assert not list(disk.rglob(f"{TEMPORARY_PREFIX}*"))
    finished = len(list(disk.rglob("*.json"))) - 1
    assert 0 < finished < 10
    subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
    told: list[tuple[object, ...]] = []
    build(meshes, disk / "out", TINY, workers=1, max_set_aside=30, progress=lambda *step: told.append(step))
    assert told[0][:3] == ("objects", finished, 10)
    assert_same_bytes(disk / "out", built[0])


@pytest.mark.slow
def test_a_part_of_the_objects_is_a_data_set_that_says_so(meshes: Path, tmp_path: Path) -> None:
    manifest = build(meshes, tmp_path / "part", TINY, workers=1, limit_per_class=(1, 1))
    assert manifest.counts["points"] == {"train": {"chair": 1, "table": 1}, "test": {"chair": 1, "table": 1}}
    assert manifest.version == "0.0-tiny-first-1-1"
    assert re.fullmatch(r"meshes\d+-part-[0-9a-f]{8}", manifest.name)
    assert manifest.part
    assert "This is a part: that other objects are not here" in (tmp_path / "part/README.md").read_text()
    assert ", a part: 2 training and 2 test objects of 2 classes" in (tmp_path / "part/README.md").read_text()
    assert manifest.recipe["limit_per_class"] == {"train": 1, "test": 1}
    assert "of each class the first 1 for training" in (tmp_path / "part/README.md").read_text()
    assert set(read_labels(open_folder(tmp_path / "part"), "train")) == {"chair_0001", "table_0001"}


OWN = """
extends = "lite"
about.version = "mine-1"
fit.num_gaussians = 4096
"""


def test_a_preset_of_ones_own_changes_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    own, lite = load_preset(str(tmp_path / "own.toml")), load_preset("lite")
    assert (own.fit.num_gaussians, own.about.version) == (4096, "mine-1")
    changed = dataclasses.replace(own.fit, num_gaussians=lite.fit.num_gaussians)
    assert dataclasses.replace(own, fit=changed, about=lite.about) == lite


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("extends", "extend"), "own.toml: key 'extends' is missing .must be one of mini, lite"),
        (("lite", "light"), "own.toml: extends: no 'light'; did you mean 'lite'"),
        (("num_gaussians", "gaussians"), "own.toml: fit: unknown key 'gaussians'; did you mean 'num_gaussians'"),
        (("4096", "0"), "own.toml: fit: num_gaussians is 0"),
        (("version", "title"), "own.toml: about.version is '1.0.0-lite' like that of lite"),
        (("=", ":"), "own.toml: not TOML"),
    ],
)
def test_a_wrong_preset_of_ones_own_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    (tmp_path / "own.toml").write_text(OWN.replace(*change))
    with pytest.raises(ValueError, match=message):
        load_preset(str(tmp_path / "own.toml"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rig.views = 1_000_000_000", "rig: views is 1000000000 (allowed: 2 to"),
        ("rig.views = 0", "rig: views is 0"),
        ("rig.views = 10_000", "rig: 10000 views of 224x224 pixels are 501760000 (allowed: up to 134217728 pixels"),
        ("rig.size = 0", "rig: size is 0 (allowed: 8 to 4096)"),
        ("rig.size = 100_000", "rig: size is 100000"),
        ("rig.radius = nan", "rig: radius is nan"),
        ("rig.radius = 2.0", "cuts the unit sphere"),
        ("rig.fov_deg = 180", "rig: fov_deg is 180"),
        ("rig.turns = inf", "rig: turns is inf"),
        ("rig.elevation_min_deg = 80", "rig: elevation_max_deg is 75.0 (allowed: 80.0 to below 90)"),
        ("rig.elevation_max_deg = nan", "rig: elevation_max_deg is nan"),
        ("store.points = 0", "store: points is 0 (allowed: 1 to"),
        ("store.points = 1_000_000_000", "store: points is 1000000000"),
        ("store.view_size = 0", "store: view_size is 0"),
        ("store.view_size = 4096", "store: 64 views of 4096x4096 pixels are"),
        ("store.gaussian_bits = 24", "store: gaussian_bits is 24 (allowed: 0 to 23)"),
        ("store.point_bits = -1", "store: point_bits is -1"),
        ("store.max_shard_bytes = 0", "store: max_shard_bytes is 0"),
        ("store.max_shard_bytes = 1000", "store.max_shard_bytes is 1000 (must hold an object, whose Gaussians take up"),
        ("store.max_shard_bytes = 1_000_000_000", "store: max_shard_bytes is 1000000000"),
        ("fit.num_gaussians = -1", "fit: num_gaussians is -1"),
        ("fit.lr_means = nan", "fit: lr_means is nan"),
        ("fit.stages = []", "fit: stages: empty"),
        ("fit.stages = [{ resolution = 0, iterations = 1 }]", "fit: stages[0]: resolution is 0"),
        ("fit.stages = [{ resolution = 100, iterations = 1 }]", "fit.stages: resolution is 100 (must divide the rig's"),
        ("render.frequency = inf", "render: frequency is inf"),
        ("render.lights = [[nan, 0, 1, 0.1]]", "render: lights[0][0] is nan"),
        ("limit_per_class = { train = 0, test = 1 }", "limit_per_class: train is 0"),
    ],
)
def test_values_out_of_range_are_refused_where_the_preset_is_read(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "own.toml").write_text(f'extends = "lite"\nabout.version = "mine"\n{line}\n')
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_preset(str(tmp_path / "own.toml"))
    assert str(caught.value).startswith(f"{tmp_path}/own.toml: ")


@pytest.mark.parametrize("name", ["mini", "lite", "full", "classic", "classic-full"])
def test_presets_are_read(name: str) -> None:
    assert load_preset(name).rig.views == 64


@pytest.mark.parametrize("name", ["mini", "lite", "full"])
def test_presets_are_whole(name: str) -> None:
    preset = load_preset(name)
    assert preset.rig.views == 64
    assert {stage.resolution for stage in preset.fit.stages} <= {preset.rig.size // n for n in (1, 2, 4, 8)}
    assert len(preset.rig.cameras(preset.rig.size)) == 64


def test_experiments_differ_from_what_they_extend_and_from_each_other() -> None:
    folder = Path(__file__).parents[2] / "datasets_cards" / "modelnet10-gs" / "experiments"
    presets = [load_preset(str(path)) for path in sorted(folder.glob("*.toml"))]
    assert len(presets) == 10
    assert len({preset.about.version for preset in presets}) == 10
    lite = load_preset("lite")
    assert sum(preset.fit == lite.fit for preset in presets) == 1
    assert sum(preset.fit == load_preset("classic").fit for preset in presets) == 1
    for preset in presets:
        assert (preset.rig, preset.render) == (lite.rig, lite.render)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"held_out": 12}, "held_out is 12 .allowed: 1 to 11"),
        ({"held_out": 0}, "held_out is 0"),
    ],
)
def test_rigs_out_of_range_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(tiny_preset().rig, **change)


def test_more_views_than_the_rig_has_cannot_be_kept() -> None:
    preset = tiny_preset()
    with pytest.raises(ValueError, match=r"store.views is 13 .allowed: 1 to 12"):
        dataclasses.replace(preset, store=dataclasses.replace(preset.store, views=13))


@pytest.mark.modelnet
def test_real_meshes_with_their_quirks_build(tmp_path: Path) -> None:
    """The smallest and the largest file of each class in $GSBENCH_MODELNET10."""
    root = os.environ.get("GSBENCH_MODELNET10")
    if not root:
        pytest.skip("set GSBENCH_MODELNET10 to the folder of ModelNet10")
    by_class: dict[str, list[MeshFile]] = {}
    for file in list_meshes(root):
        by_class.setdefault(file.label, []).append(file)
    for files in by_class.values():
        files.sort(key=lambda file: file.path.stat().st_size)
        for file in (files[0], files[-1]):
            rows = build_object(file, tiny_preset())
            assert rows.psnr > 15
            assert np.linalg.norm(rows.points, axis=1).max() <= 1 + 2**-11


def test_parquet_files_of_a_build_open_without_us(built: Built) -> None:
    for path in built[0].glob("*/*.parquet"):
        assert b"huggingface" in pq.read_schema(path).metadata
