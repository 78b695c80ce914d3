"""`gsbench convert`: every pair of formats, what it says of losses, and one line for every error."""

import dataclasses
import itertools
import os
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plyfile
import pytest

from gsbench.cli import main
from gsbench.core.parsing import InputError
from gsbench.formats import SUFFIXES, load_splats, save_splats
from gsbench.store.folder import load_object, open_folder
from gsbench.store.load import resolve
from tests.formats.samples import assert_same, random_gaussians

OBJECT = "chair_0025"


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs `gsbench convert ARGV` in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run_command(*argv: object) -> Done:
        capsys.readouterr()
        try:
            status = main(["convert", *(str(word) for word in argv)])
        except SystemExit as leave:
            status = leave.code
        return Done(status, *capsys.readouterr())

    return run_command


@pytest.fixture(scope="module")
def original():
    return load_object(open_folder(resolve("mini")), OBJECT)


def test_an_object_of_the_mini_as_ply(run, original) -> None:
    assert run(f"mini:{OBJECT}", "chair.ply") == Done(
        0, f"chair.ply: 512 Gaussians of SH degree 1, {os.path.getsize('chair.ply')} bytes\n", ""
    )
    assert_same(load_splats("chair.ply"), original, ("means", "quats", "sh"))
    vertex = plyfile.PlyData.read("chair.ply")["vertex"]
    np.testing.assert_array_equal(np.stack([vertex[f"rot_{i}"] for i in range(4)], axis=1), original.quats)
    np.testing.assert_allclose(np.exp(vertex["scale_1"]), original.scales[:, 1], rtol=1e-6)


@pytest.mark.parametrize("suffix", [".ply", ".glb"])
def test_the_exact_formats_bring_the_same_file_back(run, suffix: str) -> None:
    run(f"mini:{OBJECT}", "a.ply")
    run("a.ply", f"b{suffix}")
    done = run(f"b{suffix}", "c.ply")
    assert (done.status, done.err.count("lossy")) == (0, 0)
    assert Path("a.ply").read_bytes() == Path("c.ply").read_bytes()


@pytest.mark.parametrize(("suffix", "degree", "least", "atol"), [(".splat", 0, 35, 0), (".spz", 1, 50, 2**-17)])
def test_the_lossy_formats_say_what_they_lose(
    run, original, suffix: str, degree: int, least: float, atol: float
) -> None:
    done = run(f"mini:{OBJECT}", f"b{suffix}")
    assert done.out.startswith(f"b{suffix}: 512 Gaussians of SH degree 1, ")
    notes = done.err.splitlines()
    assert [note for note in notes if "SH of degree 0 only" in note] == notes[: 1 - degree]
    start, _, rest = notes[-1].partition(" have ")
    assert start == f"gsbench: NOTE: b{suffix}: {suffix} is lossy: renders of it"
    assert least < float(rest.split()[0]) < 70
    assert rest.endswith("dB PSNR against the original's, over 8 views of 256x256")
    assert run(f"b{suffix}", "c.ply").status == 0
    again = load_splats("c.ply")
    np.testing.assert_allclose(again.means, original.means, atol=atol, rtol=0)
    np.testing.assert_allclose(again.scales, original.scales, rtol=0.032)
    assert again.sh.shape == (512, (degree + 1) ** 2, 3)


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(SUFFIXES, 2)))
def test_every_pair_of_formats(run, source: str, target: str) -> None:
    save_splats(random_gaussians(20, 1), f"a{source}", notify=lambda note: None)
    done = run(f"a{source}", f"b{target}")
    assert done.status == 0
    means = [load_splats(path).means for path in (f"a{source}", f"b{target}")]
    np.testing.assert_allclose(*means, atol=2**-16)
    one_is_y_up = {source, target} not in ({".ply", ".splat"}, {".spz", ".glb"})
    named = f"a{source}" if source in (".spz", ".glb") else f"b{target}"
    note = f"gsbench: NOTE: {named}: y is up there; the other file's axes taken as z-up (--axes)"
    assert (note in done.err.splitlines()) == one_is_y_up


def test_axes_of_captures(run) -> None:
    gaussians = random_gaussians(20, 1)
    save_splats(gaussians, "a.ply")
    assert "taken as y-down (--axes)" in run("a.ply", "b.glb", "--axes", "y-down").err
    assert_same(load_splats("b.glb", axes="y-down"), load_splats("a.ply"))
    np.testing.assert_allclose(
        load_splats("b.glb").means, gaussians.means @ [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-6
    )
    run("b.glb", "c.ply", "--axes", "y-down")
    assert Path("a.ply").read_bytes() == Path("c.ply").read_bytes()


def test_opacities_without_the_logit(run) -> None:
    save_splats(random_gaussians(20, 1), "a.ply")
    data = plyfile.PlyData.read("a.ply", mmap=False)
    data["vertex"]["opacity"] = np.linspace(0, 1, 20, dtype=np.float32)
    data.write("b.ply")
    assert "as if stored without the logit" in run("b.ply", "c.ply").err
    done = run("b.ply", "c.ply", "--opacity", "linear")
    assert (done.status, "opacities taken as linear" in done.err) == (0, True)
    np.testing.assert_allclose(load_splats("c.ply").opacities, np.linspace(0, 1, 20), atol=2e-8)


def test_scales_without_the_logarithm(run) -> None:
    save_splats(random_gaussians(20, 1), "a.ply")
    data = plyfile.PlyData.read("a.ply", mmap=False)
    for i in range(3):
        data["vertex"][f"scale_{i}"] = np.linspace(0.01, 0.1, 20, dtype=np.float32)
    data.write("b.ply")
    assert "as if stored without the logarithm" in run("b.ply", "c.ply").err
    done = run("b.ply", "c.ply", "--scales", "linear")
    assert (done.status, "scales taken as linear" in done.err) == (0, True)
    np.testing.assert_allclose(load_splats("c.ply").scales[:, 0], np.linspace(0.01, 0.1, 20), rtol=1e-6)


def test_an_id_and_a_folder_may_hold_colons(run, monkeypatch) -> None:
    asked: list[tuple[str, str]] = []

    def load(folder: object, object_id: str) -> None:
        asked.append((str(folder), object_id))
        raise InputError("seen")

    monkeypatch.setattr("gsbench.store.load.resolve", lambda name, configs, notify: name)
    monkeypatch.setattr("gsbench.store.folder.open_folder", lambda path: path)
    monkeypatch.setattr("gsbench.store.folder.load_object", load)
    Path("data:v1").mkdir()
    for source in ("data:v1:chair:0001", "mini:chair:0001", "org/name:a", "./data:v1:a", "mini:"):
        assert run(source, "a.ply").status == 2
    expected = [("data:v1", "chair:0001"), ("mini", "chair:0001"), ("org/name", "a"), ("./data:v1", "a"), ("mini", "")]
    assert asked == expected


ERRORS = {
    "means of 3e38": (("far.ply", "b.spz"), "far.ply: means of Gaussian 0: 3e.38 .1 like it; must be at most 1e.18"),
    "a pipe": (("pipe.spz", "b.ply"), "pipe.spz: is no regular file .allowed: a file"),
    "a hundred thousand brackets": (("deep.glb", "b.ply"), "deep.glb: its JSON chunk: tables and lists stand"),
    "scales of splat": (("a.splat", "b.ply", "--scales", "log"), "a choice for .ply and .glb files only"),
    "no such file": (("nowhere.ply", "b.ply"), "nowhere.ply: No such file or directory"),
    "unknown IN": (("a.obj", "b.ply"), r"a.obj: no format of Gaussians has the suffix '.obj' .allowed: .ply, .splat"),
    "unknown OUT": (("a.ply", "b.obj"), r"b.obj: no format of Gaussians has the suffix '.obj'"),
    "no suffix": (("a.ply", "b"), r"b: no format of Gaussians has the suffix ''"),
    "itself": (("a.ply", "./a.ply"), "a.ply: IN and OUT are the same file"),
    "itself by a link": (("a.ply", "link.ply"), "link.ply: IN and OUT are the same file"),
    "a folder": (("here.ply", "b.ply"), "here.ply: is a folder .allowed: a file, or DATA:OBJECT_ID"),
    "into a folder": (("a.ply", "here.ply"), "here.ply: is a folder .allowed: a file"),
    "below a file": (("a.ply", "a.ply/b.ply"), "a.ply"),
    "no such data": (("minni:chair_0025", "b.ply"), "minni: no such data set; did you mean 'mini'"),
    "no such object": (("mini:chiar_0025", "b.ply"), "no object 'chiar_0025'; did you mean 'chair_0025'"),
    "no object": (("mini:", "b.ply"), "mini: no object ''"),
    "no data set": ((".:chair_0025", "b.ply"), "no data set, it has no manifest.json"),
    "axes of data": (("mini:chair_0025", "b.glb", "--axes", "y-down"), "--axes, --opacity and --scales are for files"),
    "unknown axes": (("a.ply", "b.glb", "--axes", "up"), "invalid choice: 'up' .choose from"),
    "opacity of glb": (("a.glb", "b.ply", "--opacity", "linear"), "'linear' is a choice for .ply files only"),
    "truncated": (("cut.ply", "b.ply"), "cut.ply: truncated: 20 rows of element 'vertex' announced"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_bad_input_is_one_line_and_leaves_nothing(run, name: str) -> None:
    save_splats(random_gaussians(20, 1), "a.ply")
    save_splats(random_gaussians(20, 1), "a.glb")
    os.mkfifo("pipe.spz")
    Path("deep.glb").write_bytes(struct.pack("<4sIII4s", b"glTF", 2, 100_020, 100_000, b"JSON") + b"[" * 100_000)
    far = plyfile.PlyData.read("a.ply", mmap=False)
    far["vertex"]["x"][0] = 3e38
    far.write("far.ply")
    Path("cut.ply").write_bytes(Path("a.ply").read_bytes()[:-1])
    Path("link.ply").symlink_to("a.ply")
    Path("here.ply").mkdir()
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    argv, message = ERRORS[name]
    done = run(*argv)
    assert done.status == 2
    lines = [line for line in done.err.splitlines() if not line.startswith("gsbench: NOTE: ")]
    assert len(lines) == 1
    assert re.search(message, lines[0]), lines[0]
    assert done.out == ""
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


def test_a_full_disk_is_one_line_and_leaves_nothing(run, monkeypatch) -> None:
    save_splats(random_gaussians(20, 1), "a.ply")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert run("a.ply", "b.ply") == Done(2, "", "gsbench: error: b.ply: No space left on device\n")
    assert os.listdir() == ["a.ply"]


def test_an_interrupt_leaves_nothing(run, monkeypatch) -> None:
    save_splats(random_gaussians(20, 1), "a.ply")

    def interrupted(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    assert run("a.ply", "b.splat").status == 130
    assert os.listdir() == ["a.ply"]


@pytest.mark.parametrize("far", ["one", "all"])
def test_what_far_gaussians_lose_is_measured(run, far) -> None:
    gaussians = random_gaussians(20, 1)
    means = gaussians.means.copy()
    means[0 if far == "one" else slice(None)] = 1e17
    means[1 if far == "one" else slice(10, None)] = -1e17
    save_splats(dataclasses.replace(gaussians, means=means), "a.ply")
    done = run("a.ply", "b.splat")
    psnr = re.search(r"\.splat is lossy: renders of it have (\d+\.\d) dB PSNR", done.err)
    assert (done.status, done.err.count("\n")) == (0, 2), "two notes, and no warning of numpy's"
    assert psnr
    assert 40 < float(psnr[1]) < 80


def test_a_loss_that_no_pixel_shows(run) -> None:
    hidden = dataclasses.replace(random_gaussians(2, 0), opacities=np.full(2, 1e-6, np.float32))
    save_splats(hidden, "a.ply")
    assert (
        ".splat is lossy: renders of it are the original's to the last pixel, in 8 views" in run("a.ply", "b.splat").err
    )


@pytest.mark.parametrize("mode", [0o400, 0o444])
def test_a_read_only_file_is_refused(run, mode) -> None:
    save_splats(random_gaussians(20, 1), "a.ply")
    Path("b.ply").write_text("kept")
    Path("b.ply").chmod(mode)
    line = "gsbench: error: b.ply: is read-only (make it writable, or name another file)\n"
    assert run("a.ply", "b.ply") == Done(2, "", line)
    assert Path("b.ply").read_text() == "kept"


def test_data_sets_whose_paths_hold_colons_and_patterns(run, original) -> None:
    for name in ("run[1]", "a:b", "c::d"):
        shutil.copytree(resolve("mini"), name)
        assert run(f"{name}:{OBJECT}", "out.ply").status == 0
        assert_same(load_splats("out.ply"), original, ("means",))
    os.symlink("run[1]", "mini")
    assert "the folder of that name here is ./mini" in run(f"mini:{OBJECT}", "out.ply").err
    assert run(f"./mini:{OBJECT}", "out.ply").err == ""
