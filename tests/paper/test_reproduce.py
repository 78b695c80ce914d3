"""The published tables: their figures, how cells are scored or found, and what is said of the differences."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from gsbench.board.cells import NONE
from gsbench.core.baseline import code_sha256, find_recipe
from gsbench.core.metrics import classification_metrics
from gsbench.core.provenance import ModelInfo, RunInfo
from gsbench.core.results import SCHEMA_VERSION, Pretext, Result, save_result
from gsbench.learn.evaluation import Callbacks
from gsbench.paper.reproduce import run
from gsbench.paper.reproduce.data_facts import DataFacts
from gsbench.paper.reproduce.run import Settings, reproduce
from gsbench.paper.reproduce.tables import DISTANCES, TABLES, VARIANTS, load_table
from gsbench.paper.reproduce.text import as_markdown, as_record
from gsbench.store.folder import open_folder, read_labels
from gsbench.store.origin import Origin
from tests.store.conftest import (
    OBJECTS,
    made,  # noqa: F401 (a fixture)
)

DRAWS = {
    "sampling_draws": 5,
    "accuracy_over_draws": 0.4,
    "accuracy_over_draws_std": 0.015,
    "knn_accuracy": 0.35,
    "knn_accuracy_over_draws": 0.3,
    "knn_accuracy_over_draws_std": 0.02,
}
PRETEXT_SCORES = {
    "cross_modality_accuracy": 0.75,
    "cross_modality_balanced": 0.625,
    "mpd_positive": 2.0,
    "mpd_negative": 5.0,
    "mpd_ratio": 2.5,
    "mpd_auc": 0.875,
}


DEFAULTS = {"features": "xyz", "sampling": "fps", "views_from": "meshes", "cameras": "train"}


class StandIn:
    """In place of `evaluate`: guesses the first class, writes Result files as it does, and counts."""

    def __init__(self, right: float = 0.5):
        self.calls: list[dict[str, object]] = []
        self.stop_at: int | None = None
        self.right = right

    def __call__(self, model, data, *, seeds, out, callbacks, checkpoints, device, pretext_views, **task):
        if len(self.calls) == self.stop_at:
            raise KeyboardInterrupt
        self.calls.append({"model": model, "seeds": seeds, "checkpoints": checkpoints, **task})
        task = DEFAULTS | {key: value for key, value in task.items() if value is not None}
        folder, (recipe, path), (seed,) = open_folder(Path(data)), find_recipe(model), seeds
        images, pairs = task["modality"] == "images", recipe.supervision == "pairs"
        shape = (task["features"], task["sampling"], task.get("num_views" if images else "num_points"))
        scored = run.make_task(
            folder, task["modality"], task["regime"], 0, *shape, task["views_from"], task["cameras"], task["protocol"]
        )
        labels = read_labels(folder, "test")
        classes = sorted(set(labels.values()))
        predictions = {i: [self.right, 1 - self.right] for i in labels}
        truth = np.array([classes.index(labels[i]) for i in sorted(labels)])
        seen = (task["features"], task["sampling"], task["num_points"], pretext_views or 3)
        result = Result(
            SCHEMA_VERSION,
            scored,
            ModelInfo(recipe.name, recipe.title, recipe.sha256(), 10, code_sha256=code_sha256(recipe, path)),
            RunInfo(seed, "cpu", "last", 1, 20, 1.0, 1.0, 1.0, "fp32", {}, None, None),
            classification_metrics(np.array([predictions[i] for i in sorted(labels)]), truth),
            None,
            predictions,
            Pretext(*seen, 20, 1, 1.0, "fp32", PRETEXT_SCORES) if pairs else None,
            {"psnr": 30.25, "knn_accuracy": 0.5} if images else DRAWS,
        )
        if out is not None:
            save_result(result, Path(out) / f"{scored.slug()}-{result.file_name()}")
        return [result]


@pytest.fixture
def data(made):  # noqa: F811
    return made


@pytest.fixture
def evaluate(monkeypatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setattr(run, "evaluate", stand_in)
    return stand_in


def how(out: Path | None, **changes) -> Settings:
    return dataclasses.replace(Settings("smoke", (0,), out, None), **changes)


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4"])
def test_published_figures_are_those_of_the_recipes(name):
    """Two lists of them were made from the source; here is where they meet."""
    table, met = load_table(name), 0
    for cell in table.cells:
        recipe, _ = find_recipe(table.models[cell.model].full)
        if cell.metric == "accuracy":
            figures = {
                figure.accuracy
                for figure in recipe.reported
                if (figure.modality, figure.regime, figure.protocol) == (cell.modality, cell.regime, cell.protocol)
                and (figure.features, figure.sampling or cell.sampling) == (cell.features, cell.sampling)
                and (figure.num_views, figure.views_from or cell.views_from) == (cell.num_views, cell.views_from)
            }
        else:
            figures = {
                getattr(figure, cell.metric)
                for figure in recipe.reported_pretext
                if (figure.features, figure.sampling) == (cell.features, cell.sampling)
            }
        if cell.published is not None:
            assert figures == {cell.published}, cell
            met += 1
    assert met == {"table1": 12, "table2": 12, "table3": 30, "table4": 6}[name]


def test_supervised_figures_are_those_of_the_recipes():
    table = load_table("table5")
    for cell in table.cells:
        recipe, _ = find_recipe(table.models[cell.model].full)
        if cell.protocol == "supervised" and cell.published is not None:
            figures = {f.accuracy for f in recipe.reported if (f.modality, f.regime) == (cell.modality, cell.regime)}
            assert figures == {cell.published}, cell
    assert [cell.published for cell in table.cells if cell.regime == 50 and cell.published] == [
        0.92,
        0.93,
        0.88,
        0.9,
        0.96,
        0.95,
        0.95,
    ]


@pytest.mark.parametrize("name", TABLES)
def test_cells_are_told_apart_and_have_recipes(name):
    table = load_table(name)
    assert len({cell.row for cell in table.cells}) == len(table.cells)
    for model in table.models.values():
        for variant in VARIANTS:
            find_recipe(model.recipe(variant, published_sh=True))
            find_recipe(model.recipe(variant))
    assert {cell.metric in DISTANCES for cell in table.cells} == {name == "table2"}


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_is_scored_or_says_what_is_lacking(data, evaluate, tmp_path, name):
    lines = reproduce(name, data, how(tmp_path), extras=True)
    table = load_table(name)
    assert [line.number for line in lines] == list(range(1, len(table.cells) + 1))
    for line in lines:
        images = line.cell.num_views is not None
        if images and line.cell.num_views > 3:
            kind, found = {
                ("meshes", "train"): ("meshes", 3),
                ("gaussians", "train"): ("gaussians from train cameras", 2),
                ("gaussians", "novel"): ("gaussians from novel cameras", 1),
            }[line.cell.views_from, line.cell.cameras]
            assert line.lacks == f"needs {line.cell.num_views} images of {kind}, the data has {found}"
            assert line.results == ()
            continue
        assert line.lacks is None
        (value,) = line.values
        assert value == PRETEXT_SCORES.get(line.cell.metric, 0.5)
        assert line.results[0].task.regime == line.cell.regime
    assert len(list(tmp_path.iterdir())) == len(evaluate.calls)


def test_a_killed_run_goes_on_where_it_was(data, evaluate, tmp_path):
    evaluate.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        reproduce("table4", data, how(tmp_path, seeds=(0, 1)))
    assert len(evaluate.calls) == 4
    evaluate.stop_at = None
    lines = reproduce("table4", data, how(tmp_path, seeds=(0, 1)))
    assert len(evaluate.calls) == 12, "each cell and seed once"
    assert [[result.run.seed for result in line.results] for line in lines] == [[0, 1]] * 6
    assert reproduce("table4", data, how(tmp_path, seeds=(0, 1))) == lines
    assert len(evaluate.calls) == 12


def test_only_results_of_the_very_run_are_taken(data, evaluate, tmp_path):
    wanted = {"cells": [1]}
    reproduce("table4", data, how(tmp_path), **wanted)
    for changes, calls in (
        ({}, 1),
        ({"seeds": (1,)}, 2),
        ({"num_points": 16}, 3),
        ({"variant": "short"}, 4),
        ({"pretext_views": 2}, 5),
        ({"pretext_views": 3}, 5),
    ):
        reproduce("table4", data, how(tmp_path, **changes), **wanted)
        assert len(evaluate.calls) == calls, changes
    (line,) = reproduce("table4", data, how(tmp_path), **wanted)
    assert line.results[0].pretext.num_views == 3, "of several, the encoder that saw the most"
    assert len(evaluate.calls) == 5


def test_one_encoder_serves_tables_of_pretext_and_of_probes(data, evaluate, tmp_path):
    reproduce("table4", data, how(tmp_path))
    (line,) = reproduce("table1", data, how(tmp_path), [1])
    assert len(evaluate.calls) == 6, "table 1's first cell is the same run as table 4's"
    assert line.values == [0.75]


def test_what_is_added_to_a_table_is_asked_for(data, evaluate):
    published = reproduce("table5", data, how(None))
    assert [line.number for line in published] == list(range(1, 14))
    every = reproduce("table5", data, how(None), extras=True)
    assert len(every) == 23
    assert every[:13] == published
    assert {line.cell.published for line in every[13:]} == {None}
    seen = {line.cell.row[1:]: line.differs[1:] for line in every[13:]}
    assert seen["Gaussians", "PointNet"] == ("1 epoch", "nothing is published")
    assert seen["Images", "ssl-plus*"] == ("1 epoch", "images of 32 pixels", "nothing is published")
    assert seen["Gaussians", "ssl-plus*, fine-tuned"][2:] == (
        "learned from 3 views an object",
        "then 1 epoch of fine-tuning",
        "nothing is published",
    )
    assert "250 points an object, published unknown" in published[0].differs


def test_found_only_trains_nothing(data, evaluate, tmp_path):
    reproduce("table4", data, how(tmp_path / "kept"), [2])
    lines = reproduce("table4", data, how(tmp_path, found_only=True))
    assert [line.lacks for line in lines] == ["not run", None, *["not run"] * 4]
    assert len(evaluate.calls) == 1


def test_a_damaged_result_is_named(data, evaluate, tmp_path):
    reproduce("table4", data, how(tmp_path), [1])
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text()[:-100])
    with pytest.raises(ValueError, match=re.escape(f"{path}: not JSON")):
        reproduce("table4", data, how(tmp_path), [1])


def test_results_without_pretext_scores_say_so(data, evaluate, tmp_path, monkeypatch):
    monkeypatch.delitem(PRETEXT_SCORES, "cross_modality_accuracy")
    (line,) = reproduce("table1", data, how(tmp_path), [1])
    assert (line.lacks, line.results) == ("the Result file has no pretext scores", ())


def test_data_without_images_or_gaussians(evaluate, tmp_path):
    from tests.tiny_training import make_folder

    lines = reproduce("table5", make_folder(tmp_path / "data", ("points",)), how(tmp_path / "out"))
    assert {line.lacks for line in lines} == {
        None,
        "needs gaussians, the data has points",
        "needs 12 images of meshes, the data has 0",
    }
    assert [line.number for line in lines if line.lacks is None] == [1, 2, 7, 8]


def test_differences_follow_from_recipe_manifest_and_results(data, evaluate, tmp_path):
    (line,) = reproduce("table3", data, how(tmp_path), [1])
    train, test = (len(OBJECTS[split]) for split in ("train", "test"))
    assert line.differs == (
        f"tiny ({train} training, {test} test objects) is no modelnet10: they do not compare",
        "a smoke run: far from the published training",
        "1 epoch, published 100",
        "adamw, published sgd",
        "objects of 55 Gaussians at 31.8 dB, published 106,117 by 15,000 iterations of Kerbl's optimization",
        "25 of them reach the network, published 2,048",
        "images of 32 pixels, published 224",
        "learned from 3 views an object, published 64",
        "the published figure hides what is below .01",
    )
    (full,) = reproduce("table3", data, how(tmp_path, variant="full"), [1])
    assert not any(word in clause for clause in full.differs for word in ("epoch", "sgd", "pixels", "smoke"))


@pytest.mark.parametrize(("coefficients", "recipe"), [(16, "full-published-sh"), (4, "full")])
def test_harmonics_of_the_published_degree_are_cut_as_they_were(
    data, evaluate, tmp_path, monkeypatch, coefficients, recipe
):
    def opened(path):
        folder = open_folder(path)
        manifest = dataclasses.replace(folder.manifest, sh_coefficients=coefficients)
        return dataclasses.replace(folder, manifest=manifest)

    monkeypatch.setattr(run, "open_folder", opened)
    monkeypatch.setattr("gsbench.store.origin.origin_of", lambda _: None)
    monkeypatch.setattr("gsbench.paper.reproduce.data_facts.most_points", lambda *_: 2048)  # the shards have one degree
    positions, harmonics = reproduce("table4", data, how(tmp_path, variant="full"), [1, 5])
    assert (positions.recipe.name, harmonics.recipe.name) == ("ssl-pointnet:full", f"ssl-pointnet:{recipe}")
    said = any("numbers of spherical harmonics, published 44" in clause for clause in harmonics.differs)
    assert said == (coefficients == 4)


@pytest.mark.parametrize("cell", [1, 14])
def test_a_training_in_half_precision_says_so(data, evaluate, tmp_path, cell):
    (line,) = reproduce("table5", data, how(tmp_path), [cell])
    assert "trained in bf16" not in line.differs
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text().replace('"fp32"', '"bf16"'))
    (line,) = reproduce("table5", data, how(tmp_path), [cell])
    assert "trained in bf16" in line.differs


@pytest.mark.parametrize("modelnet10", [True, False])
def test_the_printed_table(data, evaluate, tmp_path, modelnet10):
    """A figure of another data set stands under its own name, without a difference from the published one."""
    lines = reproduce("table4", data, how(tmp_path, seeds=(0, 1)), [1, 2, 3])
    assert not any(line.comparable for line in lines)
    lines = [dataclasses.replace(line, comparable=modelnet10) for line in lines]
    text = as_markdown(load_table("table4"), lines, "smoke")
    assert text.startswith("### Table 4, published on modelnet10, ours on tiny: 3D shape recognition")
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines() if row.startswith("|")]
    first = dict(zip(rows[0], rows[2], strict=True))
    assert first == {
        "#": "1",
        "Features": "Positions",
        "Network": "PointNet",
        "Published": "89.0",
        "Ours": "50.0 ± 0.0",
        "Difference": "\N{MINUS SIGN}39.0" if modelnet10 else NONE,
        "n": "2",
        "Beside it": "5 draws of points: 40.0 ± 1.5; kNN 30.0 ± 2.0",
        "Our run": "smoke: `ssl-pointnet:smoke` on tiny",
    }
    assert text.count("tiny (") == 1, "what all cells share is said once"
    assert "\n- All: tiny (" in text
    assert "best of several draws of furthest points" in text


def test_printed_distances_have_no_per_cent(data, evaluate, tmp_path):
    lines = reproduce("table2", data, how(tmp_path), [1, 2])
    lines = [dataclasses.replace(line, comparable=True) for line in lines]
    text = as_markdown(load_table("table2"), lines, "smoke")
    assert "| 5.34" in text
    assert "| 2.00 " in text
    assert "| \N{MINUS SIGN}3.34 " in text
    assert "| ratio 2.50; AUC 87.5 " in text
    assert "Per cent" not in text


def test_the_record(data, evaluate, tmp_path):
    lines = reproduce("table3", data, how(tmp_path), [1, 7])
    lines = [dataclasses.replace(line, comparable=True) for line in lines]
    record = json.loads(json.dumps(as_record(load_table("table3"), lines, "smoke")))
    first, lacking = record["cells"]
    assert (first["published"], first["mean"], first["std"], first["difference"]) == (0.86, 0.5, None, 0.5 - 0.86)
    assert (first["row"], first["seeds"]) == ({"Features": "Positions", "Views": "1", "Network": "PointNet"}, [0])
    assert first["pretext"][0]["metrics"] == PRETEXT_SCORES
    assert (lacking["mean"], lacking["values"]) == (None, [])
    assert lacking["lacks"] == "needs 64 images of meshes, the data has 3"


def test_a_data_set_made_from_the_whole_published_one_compares(data, monkeypatch):
    published, folder = load_table("table1").data, open_folder(data)
    for name in ("modelnet10-gs", "modelnet10", "tiny"):
        named = dataclasses.replace(folder, manifest=dataclasses.replace(folder.manifest, name=name))
        assert not DataFacts(named).is_of(published), name
    for origin, compares in ((Origin("modelnet10", False), True), (Origin("modelnet10", True), False)):
        monkeypatch.setattr("gsbench.store.origin.origin_of", lambda _folder, origin=origin: origin)
        assert DataFacts(folder).is_of(published) is compares, origin


def rewrite(path: Path, change) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize("found_only", [True, False])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["metrics"].update(accuracy=0.99), r"metrics\.accuracy is 0\.99, its predictions give 0\.5"),
        (lambda r: r["metrics"].pop("macro_f1"), r"metrics\.macro_f1 is missing, its predictions give"),
        (
            lambda r: r.update(predictions=dict(list(r["predictions"].items())[:1])),
            r"predictions: missing objects: .* \(must hold the 6 test objects\)",
        ),
        (lambda r: r["predictions"].update(chair_9999=[1, 0]), "unknown objects: chair_9999"),
    ],
)
def test_a_result_that_does_not_hold_is_not_printed(data, evaluate, tmp_path, change, message, found_only):
    reproduce("table4", data, how(tmp_path), [1])
    (path,) = tmp_path.iterdir()
    rewrite(path, change)
    with pytest.raises(ValueError, match=message) as caught:
        reproduce("table4", data, how(tmp_path, found_only=found_only), [1])
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("code", ["ab" * 32, None])
def test_a_result_by_other_code_is_not_taken_for_ours(data, evaluate, tmp_path, code):
    def of_other_code(record):
        record["model"]["code_sha256"] = code

    reproduce("table4", data, how(tmp_path), [1])
    (path,) = tmp_path.iterdir()
    rewrite(path, of_other_code)
    (line,) = reproduce("table4", data, how(tmp_path, found_only=True), [1])
    assert line.differs[-1] == "1 of 1 results by other code than this gsbench's", "printed, and said to be"
    told: list[str] = []
    (line,) = reproduce("table4", data, how(tmp_path), [1], callbacks=lambda *_: Callbacks(note=told.append))
    assert told == [f"{path} is by other code than this gsbench's, and stays; scored anew."]
    assert len(evaluate.calls) == 2
    assert not any("other code" in clause for clause in line.differs)
