"""The command: what it prints and writes, its exit status, and one line for every error."""

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from gsbench.cli import main
from gsbench.core.results import load_result
from gsbench.meshes.surface import fps_order
from gsbench.store.card import About
from gsbench.store.create import Contents, create_folder
from gsbench.store.load import resolve
from tests.tiny_training import make_folder, make_pairs_recipe

OBJECTS = {
    split: {f"{label}_{number:04d}": label for label in ("chair", "sofa") for number in numbers}
    for split, numbers in (("train", range(1, 7)), ("test", range(7, 11)))
}
ABOUT = About("tiny", "0.1", "Tiny boxes", "mit", "Random numbers.")
RECIPE = """
name = "mine"
title = "Mine"
model = "model:Net"
paper = "-"

[train]
epochs = 1
batch_size = 4
lr = 0.1

[[reported]]
dataset = "tiny"
modality = "points"
accuracy = 0.875
source = "a paper"
"""
MODEL = """
import torch


class Net(torch.nn.Module):
    inputs = ("points",)

    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.layer = torch.nn.Linear(in_channels, num_classes)

    def embed(self, batch):
        return batch.points[:, :, :3].std(dim=1)

    def logits(self, batch):
        return self.layer(self.embed(batch))

    def loss(self, batch, label_smoothing):
        return torch.nn.functional.cross_entropy(self.logits(batch), batch.labels)
"""


def points_row(object_id: str) -> dict[str, object]:
    rng = np.random.default_rng(int(object_id[-4:]))
    extent = (0.9, 0.1, 0.1) if object_id.startswith("sofa") else (0.1, 0.1, 0.9)
    points = (rng.uniform(-1, 1, (32, 3)) * extent).astype(np.float32)
    return {"object_id": object_id, "points": points[fps_order(points, 32)], "normals": None}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data folder of points only."""
    out = tmp_path_factory.mktemp("data") / "tiny"
    rows = {("points", split): map(points_row, sorted(labels)) for split, labels in OBJECTS.items()}
    create_folder(out, Contents(ABOUT, OBJECTS, recipe={"about": {"title": ABOUT.title}}), rows)
    return out


@pytest.fixture
def recipe(tmp_path) -> Path:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path / "recipe.toml"


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    def complains(self, status: int, message: str) -> None:
        assert self.status == status, self
        assert re.search(message, self.err), self.err
        assert self.err.count("\n") == 1, "an error is one line"
        assert self.out == ""


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs `gsbench ARGV` in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run_command(*argv: object) -> Done:
        capsys.readouterr()
        try:
            status = main([str(word) for word in argv])
        except SystemExit as leave:
            status = leave.code
        return Done(status, *capsys.readouterr())

    return run_command


@pytest.fixture
def result_file(run, recipe, data) -> Path:
    done = run("eval", "--model", recipe, "--data", data, "--seeds", "3", "--out", "results")
    assert done.status == 0, done
    (path,) = Path("results").rglob("*.json")
    return path


def edit(path: Path, change) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_eval_writes_a_result_a_seed_and_prints_a_row(run, recipe, data):
    done = run("eval", "--model", recipe, "--data", data, "--seeds", "0,1", "--out", "results", "--num-points", 16)
    assert (done.status, done.err) == (0, "")
    results = [load_result(path) for path in sorted(Path("results").rglob("*.json"))]
    assert [result.run.seed for result in results] == [0, 1]
    assert {(r.task.dataset, r.task.modality, r.task.num_points) for r in results} == {("tiny", "points", 16)}
    assert results[0].predictions.keys() == OBJECTS["test"].keys()
    mean = 50 * sum(result.metrics["accuracy"] for result in results)
    cells = [cell.strip() for cell in done.out.splitlines()[2].split("|")]
    assert cells[1:5] == ["mine", "tiny (8 test objects)", "16 points, fps", "100 %"]
    assert cells[5].startswith(f"{mean:.1f} ± ")
    assert cells[7:9] == ["2", "87.5 on tiny"]
    *_, published, first, second = done.out.splitlines()
    assert published == "published: a paper"
    for line, path in zip((first, second), sorted(Path("results").rglob("*.json")), strict=True):
        assert re.fullmatch(rf"{re.escape(str(path))}: 1 epoch in \d+ s, scored in \d+ s", line)


def test_eval_as_json(run, recipe, data):
    done = run("eval", "--model", recipe, "--data", data, "--json", "--regime", 50, "--draw", 1)
    (record,) = json.loads(done.out)
    assert (record["task"]["regime"], record["task"]["draw"], record["run"]["train_objects"]) == (50, 1, 6)
    assert 0 <= record["metrics"]["accuracy"] <= 1
    assert load_result(Path(record["path"])).metrics == record["metrics"]


def test_without_a_command_the_help_is_printed(run):
    assert run() == run("--help")
    assert "doctor" in run().out


def test_another_precision_is_asked_for_and_told(run, recipe, data):
    done = run("eval", "--model", recipe, "--data", data, "--precision", "bf16")
    assert done.out.splitlines()[-3:-1] == ["trained in bf16", "published: a paper"]
    (path,) = Path("results").iterdir()
    assert load_result(path).run.precision == "bf16"
    assert "bf16" not in run("eval", "--model", recipe, "--data", data).out


@pytest.mark.parametrize(
    "words",
    [("--views-from", "meshes"), ("--cameras", "train"), ("--num-views", "2"), ("--pretext-views", "2")],
)
def test_what_the_model_never_sees_is_refused_also_where_it_is_the_default(run, recipe, data, words):
    name = words[0].removeprefix("--").replace("-", "_")
    run("eval", "--model", recipe, "--data", data, *words).complains(
        2, f"{name} is {words[1]}, and mine .*leave it out"
    )
    assert list(Path.cwd().iterdir()) == []


def test_scores_that_are_no_numbers_are_no_result(run, recipe, data):
    model = recipe.parent / "model.py"
    spoilt = "self.layer(self.embed(batch)) + (0 if self.training else torch.nan)"
    model.write_text(model.read_text().replace("self.layer(self.embed(batch))", spoilt))
    done = run("eval", "--model", recipe, "--data", data)
    done.complains(2, rf"{recipe}: model\.py: Net\.logits is not finite for chair_0007, and 8 of 8 in all")
    assert list(Path("results").glob("*")) == []


def test_a_share_that_is_less_than_one_a_class_is_told(run, recipe, data):
    done = run("eval", "--model", recipe, "--data", data, "--regime", 1)
    assert "| 1 % (2 of 12 objects, at least one a class), draw 0 |" in done.out


def test_every_printed_line_says_val(run, tmp_path):
    data = make_folder(tmp_path / "tiny", ("gaussians", "views", "reconstructions"))
    done = run(
        "eval", "--model", make_pairs_recipe(tmp_path / "pairs"), "--data", data, "--num-points", 16, "--split", "val"
    )
    assert done.status == 0
    assert re.search(r"\(\d+ val objects\)", done.out)
    assert "draws of the val objects' points" in done.out
    assert "test objects" not in done.out + done.err


def test_eval_of_a_model_of_pairs(run, tmp_path):
    data = make_folder(tmp_path / "tiny", ("gaussians", "views", "reconstructions"))
    common = ("eval", "--model", make_pairs_recipe(tmp_path / "pairs"), "--data", data, "--num-points", 16)
    first = run(*common, "--checkpoints", "kept", "--regime", 50)
    assert (first.status, first.err) == (0, "")
    assert "| 16 gaussians xyz, fps, probe | 50 % (12 of 24 objects), draw 0 |" in first.out
    assert re.search(
        r"\nbeside it, over 5 draws of the test objects' points: accuracy [\d.]+ ± [\d.]+, 5 nearest", first.out
    )
    assert re.search(r"\npretext tasks: cross-modality [\d.]+% \(always yes: 66\.7%\), balanced [\d.]+%", first.out)
    images = ("--modality", "images", "--num-views", 2, "--views-from", "gaussians", "--cameras", "novel")
    second = run(*common, "--checkpoints", "kept", *images)
    assert (second.status, second.err.count("\n")) == (0, 1)
    assert second.err.startswith("gsbench: NOTE: reused the encoder in kept/")
    assert "| 2 images of gaussians, novel, probe |" in second.out
    assert "renders of 34.5 dB" in second.out
    tuned = run(*common, "--checkpoints", "kept", "--protocol", "finetune", "--json")
    (record,) = json.loads(tuned.out)
    assert (record["task"]["protocol"], record["pretext"]["epochs"], record["run"]["epochs"]) == ("finetune", 3, 8)
    assert all(path.is_dir() for path in Path("kept").iterdir()), "what trainings go on from is gone with their end"
    assert len(list(Path("results").iterdir())) == 3
    assert run("submit", *Path("results").iterdir(), "--data", data).status == 0
    assert run("leaderboard", "--check") == Done(0, "", "")


def test_eval_says_when_it_falls_back(run, recipe, data, monkeypatch):
    monkeypatch.setattr("gsbench.store.load.default_data", lambda: (str(data), "using `mini`."))
    done = run("eval", "--model", recipe)
    assert done.status == 0
    assert done.err == "gsbench: NOTE: using `mini`.\n"
    assert "tiny (8 test objects)" in done.out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("evaluate",), "invalid choice: 'evaluate'"),
        (("eval",), "required: --model"),
        (("eval", "--model", "pointnt"), r"no baseline 'pointnt'; did you mean 'pointnet'"),
        (("eval", "--model", "pointnet:quik"), r"no variant 'quik' .*did you mean 'quick'"),
        (("eval", "--model", "pointnet", "--data", "nowhere"), "nowhere: no such data set"),
        (("eval", "--model", "pointnet", "--data", "."), "no data set"),
        (("eval", "--model", "pointnet", "--seeds", "a,b"), "--seeds: 'a,b' is no list of seeds"),
        (("eval", "--model", "pointnet", "--seeds", ""), "--seeds: '' is no list of seeds"),
        (("eval", "--model", "pointnet", "--seeds", "1,,2"), "is no list of seeds"),
        (("eval", "--model", "pointnet", "--seeds", "1,1"), "must be distinct"),
        (("eval", "--model", "pointnet", "--seeds", "-1"), "--seeds"),
        (("eval", "--model", "pointnet", "--num-points", "0"), "--num-points: '0' is not allowed .*at least 1"),
        (("eval", "--model", "pointnet", "--regime", "30"), r"--regime: invalid choice: 30 \(choose from 100, 50"),
        (("eval", "--model", "pointnet", "--draw", "3"), "--draw: invalid choice"),
        (("eval", "--model", "pointnet", "--sampling", "grid"), "--sampling: invalid choice: 'grid'"),
        (("eval", "--model", "pointnet", "--protocol", "svm"), "--protocol: invalid choice: 'svm'"),
        (("eval", "--model", "pointnet", "--cameras", "all"), "--cameras: invalid choice: 'all'"),
        (("eval", "--model", "pointnet", "--pretext-views", "0"), "--pretext-views: '0' is not allowed"),
        (
            ("eval", "--model", "pointnet", "--data", "mini", "--protocol", "finetune"),
            "protocol is finetune, and pointn",
        ),
        (("eval", "--model", "ssl-pointnet", "--data", "mini", "--protocol", "supervised"), "learns from pairs"),
        (("eval", "--mod", "pointnet"), "required: --model"),
        (("build", "--meshes", "nowhere", "--out", "out"), "nowhere"),
        (("build", "--meshes", ".", "--out", "out", "--workers", "none"), "--workers: 'none' is not allowed"),
        (("build", "--meshes", ".", "--out", "out", "--workers", "0"), "--workers: '0' is not allowed .*at least 1"),
        (("build", "--meshes", ".", "--out", "out", "--preset", "ful"), "preset: no 'ful'; did you mean 'full'"),
        (("build", "--meshes", ".", "--out", "out", "--preset", "ful.toml"), r"ful\.toml: cannot be read"),
        (("build", "--meshes", ".", "--out", "out", "--limit-per-class", "40"), "'40' is not allowed .*like 40,10"),
        (("build", "--meshes", ".", "--out", "out", "--engine", "spark"), "--engine: invalid choice: 'spark'"),
        (("verify", "nowhere"), "nowhere: no such data set"),
        (("verify", str(resolve("mini")), "--meshes", "nowhere"), "nowhere: no such folder"),
        (("submit", "nowhere.json"), r"nowhere\.json: cannot be read"),
        (("leaderboard",), "leaderboard: no such folder"),
        (("doctor", "--fix-line", "gl"), "no check 'gl'; did you mean 'egl'"),
    ],
)
def test_bad_input_is_one_line(run, argv, message):
    run(*argv).complains(2, message)
    assert list(Path.cwd().iterdir()) == []


def test_draw_of_the_whole_set(run, recipe, data):
    run("eval", "--model", recipe, "--data", data, "--draw", 1).complains(2, "draw is 1 at regime 100")


@pytest.mark.parametrize("name", ["file/results", "/proc/results"])
def test_eval_into_a_folder_that_cannot_be_written(run, recipe, data, name):
    Path("file").write_text("")
    done = run("eval", "--model", recipe, "--data", data, "--out", name)
    done.complains(2, re.escape(name))


def fill_the_disk(monkeypatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)


def test_eval_on_a_full_disk(run, recipe, data, monkeypatch):
    fill_the_disk(monkeypatch)
    done = run("eval", "--model", recipe, "--data", data, "--out", "results")
    done.complains(2, "results.*: No space left on device")
    assert [path for path in Path("results").rglob("*") if path.is_file()] == []


def test_submit_on_a_full_disk(run, result_file, data, monkeypatch):
    fill_the_disk(monkeypatch)
    run("submit", result_file, "--data", data).complains(2, "leaderboard.*: No space left on device")
    assert [path for path in Path("leaderboard").rglob("*") if path.is_file()] == []


def test_from_a_result_to_the_board(run, result_file, data):
    task = load_result(result_file).task
    entry = Path("leaderboard") / "entries" / task.slug() / "mine-s3.json"
    tables = "leaderboard/TABLE.md\nleaderboard/table.csv\n"
    assert run("submit", result_file, "--data", data) == Done(0, f"{entry}\n{tables}", "")
    assert entry.read_bytes() == result_file.read_bytes()
    assert run("leaderboard", "--check") == Done(0, "", "")
    again = f"{entry} (on the board already: reproduced)\n"
    assert run("submit", result_file) == Done(0, again, ""), "the board knows the labels now"
    Path("README.md").write_text("<!-- leaderboard:start -->\n<!-- leaderboard:end -->\n")
    done = run("leaderboard")
    assert done.out.split() == ["README.md"]
    assert "8 test objects" in Path("README.md").read_text()
    table = Path("leaderboard/TABLE.md").read_text()
    assert "Tiny boxes. 2 classes, 12 training objects as points. 8 test objects" in table
    assert "87.5 on tiny (a paper)" in table
    assert run("leaderboard", "--check") == Done(0, "", "")
    edit(entry, lambda record: record["metrics"].update(accuracy=0.123))
    run("leaderboard", "--check").complains(
        1, rf"{re.escape(str(entry))}: metrics\.accuracy is 0\.123, its predictions"
    )
    run("leaderboard").complains(2, "metrics.accuracy is 0.123")


@pytest.mark.parametrize(
    ("status", "change", "message"),
    [
        (1, lambda r: r["metrics"].update(accuracy=0.123), r"metrics\.accuracy is 0\.123, its predictions give"),
        (1, lambda r: r["predictions"].pop("chair_0007"), "missing objects: chair_0007"),
        (1, lambda r: r["task"].update(fingerprint="ab" * 32), r"task\.fingerprint is 'abab"),
        (2, lambda r: r["predictions"].update(chair_0007=[float("nan"), 1.0]), r"predictions\.chair_0007 is \[nan"),
        (2, lambda r: r["predictions"].update(chair_0007=[0.5, 0.6]), "sum to 1; sums to 1.1"),
        (2, lambda r: r["task"].update(dataset="../../tiny"), r"task: dataset is '\.\./\.\./tiny' \(allowed"),
    ],
)
def test_a_result_that_does_not_hold_stays_off_the_board(run, result_file, data, status, change, message):
    edit(result_file, change)
    run("submit", result_file, "--data", data).complains(status, message)
    assert not Path("leaderboard").exists()


def test_results_are_accepted_together_or_not_at_all(run, result_file, data):
    Path("other.json").write_bytes(result_file.read_bytes())
    edit(Path("other.json"), lambda record: record["metrics"].update(accuracy=0.123))
    done = run("submit", result_file, "other.json", "--data", data)
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert not Path("leaderboard").exists()


def test_verify(run, data):
    done = run("verify", data)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"{data}: ok: tiny 0.1, fingerprint ")
    report = json.loads(run("verify", data, "--json").out)
    assert report["ok"] is True
    assert report["problems"] == []
    assert (report["images"]["rows"], report["quality"], report["alignment"]) == (0, {}, None)


def test_verify_tells_how_good_and_how_well_aligned_the_gaussians_are(run):
    done = run("verify", resolve("mini"), "--all-images")
    assert (done.status, done.err) == (0, "")
    assert re.search(r"^images: (\d+), of which \1 were decoded; \d+ were rendered again", done.out, re.MULTILINE)
    assert re.search(r"centers to the surface \(estimated\): mean 0\.\d\d% of the extent; thin axes", done.out)
    assert re.search(r"^\| toilet +\| 3\d\.\d\d", done.out, re.MULTILINE)
    assert re.search(r"^lowest PSNR: \w+_\d{4} \d\d\.\d\d, ", done.out, re.MULTILINE)


def test_verify_finds_a_flipped_byte(run, data):
    shard = next(data.glob("points/test-*.parquet"))
    whole = shard.read_bytes()
    try:
        shard.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        run("verify", data).complains(1, rf"points/{shard.name}: sha256 is \w+\.\.\., manifest\.json says")
        assert json.loads(run("verify", data, "--json").out)["ok"] is False
    finally:
        shard.write_bytes(whole)


def test_models(run):
    done = run("models")
    assert (done.status, done.err) == (0, "")
    recipes = json.loads(run("models", "--json").out)
    assert {"pointnet", "pointnet++"} <= {recipe["name"] for recipe in recipes}
    for recipe in recipes:
        assert f"| {recipe['name']} " in done.out
        assert all(f"{recipe['name']}:{variant}" in done.out for variant in recipe["variants"])
    assert "90.0 on modelnet10 (gaussians, 100 %, best of 3); 90.0 on modelnet10 (gaussians, 50 %);" in done.out


def test_an_interrupt_is_no_traceback(run, monkeypatch):
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gsbench.core.baseline.shipped_recipes", interrupt)
    run("models").complains(130, "interrupted")


def test_a_reader_that_leaves_is_no_error():
    with subprocess.Popen(
        [sys.executable, "-m", "gsbench", "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.wait(timeout=60) == 141
        assert process.stderr.read() == b""


def test_version_and_help(run):
    import gsbench

    assert run("--version") == Done(0, f"gsbench {gsbench.__version__}\n", "")
    for command in ("eval", "models", "build", "verify", "convert", "submit", "leaderboard", "doctor"):
        assert f"usage: gsbench {command}" in run(command, "--help").out
