"""The published tables beside ours, as the data card shows them: each row is that of the board's entries."""

from pathlib import Path

import numpy as np
import pytest

from gsbench.board.entries import Entry, load_entries
from gsbench.board.truth import Truth
from gsbench.core.baseline import find_recipe, shipped_recipes
from gsbench.core.recipe import Recipe
from gsbench.core.results import load_result
from gsbench.paper.reproduce.run import Line
from gsbench.paper.reproduce.tables import TABLES, Cell, load_table
from gsbench.paper.reproduce.text import as_markdown

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "datasets_cards" / "modelnet10-gs" / "REPRODUCED.md"
DATASET = "modelnet10-gs"
REASONS = "Where the two differ:"
TRAINED_ON_ALL = {("supervised", 100), ("finetune", 100)}


def made_by(entry: Entry, cell: Cell, recipe: Recipe) -> bool:
    result = entry.result
    task, pretext = result.task, result.pretext
    if (result.model.recipe_sha256, task.dataset) != (recipe.sha256(), DATASET):
        return False
    if (task.modality, task.protocol, task.regime, task.draw) != (cell.modality, cell.protocol, cell.regime, 0):
        return False
    if cell.modality == "images" and (task.num_views, task.views_from, task.cameras) != (
        cell.num_views,
        cell.views_from,
        cell.cameras,
    ):
        return False
    seen = pretext or (task if task.modality == "gaussians" else None)
    return seen is None or (seen.features, seen.sampling) == (cell.features, cell.sampling)


@pytest.fixture(scope="module")
def board() -> list[tuple[Truth, list[Entry]]]:
    """The entries of our own models: the page is about those, whoever else comes to the board."""
    ours = shipped_recipes()
    return [
        (truth, [entry for entry in entries if entry.result.model.name.partition(":")[0] in ours])
        for truth, entries in load_entries(ROOT / "leaderboard")
    ]


@pytest.fixture(scope="module")
def entries(board) -> list[Entry]:
    return [entry for _, some in board for entry in some]


@pytest.fixture(scope="module")
def said() -> str:
    """What stands above the tables, in one line."""
    return " ".join(PAGE.read_text().partition("\n### ")[0].split())


@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_that_of_the_board(name: str, entries: list[Entry]) -> None:
    table = load_table(name)
    lines = []
    for number, cell in enumerate(table.cells, 1):
        recipe, _ = find_recipe(table.models[cell.model].recipe("short"))
        results = tuple(entry.result for entry in entries if made_by(entry, cell, recipe))
        lines.append(Line(number, cell, recipe, DATASET, results, None if results else "not run", True, ()))
    rows, _ = as_markdown(table, lines, "short").split(REASONS)
    assert rows in PAGE.read_text()


def test_what_all_trained_models_score_together(board: list[tuple[Truth, list[Entry]]], said: str) -> None:
    truth, entries = next((truth, some) for truth, some in board if truth.dataset == DATASET)
    trained = [e for e in entries if (e.result.task.protocol, e.result.task.regime) in TRAINED_ON_ALL]
    labels = np.array([truth.classes.index(label) for label in truth.labels.values()])
    scored = [load_result(entry.path).predictions for entry in trained]
    together = np.array([[predictions[i] for i in truth.labels] for predictions in scored]).mean(0)
    alone = [entry.result.metrics["accuracy"] for entry in trained]
    hard = np.mean([entry.correct for entry in trained], axis=0) <= 0.25
    assert (
        f"probabilities of all {len(trained)} models that were trained on all labels, each of which scores "
        f"{100 * min(alone):.1f} to {100 * max(alone):.1f}, gets {100 * (together.argmax(1) == labels).mean():.1f} "
        f"of the test objects right"
    ) in said
    assert f"{hard.sum()} of {len(labels)} objects are wrong for three quarters of the models" in said


def test_what_width_brings(entries: list[Entry], said: str) -> None:
    def scores(regime: int) -> str:
        found = {
            entry.result.model.name: f"{100 * entry.result.metrics['accuracy']:.1f}"
            for entry in entries
            if (entry.result.task.protocol, entry.result.task.modality) == ("probe", "gaussians")
            and (entry.result.task.dataset, entry.result.task.regime) == (DATASET, regime)
        }
        narrow, middle, wide = (found[f"ssl-plus:{name}"] for name in ("short-narrow", "short", "short-wide"))
        return f"{narrow}, {middle} and {wide}"

    assert (
        f"{scores(100)} with all labels, {scores(50)} with half, {scores(10)} with 10 %, {scores(1)} with 1 %" in said
    )


def test_what_longer_training_brings_mvcnn(entries: list[Entry], said: str) -> None:
    found = {
        (entry.result.model.name, entry.result.task.regime): f"{100 * entry.result.metrics['accuracy']:.1f}"
        for entry in entries
        if entry.result.task.dataset == DATASET
    }
    assert (
        f"on the test objects {found['mvcnn:short', 50]} after 3 and 6 (`mvcnn:short`) and "
        f"{found['mvcnn:medium', 50]} after 6 and 6 (`mvcnn:medium`)"
    ) in said
