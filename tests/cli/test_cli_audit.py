"""`gsbench audit`: what it prints and writes, and one line for every error."""

import json
import os
import re

import pytest

from gsbench.cli import main
from gsbench.meshes.off import save_off
from gsbench.meshes.shapes import make_shape
from gsbench.store.audit import load_audit


@pytest.fixture
def meshes(tmp_path):
    """A chair that is in both splits, and a file that is no mesh."""
    folder = tmp_path / "meshes"
    for place, seed in (("train/chair_1", 1), ("train/chair_2", 2), ("test/chair_3", 1)):
        (folder / "chair" / place).parent.mkdir(parents=True, exist_ok=True)
        save_off(folder / "chair" / f"{place}.off", make_shape("chair", seed))
    (folder / "chair/train/chair_4.off").write_text("OFF\n1 1\n")
    return folder


def run(capsys, *arguments):
    status = main(["audit", *map(str, arguments), "--workers", "1"])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def cells(table: str) -> dict[str, str]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return dict(rows)


def test_a_table_of_counts(capsys, meshes, tmp_path):
    status, out, err = run(capsys, meshes)
    found = cells(out)
    assert (status, err) == (0, "")
    assert (found["train"], found["test"], found["identical files"], found["unreadable"]) == ("3", "1", "1", "1")
    assert found["leaked files"] == found["leaked near"] == "1"
    assert found["open edges"] == "0"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meshes"]


def test_the_file_holds_what_json_prints(capsys, meshes, tmp_path):
    path = tmp_path / "audit.json"
    status, out, _ = run(capsys, meshes, "--out", path, "--json", "--note", "made\nup ")
    assert status == 0
    assert path.read_text() == out
    record = json.loads(out)
    assert record["leaked"]["files"] == ["chair_3"]
    assert record["note"] == "made up"
    assert load_audit(path).unreadable == {"chair_4": "truncated: 1 vertices announced, 0 found"}


def test_an_old_file_is_replaced_as_a_whole(capsys, meshes, tmp_path):
    path = tmp_path / "audit.json"
    path.write_text("old")
    run(capsys, meshes, "--out", path)
    assert load_audit(path).leaked["files"] == ("chair_3",)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["audit.json", "meshes"]


def no_folder(tmp_path, meshes):
    return [tmp_path / "nowhere"], "nowhere: no such folder; meshes are read from"


def a_file(tmp_path, meshes):
    return [meshes / "chair/train/chair_1.off"], r"chair_1\.off: no such folder"


def empty_folder(tmp_path, meshes):
    (tmp_path / "empty").mkdir()
    return [tmp_path / "empty"], "empty: no meshes found, the layout must be"


def an_id_twice(tmp_path, meshes):
    (meshes / "chair/test/chair_1.off").write_text("")
    return [meshes], r"object id 'chair_1' is taken by"


def a_link_out_of_the_folder(tmp_path, meshes):
    (tmp_path / "elsewhere.off").write_text("")
    (meshes / "chair/train/chair_9.off").symlink_to(tmp_path / "elsewhere.off")
    return [meshes], r"chair_9\.off: a link to .*elsewhere\.off, which is not in"


def out_in_no_folder(tmp_path, meshes):
    return [meshes, "--out", tmp_path / "no" / "audit.json"], r"audit\.json: cannot be written, .*no must be a folder"


def out_is_a_folder(tmp_path, meshes):
    return [meshes, "--out", tmp_path], r"is a folder \(allowed: a file to write\)"


@pytest.mark.parametrize(
    "wrong",
    [
        no_folder,
        a_file,
        empty_folder,
        an_id_twice,
        a_link_out_of_the_folder,
        out_in_no_folder,
        out_is_a_folder,
    ],
)
def test_bad_input_is_one_line(capsys, meshes, tmp_path, wrong):
    arguments, message = wrong(tmp_path, meshes)
    before = sorted(os.listdir(tmp_path))
    status, out, err = run(capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("gsbench: error: ")
    assert re.search(message, err)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_full_disk_leaves_the_old_file(capsys, meshes, tmp_path, monkeypatch):
    path = tmp_path / "audit.json"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = run(capsys, meshes, "--out", path)
    assert (status, err.count("\n")) == (2, 1)
    assert "No space left on device" in err
    assert path.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["audit.json", "meshes"]


@pytest.mark.parametrize("option", [["--workers", "0"], ["--worker", "1"], []])
def test_wrong_options_end_at_once(capsys, option):
    assert main(["audit", *option]) == 2
    assert capsys.readouterr().err.count("\n") == 1
