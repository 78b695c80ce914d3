"""Result files: written whole or not at all, read back as they were, refused with a line that names the key."""

import dataclasses
import errno
import json
import os
import stat
import time

import numpy as np
import pytest

from gsbench.core.files import TEMPORARY_PREFIX, write_atomic
from gsbench.core.provenance import ModelInfo, RunInfo
from gsbench.core.recipe import Reported
from gsbench.core.results import SCHEMA_VERSION, Pretext, Result, load_result, save_result
from gsbench.core.tasks import Task


@pytest.fixture
def result() -> Result:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 4)
    return Result(
        schema_version=SCHEMA_VERSION,
        task=Task(
            "mini", "1.0", "ab" * 32, "test", "gaussians", "supervised", 50, 2, "xyz+geo", "fps", 1024, None, None
        ),
        model=ModelInfo("pointnet++:quick", "PointNet++", "cd" * 32, 1_467_978, code_sha256="ef" * 32),
        run=RunInfo(1, "cpu", "last", 10, 240, 12.5, 0.5, 300.0, "bf16", {"torch": "2.13.0"}, None, None),
        metrics={"accuracy": 0.75, "class_accuracy": 0.7},
        reported=Reported("ModelNet40", "points", 0.919, "PointNet++ paper, table 3"),
        predictions={f"chair_{i:04d}": row.round(6).tolist() for i, row in enumerate(probabilities)},
    )


@pytest.fixture
def path(result, tmp_path):
    save_result(result, tmp_path / "new" / "result.json")
    return tmp_path / "new" / "result.json"


def edit(path, change) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_a_result_comes_back_as_it_was(result, path):
    assert load_result(path) == result
    assert [entry.name for entry in path.parent.iterdir()] == ["result.json"]


def test_the_same_result_gives_the_same_bytes(result, path, tmp_path):
    shuffled = dataclasses.replace(result, predictions=dict(reversed(result.predictions.items())))
    save_result(shuffled, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_probabilities_are_kept_to_six_digits(result, path):
    record = json.loads(path.read_text())
    assert set(record) == {f.name for f in dataclasses.fields(Result)}
    assert record["predictions"] == result.predictions
    finer = dataclasses.replace(result, predictions={"a": [1 / 3, 2 / 3, -1e-9]})
    save_result(finer, path)
    assert '"a": [0.333333, 0.666667, 0.0]' in path.read_text()
    assert load_result(path).predictions == {"a": [0.333333, 0.666667, 0.0]}


def test_what_an_encoder_learnt_from_comes_back_and_is_in_the_name(result, path):
    pretext = Pretext("xyz+geo", "uniform", 2048, 64, 3991, 100, 5.0, "bf16", {"mpd_auc": 0.9})
    task = dataclasses.replace(result.task, protocol="probe")
    full = dataclasses.replace(result, task=task, pretext=pretext, stated={"knn_accuracy": 0.8})
    save_result(full, path)
    assert load_result(path) == full
    assert full.file_name() == "pointnet++-quick-xyz+geo-uniform-n2048-v64-s1.json"


def test_an_older_file_has_none_of_these(result, path):
    def older(record):
        for table, key in ((record, "pretext"), (record, "stated"), (record["task"], "cameras"),
                           (record["model"], "code_sha256")):  # fmt: skip
            del table[key]
        record["schema_version"] = 1

    edit(path, older)
    model = dataclasses.replace(result.model, code_sha256=None)
    assert load_result(path) == dataclasses.replace(result, schema_version=1, model=model)


def test_file_name(result):
    assert result.file_name() == "pointnet++-quick-s1.json"
    other = dataclasses.replace(result, model=dataclasses.replace(result.model, name="org/net:big"))
    assert other.file_name() == "org-net-big-s1.json"


def set_key(*keys, value):
    def change(record):
        for key in keys[:-1]:
            record = record[key]
        record[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_key("schema_version", value=4), r"schema_version is 4 \(allowed: 1 to 3; it was written"),
        (set_key("schema_version", value=0), r"schema_version is 0 \(allowed: 1 to 3\)"),
        (set_key("schema_version", value=True), r"schema_version is True"),
        (set_key("schema_version", value=1), r"model\.code_sha256 is set at schema_version 1 \(allowed: from 2 on\)"),
        (set_key("model", "code_sha256", value="hello"), r"model: code_sha256 is 'hello' \(allowed: 64 hex"),
        (lambda r: r.pop("schema_version"), "schema_version is None"),
        (lambda r: r.pop("task"), "key 'task' is missing"),
        (set_key("extra", value=1), "unknown key 'extra'"),
        (set_key("task", "modality", value="voxels"), "task: modality: 'voxels' .*points | gaussians | images"),
        (set_key("task", "sampling", value="grid"), "sampling: 'grid'"),
        (set_key("task", "regime", value=30), r"regime is 30 \(allowed: 100, 50, 10, 1\)"),
        (set_key("task", "num_point", value=3), "unknown key 'num_point'; did you mean 'num_points'"),
        (set_key("model", "num_params", value="many"), "num_params: 'many' .*a whole number"),
        (set_key("run", "dirty", value="yes"), "dirty: 'yes'"),
        (set_key("metrics", "accuracy", value=None), "metrics.accuracy: None"),
        (set_key("stated", "psnr", value=float("nan")), r"stated\.psnr is nan \(must be finite\)"),
        (set_key("pretext", value={}), "pretext: key 'features' is missing"),
        (lambda r: r.pop("predictions"), "predictions is missing or empty"),
        (set_key("predictions", value={}), "predictions is missing or empty"),
        (set_key("predictions", "chair_0001", value=[float("nan"), 0.5, 0.5]), r"predictions\.chair_0001 is \[nan"),
        (set_key("predictions", "chair_0001", value=[float("inf"), 0, 0]), r"predictions\.chair_0001 is \[inf"),
        (set_key("predictions", "chair_0001", value=[0.5, 0.5, 0.1]), "chair_0001 .*sum to 1; sums to 1.1"),
        (set_key("predictions", "chair_0001", value=[1.5, -0.5, 0]), "chair_0001 .*in 0..1"),
        (set_key("predictions", "chair_0001", value=[0.5, 0.5]), "all as long"),
        (set_key("predictions", "chair_0001", value=None), "all as long"),
        (set_key("predictions", "chair_0001", value=[{}, 0, 1]), "no number"),
    ],
)
def test_a_file_that_is_no_result(path, change, message):
    edit(path, change)
    with pytest.raises(ValueError, match=message) as caught:
        load_result(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[1]", "schema_version is None"), ("", "not JSON")])
def test_a_file_that_is_no_record(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_result(tmp_path / "x.json")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"no\.json: cannot be read \(No such file"):
        load_result(tmp_path / "no.json")


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "kept.json"
    path.write_text("old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.json"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("target", ["there/file.json", "missing/new.json"])
def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path, target):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file.json").write_text("old")
    link = tmp_path / "link.json"
    link.symlink_to(target)
    write_atomic(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / target).read_bytes() == b"new"


def test_a_link_in_a_circle_is_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=r"symbolic links: '.*/a'"):
        write_atomic(tmp_path / "a", b"new")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "new", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o664])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    write_atomic(path, b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", mode)


@pytest.mark.parametrize("mode", [0o400, 0o444])
def test_a_read_only_file_is_not_replaced(tmp_path, mode):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    with pytest.raises(PermissionError, match=r"is read-only .make it writable, or name another file.: '.*/file'"):
        write_atomic(path, b"new")
    assert (os.listdir(tmp_path), path.read_text()) == (["file"], "old")


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is no regular file"):
        write_atomic(tmp_path / "pipe", b"new")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_what_killed_processes_left_is_removed_after_a_day(tmp_path):
    old, fresh, another = (tmp_path / f"{TEMPORARY_PREFIX}{name}" for name in (f"{'0a' * 8}.json", "1b" * 8, "train-0"))
    for path in (old, fresh, another):
        path.write_text("half of")
    for path in (old, another):
        os.utime(path, (0, time.time() - 25 * 3600))
    write_atomic(tmp_path / "file", b"new")
    assert sorted(tmp_path.iterdir()) == sorted([fresh, another, tmp_path / "file"])


def test_a_folder_that_cannot_be_made(result, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        save_result(result, tmp_path / "file" / "result.json")
