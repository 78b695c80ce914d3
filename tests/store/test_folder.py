import dataclasses
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest
from PIL import Image

import gsbench
from gsbench.core.parsing import InputError
from gsbench.store import hub
from gsbench.store.arrays import rows_of
from gsbench.store.folder import NAMES, open_folder, read_labels, read_table
from gsbench.store.load import HUB_REPO, default_data, load_dataset, resolve
from gsbench.store.manifest import load_manifest, save_manifest
from tests.store.conftest import OBJECTS, POINTS, SIZE, gaussian_row, points_row

pytestmark = pytest.mark.usefixtures("datasets_cache")
ARRAYS = ("means", "quats", "scales", "opacities", "sh", "fps_order")


def test_datasets_reads_the_folder_as_it_stands(made: Path) -> None:
    loaded = datasets.load_dataset(str(made)).with_format("numpy")
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 20, "test": 6}
    assert loaded["train"].features == open_folder(made).manifest.schema("gaussians").features()
    for split, labels in OBJECTS.items():
        for row, object_id in zip(loaded[split], sorted(labels), strict=True):
            assert row["object_id"] == object_id
            assert ("chair", "sofa")[int(row["label"])] == labels[object_id]
            for name in ARRAYS:
                np.testing.assert_array_equal(row[name], gaussian_row(object_id)[name])


def test_datasets_decodes_images_and_cameras(made: Path) -> None:
    views = gsbench.load_dataset(str(made), config="views", split="test")
    assert len(views) == 18
    row = views[4]
    assert (row["object_id"], row["view"]) == ("chair_0012", 1)
    assert (row["image"].size, row["image"].mode) == ((SIZE, SIZE), "RGBA")
    assert np.shape(row["viewmat"]) == (4, 4)
    assert np.shape(row["K"]) == (3, 3)


def test_pandas_reads_the_folder_as_it_stands(made: Path) -> None:
    frame = pandas.read_parquet(made / "gaussians")
    assert sorted(frame["object_id"]) == sorted([*OBJECTS["train"], *OBJECTS["test"]])
    row = frame.set_index("object_id").loc["sofa_0003"]
    np.testing.assert_array_equal(np.stack(row["means"]), gaussian_row("sofa_0003")["means"])


def test_pyarrow_reads_a_shard_as_it_stands(made: Path) -> None:
    table = pq.read_table(made / "points" / "test-00000-of-00001.parquet")
    np.testing.assert_array_equal(table["points"][0].as_py(), points_row("chair_0011", POINTS)["points"])


def test_read_table_gives_all_shards_in_order(made: Path) -> None:
    folder = open_folder(made)
    assert len(folder.manifest.shards_of("gaussians", "train")) > 1
    table = read_table(folder, "gaussians", "train", ["object_id", "sh"])
    assert table.column_names == ["object_id", "sh"]
    assert table["object_id"].to_pylist() == sorted(OBJECTS["train"])
    for sh, object_id in zip(rows_of(table["sh"], (4, 3)), sorted(OBJECTS["train"]), strict=True):
        np.testing.assert_array_equal(sh, gaussian_row(object_id)["sh"])


def test_read_table_gives_images_that_decode(made: Path) -> None:
    image = read_table(open_folder(made), "views", "test", ["image"])["image"][0].as_py()
    assert Image.open(io.BytesIO(image["bytes"])).size == (SIZE, SIZE)


def test_read_labels(made: Path) -> None:
    assert read_labels(open_folder(made), "test") == OBJECTS["test"]


@pytest.mark.parametrize(
    ("config", "split", "columns", "message"),
    [
        ("depths", "train", None, "tiny has no config 'depths' .it has: gaussians, points, views, reconstructions"),
        ("points", "validation", None, "has no split 'validation' .allowed: train, test"),
        ("points", "train", ["pionts"], "no column 'pionts'; did you mean 'points'"),
    ],
)
def test_what_is_not_there_is_named(
    made: Path, config: str, split: str, columns: list[str] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(open_folder(made), config, split, columns)


def test_a_flipped_byte_never_reaches_the_reader(folder: Path) -> None:
    (path,) = folder.glob("points/test-*.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"points/test-00000-of-00001.parquet: shard is damaged or another"):
        read_table(open_folder(folder), "points", "test")


def test_a_missing_shard_is_named(folder: Path) -> None:
    (path,) = folder.glob("points/test-*.parquet")
    path.unlink()
    with pytest.raises(ValueError, match=r"points/test-00000-of-00001.parquet: shard is missing"):
        read_table(open_folder(folder), "points", "test")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minni", "minni: no such data set; did you mean 'mini'"),
        ("./nowhere", "nowhere: no such data set"),
        ("/nowhere/at/all", "/nowhere/at/all: no such data set"),
        ("some/thing", "some/thing: no such folder, and not to be had from the Hugging Face Hub"),
    ],
)
def test_unknown_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no data set, it has no manifest.json"):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "manifest.json: not JSON"),
        ("[]", "format_version is None"),
        ('{"format_version": 2}', "format_version is 2 .allowed: 1; it was written by a newer gsbench, which reads it"),
        ('{"format_version": 0}', r"format_version is 0 \(allowed: 1\)$"),
        ('{"format_version": 1, "nam": "x"}', "unknown key 'nam'; did you mean 'name'"),
        ('{"format_version": 1}', "key 'name' is missing"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        open_folder(tmp_path)


def test_a_revision_that_the_folder_is_not_is_refused(made: Path) -> None:
    assert resolve(str(made), revision="0.1") == made
    with pytest.raises(ValueError, match=r"revision 0.2 asked for, the folder is 0.1"):
        resolve(str(made), revision="0.2")


def test_load_dataset_refuses_an_unknown_config_before_any_download() -> None:
    with pytest.raises(ValueError, match="no 'gausians'; did you mean 'gaussians'"):
        load_dataset("some/thing", config="gausians")


def test_modelnet10_is_the_local_build_where_there_is_one(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GSBENCH_DATA", str(made))
    assert resolve("modelnet10-gs") == made
    assert default_data() == ("modelnet10-gs", None)
    monkeypatch.delenv("GSBENCH_DATA")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "modelnet10-gs").symlink_to(made)
    assert resolve("modelnet10-gs") == tmp_path / "modelnet10-gs"
    assert default_data() == ("modelnet10-gs", None)


def test_without_modelnet10_the_default_is_mini_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GSBENCH_DATA", raising=False)
    name, notice = default_data()
    assert name == "mini"
    assert notice is not None
    assert "not comparable" in notice
    with pytest.raises(ValueError, match="not to be had from the Hugging Face Hub"):
        resolve("modelnet10-gs")


def test_a_silent_hub_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that never returns, as with a name server that drops packets, ends in `mini` all the same."""
    import threading

    never = threading.Event()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.file_exists", lambda *_args, **_options: never.wait())
    monkeypatch.setattr(hub, "_SECONDS", 0.05)
    assert default_data()[0] == "mini"
    never.set()


ODD_NAMES = [
    "run[1]",
    "a*b",
    "c::d",
    "e?f",
    "g.h",
    "{q}",
    "x@1",
    "a:b",
    "sp ace",
    "~",
    "-",
    "é",
    "mini",
    "modelnet10-gs",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_path_is_that_path_whatever_its_characters(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A neighbor that a pattern would find as well holds other data, which must not be taken."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for each, version in (("run1", "other"), (name, "wanted")):
        shutil.copytree(made, each)
        save_manifest(dataclasses.replace(load_manifest(Path(each)), version=version), Path(each))
    for neighbor in ("run1", "axb", "c", "exf"):  # what a pattern finds
        for shard in Path(neighbor).glob("*/*.parquet") if neighbor != name else ():
            shard.write_bytes(b"")
    for written in (f"./{name}", f"./{name}/", f"{tmp_path}/{name}", f"../{tmp_path.name}/{name}", Path(name)):
        folder = open_folder(resolve(written))
        assert folder.manifest.version == "wanted"
        assert str(folder.path) not in NAMES
    for config, split_of in folder.manifest.counts.items():
        loaded = load_dataset(f"./{name}", config)
        assert loaded["train"].features == folder.manifest.schema(config).features()
        assert {split: len(rows) for split, rows in loaded.items()} == {
            split: sum(of_class.values()) for split, of_class in split_of.items()
        }
        assert loaded["test"]["object_id"] == read_table(folder, config, "test")["object_id"].to_pylist()


def test_the_folder_one_is_in_and_the_one_above(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made / "points")
    assert open_folder(resolve("..")).manifest.name == "tiny"
    assert len(load_dataset("..", "points", "test[:2]")) == 2
    monkeypatch.chdir(made)
    assert open_folder(resolve(".")).manifest.name == "tiny"
    assert len(load_dataset(".", "points", "train+test")) == 26
    monkeypatch.chdir(made.parent)
    monkeypatch.setenv("HOME", str(made.parent))
    assert resolve("~/tiny") == made


def test_a_name_is_no_folder_beside_and_says_so(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    embedded = resolve("mini", notify=told.append)
    assert told == []
    shutil.copytree(made, "mini")
    assert resolve("mini", notify=told.append) == embedded
    assert told == ["`mini` is the embedded data set; the folder of that name here is ./mini"]
    with pytest.warns(UserWarning, match=r"the folder of that name here is ./mini"):
        assert len(load_dataset("mini", "points", "test")) == 120
    assert open_folder(resolve("./mini", notify=told.append)).manifest.name == "tiny"
    Path("modelnet10-gs").mkdir()
    with pytest.raises(InputError, match="not to be had from the Hugging Face Hub"):
        resolve("modelnet10-gs", notify=told.append)
    monkeypatch.setenv("GSBENCH_DATA", str(made))
    assert resolve("modelnet10-gs", notify=told.append) == made
    assert told[1:] == [
        "./modelnet10-gs is no data set, it has no manifest.json: `modelnet10-gs` is looked for on the Hub",
        f"`modelnet10-gs` is $GSBENCH_DATA, {made}; the folder of that name here is ./modelnet10-gs",
    ]
    monkeypatch.setenv("GSBENCH_DATA", "nowhere")
    with pytest.raises(InputError, match=r"^GSBENCH_DATA: nowhere: no such folder"):
        resolve("modelnet10-gs", notify=told.append)


@pytest.mark.parametrize("name", ["", " ", "a\0b", "x" * 5000, "mini@", "@", "~nobody/x", "mini:x", "a\nb", "a/b/c"])
def test_what_is_no_name_is_refused_in_a_line(name: str) -> None:
    with pytest.raises(InputError, match="no such data set") as caught:
        resolve(name)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_revisions_behind_names(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def download(repo: str, revision: str | None, *_: object, **__: object) -> Path:
        asked.append((repo, revision))
        return made

    monkeypatch.setattr(hub, "download", download)
    monkeypatch.delenv("GSBENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    for name, revision in (("org/data@v1", None), ("org/data", "v1"), ("org/data@refs/pr/3", None), ("org/data", None)):
        assert resolve(name, revision) == made
    assert resolve("modelnet10-gs@v2") == made
    assert asked == [
        ("org/data", "v1"),
        ("org/data", "v1"),
        ("org/data", "refs/pr/3"),
        ("org/data", None),
        (HUB_REPO, "v2"),
    ]
    assert open_folder(resolve("mini@1.0.0")).manifest.name == "mini"
    assert resolve(f"{made}@0.1") == made
    with pytest.raises(InputError, match=r"revision 2 asked for, the folder is 1\.0\.0"):
        resolve("mini@2")
    with pytest.raises(InputError, match=r"org/data@v1: revision v2 asked for as well"):
        resolve("org/data@v1", "v2")


@pytest.mark.parametrize("split", ["validation", "train[", "train[:x]", "", "test[:10%", "train test"])
def test_a_split_that_is_none_is_named(made: Path, split: str) -> None:
    with pytest.raises(InputError, match=r"split: .*allowed: train, test, or slices"):
        load_dataset(str(made), "points", split)


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_named(made: Path) -> None:
    """In processes of their own, since Hugging Face's libraries read HF_HOME once."""
    script = (
        "import sys, gsbench\nfrom gsbench.core.parsing import InputError\n"
        "try:\n    gsbench.load_dataset(sys.argv[1], 'points')\n"
        "except InputError as error:\n    print(error)"
    )
    for name, extra in ((str(made), {}), ("some/thing", {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"})):
        environ = {**os.environ, "HF_HOME": "/proc/nowhere", **extra}
        done = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True, env=environ)
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        if name == str(made):
            assert "the cache of Hugging Face cannot be written" in line
            assert "HF_HOME is /proc/nowhere (must be a folder that can be written" in line
