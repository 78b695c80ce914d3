"""`gsbench reproduce` as a user types it: real runs on 20 objects, figure 7, and what is refused."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gsbench.cli import main
from gsbench.core.baseline import build_model, find_recipe
from gsbench.learn.checkpoints import CONFIG, Checkpoint, save_pretrained
from gsbench.learn.evaluation import embedding, evaluate
from gsbench.learn.evaluation.embedding import extract
from gsbench.paper.figures.drawing import Panel, draw_embedding, lay_out, silhouette
from gsbench.paper.reproduce.tables import DISTANCES
from gsbench.store.arrays import Row
from gsbench.store.create import Contents, create_folder
from gsbench.store.webp import encode_webp
from tests.learn.test_data import task
from tests.paper.test_figures import overlaps, words_of
from tests.store import conftest
from tests.store.conftest import made  # noqa: F401 (a fixture)
from tests.tiny_training import make_pairs_recipe

pytestmark = pytest.mark.slow


@pytest.fixture
def data(made):  # noqa: F811
    return made


def run_table(capsys, name: str, data: Path, *words: str) -> list[dict]:
    """Runs a table by the command, then again without training; returns the cells that were scored."""
    words = ("reproduce", name, "--data", str(data), "--variant", "smoke", "--pretext-views", "2", *words)
    assert main([*words, "--json"]) == 0
    scored = [cell for cell in json.loads(capsys.readouterr().out)["cells"] if cell["lacks"] is None]
    for cell in scored:
        assert cell["metric"] in DISTANCES or 0 <= cell["mean"] <= 1
        assert (cell["dataset"], cell["comparable"], cell["difference"]) == ("tiny", False, None)
    assert main([*words, "--found-only"]) == 0
    assert "not run" not in capsys.readouterr().out
    return scored


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[str]:
    """Where the tables' Results and encoders are kept, so that none is made twice."""
    folder = tmp_path_factory.mktemp("runs")
    return ["--out", str(folder / "results"), "--checkpoints", str(folder / "checkpoints")]


@pytest.mark.parametrize(
    ("name", "cells", "scored"),
    [
        ("table1", "1,3", 2),
        ("table2", "1-2", 2),
        ("table3", "1-2", 2),
        ("table4", "1-2", 2),
        ("table5", "1-13", 8),
    ],
)
def test_every_table_runs(data, runs, name, cells, scored, capsys):
    """The real thing, on 20 objects: cells of two encoders, one epoch of every network, and their probes."""
    assert len(run_table(capsys, name, data, "--cells", cells, *runs)) == scored


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scored"), [("table1", 12), ("table2", 12), ("table3", 6), ("table4", 9), ("table5", 16)]
)
def test_every_cell_runs(data, runs, name, scored, capsys):
    assert len(run_table(capsys, name, data, "--extras", *runs)) == scored


@pytest.fixture(scope="module")
def varied(tmp_path_factory) -> Path:
    """A folder whose meshes do not all look alike."""

    def view_rows(object_id: str) -> Iterator[Row]:
        rng = np.random.default_rng(int(object_id[-4:]) + 100 * object_id.startswith("sofa"))
        for row in conftest.view_rows(object_id):
            yield row | {"image": encode_webp(rng.integers(0, 256, (conftest.SIZE, conftest.SIZE, 4), np.uint8), 0)}

    out = tmp_path_factory.mktemp("varied") / "tiny"
    rows: dict[tuple[str, str], Iterator[Row]] = {}
    for split, labels in conftest.OBJECTS.items():
        rows["gaussians", split] = map(conftest.gaussian_row, sorted(labels))
        rows["views", split] = (row for object_id in sorted(labels) for row in view_rows(object_id))
    create_folder(out, Contents(conftest.ABOUT, conftest.OBJECTS, sh_coefficients=4), rows)
    return out


def words_of_figure7(data: Path, out: Path, *more: object) -> list[str]:
    return [str(word) for word in ("reproduce", "figure7", "--data", data, "--variant", "smoke", "--out", out, *more)]


def test_figure7_of_a_recipe_and_of_its_checkpoint(varied, tmp_path, capsys, monkeypatch):
    """Both commands, an encoder that is trained, found again, or named: one picture, and no view is seen twice."""
    seen: list[int] = []

    def count(net, objects, progress):
        seen.append(len(objects))
        return extract(net, objects, progress)

    monkeypatch.setattr(embedding, "extract", count)
    kept, recipe = tmp_path / "checkpoints", make_pairs_recipe(tmp_path / "theirs")
    more = ("--encoder", recipe, "--checkpoints", kept, "--json")
    assert main(words_of_figure7(varied, tmp_path / "first", *more)) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["path"] == str(tmp_path / "first" / "figure7.png")
    assert seen == [6, 20, 6 * 3], (
        "the test objects once, as all opaque Gaussians go in, the training objects, and each of the three views once, "
        "though one is a panel"
    )
    seen.clear()
    recipe.write_text(recipe.read_text().replace("epochs = 8", "epochs = 9"))  # of fine-tuning: the same encoder
    assert main(words_of_figure7(varied, tmp_path / "again", *more)) == 0
    assert not seen, "its features were kept beside the encoder"
    out, err = capsys.readouterr()
    assert "reused the encoder in" in err
    assert json.loads(out)["caption"] == record["caption"]
    images = [(tmp_path / name / "figure7.png").read_bytes() for name in ("first", "again")]
    assert images[0] == images[1]
    for words in (
        "encoder pairs, trained without labels for 3 epochs, seed 0, from images of 8 pixels",
        "The data has 3 views an object, the published figure shows 64.",
        "t-SNE of the frozen features of the 6 test objects (openTSNE, perplexity 1,",
    ):
        assert words in record["caption"]
    assert re.search(r"property of the encoder: (-?0\.\d\d(, )?){3}; of their layout: ", record["caption"])


def test_figure7_of_a_checkpoint(varied, tmp_path):
    """One of a baseline that ships is named by its folder alone."""
    arguments = {"num_points": 16, "pretext_views": 2, "checkpoints": tmp_path / "kept"}
    evaluate("ssl-plus:untrained", varied, **arguments)
    (config,) = (tmp_path / "kept").glob(f"*/{CONFIG}")
    named = ["figures", "figure7", "--data", varied, "--encoder", config.parent, "--out", tmp_path / "named"]
    assert main([str(word) for word in named]) == 0
    assert (tmp_path / "named" / "figure7.png").stat().st_size > 10_000
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {
        config.parent.name,
        f"{config.parent.name}.features",
    }


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--encoder", "pointnet:smoke"], r"recipe.toml: supervision is labels \(figure7 needs an encoder of pairs\)"),
        (["--encoder", "nothing"], "no baseline 'nothing'"),
        (["--encoder", "CHECKPOINT"], "checkpoint: of pointnet:smoke, no encoder of pairs \\(figure7 needs one\\)"),
        (["--encoder", "/nowhere"], "/nowhere: no such folder"),
        (["--encoder", "/"], "/config.json: cannot be read"),
        (["--data", "nowhere"], "nowhere: no such data set"),
        (["--found-only"], r"--found-only is of a table, not of figure7 \(allowed: leave it out\)"),
        (["--cells", "1"], "--cells is of a table"),
    ],
)
def test_figure7_refuses(data, tmp_path, capsys, more, message):
    if "CHECKPOINT" in more:
        recipe, path = find_recipe("pointnet:smoke")
        about = Checkpoint(recipe, (task(),), 0, 3, 2, 1, 1.0, "fp32")
        save_pretrained(tmp_path / "checkpoint", build_model(recipe, path, 3, 2), about)
        more = ["--encoder", str(tmp_path / "checkpoint")]
    before = list(tmp_path.iterdir())
    assert main(words_of_figure7(data, tmp_path, *more)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), list(tmp_path.iterdir())) == ("", 1, before)
    assert re.search(message, err), err


def test_figure7_without_its_extra(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    assert main(words_of_figure7(data, tmp_path)) == 2
    expected = r"figures need openTSNE \(.*\); install it: pip install 'gsbench-3d\[figures\]'\n"
    assert re.search(expected, capsys.readouterr().err)


def clusters(spread: float, width: int = 16) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 12)
    return (rng.normal(size=(10, width))[labels] + spread * rng.normal(size=(120, width))).astype(np.float32), labels


def test_the_layout_keeps_classes_together():
    features, labels = clusters(0.2)
    plane = lay_out(features)
    assert plane.shape == (120, 2)
    assert silhouette(plane, labels) > 0.7
    assert (lay_out(features) == plane).all()
    assert silhouette(features, labels) > silhouette(clusters(2.0)[0], labels)


def test_words_of_figure7_are_legible():
    panels = [Panel(f"images, {count} views", clusters(spread)[0]) for count, spread in ((1, 2.0), (4, 1.0), (64, 0.5))]
    panels.append(Panel("2,048 Gaussians", clusters(0.2)[0]))
    classes = ["bathtub", "bed", "chair", "desk", "dresser", "monitor", "night_stand", "sofa", "table", "toilet"]
    sheet = draw_embedding(panels, clusters(0.2)[1], classes, "A data set, an encoder.")
    words = [text for text, _ in words_of(sheet)]
    assert set(classes) | {panel.title for panel in panels} <= set(words)
    assert overlaps(sheet) == []


def test_an_encoder_that_diverged_or_collapsed():
    features, labels = clusters(0.2)
    with pytest.raises(ValueError, match=r"Gaussians: all objects have the same features \(figure7 needs some to"):
        draw_embedding([Panel("Gaussians", features * 0)], labels, list("abcdefghij"), "")
    with pytest.raises(ValueError, match=r"images, 1 view: features that are not finite \(the encoder has diverged\)"):
        draw_embedding([Panel("images, 1 view", features * np.nan)], labels, list("abcdefghij"), "")
    with pytest.raises(ValueError, match=r"4 test objects of 1 classes \(figure7 needs 5 of 2\)"):
        draw_embedding([Panel("images, 1 view", features[:4])], labels[:4], list("abcdefghij"), "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table9"], r"table9: no such table; did you mean .* \(allowed: table1, .*, figure7\)"),
        (["table4", "--cells", "10"], r"cells: no cell 10 in table4 \(allowed: 1 to 9\)"),
        (["table4", "--data", "nowhere"], "nowhere: no such data set"),
        (["table4", "--encoder", "pointnet"], "--encoder is of figure7, not of table4"),
        (["table4", "--device", "cuda"], "device is 'cuda', and torch finds no GPU"),
    ],
)
def test_bad_input_is_one_line(capsys, tmp_path, monkeypatch, data, arguments, message):
    monkeypatch.chdir(tmp_path)
    words = arguments if "--data" in arguments else [*arguments, "--data", str(data)]
    assert main(["reproduce", *words, "--variant", "smoke"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.search(message, err)


@pytest.mark.parametrize("words", ["0", "3-1", "a", "1,,2", ""])
def test_no_list_of_cells(capsys, words):
    assert main(["reproduce", "table4", "--cells", words]) == 2
    assert "is no list of cells" in capsys.readouterr().err


def test_an_out_that_cannot_be_written(capsys, tmp_path, data):
    (tmp_path / "out").write_text("mine")
    words = ["reproduce", "table4", "--data", str(data), "--variant", "smoke", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert capsys.readouterr().err == f"gsbench: error: {tmp_path}/out: cannot be written (File exists)\n"
