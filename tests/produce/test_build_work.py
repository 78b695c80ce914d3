"""The work folder: whose it is, whose it is not, and what a killed build leaves in it."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import gsbench
from gsbench.core.files import TEMPORARY_PREFIX
from gsbench.core.parsing import InputError
from gsbench.meshes.split import list_meshes
from gsbench.produce.description import FORMAT, Description, Source, code_sha256, describe, first_difference
from gsbench.produce.made import Made, forget, has_rows, keep_made, load_made, rows_path
from gsbench.produce.preset import load_preset
from gsbench.produce.work import Work, open_work, work_path

HERE = Source("chair", "train", "ab", 1, 2)
MADE = Made(30.0, 0.9, {"points": 4}, {"points": 7})
BUILD = Description(FORMAT, {"fit": {"steps": [1, 2]}, "limit": None}, "c0de", {"numpy": "2"}, {"a": HERE, "b": HERE})


def as_build(_known: Mapping[str, Source]) -> Description:
    return BUILD


def fail_after(out: Path, steps: Callable[[Work], object]) -> Path:
    """A build that does some steps and fails; returns its work folder."""

    def run() -> None:
        with open_work(out, as_build) as work:
            steps(work)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run()
    return work_path(out)


def leave(out: Path, *names: str) -> Path:
    """Fails after an object is finished, and leaves files of those names."""

    def steps(work: Work) -> None:
        path = rows_path(work.objects, "points", "a")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"rows")
        keep_made(work.objects, "a", MADE)
        for name in names:
            (work.path / name).write_text("half")

    return fail_after(out, steps)


def test_the_folder_goes_when_the_build_succeeds(tmp_path: Path) -> None:
    with open_work(tmp_path / "deep/out", as_build) as work:
        assert work.path == work_path(tmp_path / "deep/out") == tmp_path / "deep/.out.building"
        (work.folder / "manifest.json").write_text("{}")
        work.place()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert (tmp_path / "deep/out/manifest.json").read_text() == "{}"


def test_the_folder_goes_when_a_build_fails_that_has_nothing_to_keep(tmp_path: Path) -> None:
    fail_after(tmp_path / "out", lambda work: keep_made(work.objects, "a", Made(reason="empty")))
    assert list(tmp_path.iterdir()) == []


def test_what_is_finished_stays_and_what_is_half_written_goes(tmp_path: Path) -> None:
    half = [
        f"objects/points/{TEMPORARY_PREFIX}1.arrow",
        f"shards/{TEMPORARY_PREFIX}2.json",
        f"{TEMPORARY_PREFIX}3.json",
    ]
    path = leave(tmp_path / "out", *half)
    with open_work(tmp_path / "out", as_build) as work:
        assert not list(path.rglob(f"{TEMPORARY_PREFIX}*"))
        assert load_made(work.objects, ["a", "b"]) == {"a": MADE}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", '{"psnr": 30', '{"psrn": 30}', None])
def test_an_object_whose_record_is_not_whole_is_not_finished(tmp_path: Path, text: str | None) -> None:
    """As after a power failure, when names may have outlived what they name."""
    record = leave(tmp_path / "out") / "objects/a.json"
    record.unlink() if text is None else record.write_text(text)
    assert load_made(record.parent, ["a"]) == {}


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"row")])
def test_rows_that_are_gone_or_cut_off_are_not_there(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    objects = leave(tmp_path / "out") / "objects"
    assert has_rows(objects, "points", "a", MADE)
    damage(rows_path(objects, "points", "a"))
    assert not has_rows(objects, "points", "a", MADE)
    forget(objects, ["a"])
    assert [path.name for path in objects.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize(
    "meshes",
    [
        {"a": HERE},
        {"a": HERE, "b": dataclasses.replace(HERE, sha256="cd")},
        {"a": HERE, "new": HERE},
        {"a": HERE, "b": dataclasses.replace(HERE, split="test")},
    ],
)
def test_a_mesh_that_was_set_aside_may_be_mended_renamed_or_removed(
    tmp_path: Path, meshes: dict[str, Source], final: bool
) -> None:
    path = leave(tmp_path / "out")
    keep_made(path / "objects", "b", Made(reason="no faces", final=final))
    mended = dataclasses.replace(BUILD, meshes=meshes, recipe={**BUILD.recipe, "about": {"name": "other"}})
    with open_work(tmp_path / "out", lambda _known: mended) as work:
        assert list(load_made(work.objects, ["a", "b"])) == ["a"]
        assert json.loads((path / "build.json").read_text())["meshes"].keys() == meshes.keys()
    path = leave(tmp_path / "again")
    keep_made(path / "objects", "b", Made(reason="no faces", final=final))
    changed = {**meshes, "a": dataclasses.replace(HERE, sha256="ef")}
    with (
        pytest.raises(InputError, match="its mesh of a is not the one"),
        open_work(tmp_path / "again", lambda _known: dataclasses.replace(mended, meshes=changed)),
    ):
        pass
    assert (path / "objects/points/a.arrow").exists()


def test_what_is_to_be_tried_again_is_not_finished(tmp_path: Path) -> None:
    keep_made(tmp_path, "a", Made(reason="Permission denied", final=False))
    assert load_made(tmp_path, ["a"]) == {}


def test_a_reason_is_kept(tmp_path: Path) -> None:
    keep_made(tmp_path, "a", Made(reason="no faces"))
    assert load_made(tmp_path, ["a"])["a"].reason == "no faces"


HOLD = """
import pathlib, sys
from gsbench.produce.work import open_work
from tests.produce.test_build_work import as_build
with open_work(pathlib.Path(sys.argv[1]), as_build):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_second_build_is_refused_and_the_lock_dies_with_its_owner(tmp_path: Path) -> None:
    path = leave(tmp_path / "out")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "out"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        told = rf"/out: is being built already \(process {owner.pid} on .*\); wait for it or end it"
        with pytest.raises(ValueError, match=told), open_work(tmp_path / "out", as_build):
            pass
        assert (path / "objects/points/a.arrow").exists()
        owner.kill()
    with open_work(tmp_path / "out", as_build) as work:
        assert list(load_made(work.objects, ["a"])) == ["a"]


def change(**changes: object) -> Description:
    return dataclasses.replace(BUILD, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (
            change(recipe={**BUILD.recipe, "fit": {"steps": [1, 3]}}),
            r"its recipe.fit.steps is \[1, 2\], yours is \[1, 3\]",
        ),
        (change(recipe={**BUILD.recipe, "new": 1}), "its recipe.new is not set, yours is 1"),
        (change(programs={"numpy": "3"}), "its programs.numpy is 2, yours is 3"),
        (change(code="c0ffee"), "its code is c0de, yours is c0ffee"),
        (change(meshes={"a": HERE}), "it has 1 meshes that you have not, such as b"),
        (change(meshes={"a": HERE, "b": HERE, "c": HERE}), "you have 1 meshes that it has not, such as c"),
        (
            change(meshes={"a": HERE, "b": dataclasses.replace(HERE, sha256="cd")}),
            "its mesh of b is not the one that you have",
        ),
        (change(meshes={"a": dataclasses.replace(HERE, split="test"), "b": HERE}), "its mesh of a is not the one"),
    ],
)
def test_the_folder_of_another_build_is_refused_and_stays(tmp_path: Path, other: Description, told: str) -> None:
    path = leave(tmp_path / "out")
    with (
        pytest.raises(ValueError, match=rf"\.out\.building: holds another build into out: {told}.*delete that folder"),
        open_work(tmp_path / "out", lambda _known: other),
    ):
        pass
    assert (path / "objects/points/a.arrow").exists()
    assert first_difference(BUILD, BUILD) is None


@pytest.mark.parametrize(("text", "found"), [('{"format": 9}', "9"), ("[]", "None"), ("{", "None")])
def test_the_folder_of_a_newer_version_is_refused(tmp_path: Path, text: str, found: str) -> None:
    path = leave(tmp_path / "out")
    (path / "build.json").write_text(text)
    with (
        pytest.raises(ValueError, match=rf"\.out\.building: holds a build of format {found} .*delete that folder"),
        open_work(tmp_path / "out", as_build),
    ):
        pass
    assert (path / "objects/points/a.arrow").exists()


def test_a_build_that_was_killed_after_its_last_step_is_done(tmp_path: Path) -> None:
    path = leave(tmp_path / "out")
    (path / "folder/manifest.json").write_text("{}")
    fail_after(tmp_path / "out", lambda work: work.place())
    shutil.copytree(path, tmp_path / "kept")
    with open_work(tmp_path / "out", as_build) as work:
        assert work.placed
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kept", "out"]
    # Another data set in that place is not taken for it.
    (tmp_path / "kept").rename(path)
    (tmp_path / "out/manifest.json").write_text("{ }")
    with pytest.raises(ValueError, match="out: exists already"), open_work(tmp_path / "out", as_build):
        pass
    assert (path / "objects/points/a.arrow").exists()


def test_a_build_that_was_killed_before_its_last_step_goes_on(tmp_path: Path) -> None:
    path = leave(tmp_path / "out", "placed.json")
    with open_work(tmp_path / "out", as_build) as work:
        assert not work.placed
        assert not (path / "placed.json").exists()


def test_a_folder_without_a_description_is_begun_anew(tmp_path: Path) -> None:
    work_path(tmp_path / "out").mkdir()
    (work_path(tmp_path / "out") / "lock").write_text("process 1 on nowhere")
    with open_work(tmp_path / "out", as_build) as work:
        assert json.loads((work.path / "build.json").read_text())["code"] == "c0de"


def test_an_output_that_is_taken_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/file").write_text("")
    with pytest.raises(ValueError, match="out: exists already"), open_work(tmp_path / "out", as_build):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_description_reads_only_what_may_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("chair_1", "chair_2", "chair_3"):
        path = tmp_path / f"chair/train/{name}.off"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    files, recipe = list_meshes(tmp_path), load_preset("mini")
    before = describe(files, recipe, "cpu", {})
    files[1].path.write_text("chair_two")
    os.utime(files[2].path, (1, 1))
    read: list[str] = []
    monkeypatch.setattr(
        "gsbench.produce.description.mesh_sha256", lambda path: read.append(path.stem) or path.read_text()
    )
    after = describe(files, recipe, "cpu", before.meshes)
    assert read == ["chair_2", "chair_3"]
    assert after.meshes["chair_1"] == before.meshes["chair_1"]
    assert after.programs["device"] == "cpu"
    assert "pyrender" not in after.programs
    files[0].path.unlink()
    assert describe(files, recipe, "cuda", before.meshes).meshes["chair_1"].sha256 is None


def test_an_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    leave(tmp_path / "out")

    def interrupted() -> None:
        with open_work(tmp_path / "out", as_build):
            raise KeyboardInterrupt

    with pytest.raises(
        KeyboardInterrupt, match=r"what is finished stays in .*\.out\.building, and the same command goes"
    ):
        interrupted()


@pytest.mark.slow
def test_only_modules_that_a_build_runs_decide_whether_it_goes_on(tmp_path: Path) -> None:
    """A module that decides nothing may be added or changed beside a build that was begun."""
    package = tmp_path / "gsbench"
    shutil.copytree(Path(gsbench.__file__).parent, package, ignore=shutil.ignore_patterns("mini", "__pycache__"))

    def code() -> str:
        script = "from gsbench.produce.description import code_sha256; print(code_sha256())"
        command = [sys.executable, "-c", script]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    before = code()
    assert before == f"{code_sha256()}\n", "wherever it lies"
    (package / "new.py").write_text("import gsbench.produce.build\n")
    for part in ("learn/train", "learn/evaluation/main", "board/table", "cli/scoring", "paper/figures/sheet"):
        (package / f"{part}.py").write_text((package / f"{part}.py").read_text() + "# changed\n")
    assert code() == before
    for part in ("render/mesh/software", "store/shards", "reconstruct/hull/hull_kernels", "produce/packing"):
        written = (package / f"{part}.py").read_text()
        (package / f"{part}.py").write_text(written + "# changed\n")
        assert code() != before, part
        (package / f"{part}.py").write_text(written)
