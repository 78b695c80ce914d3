"""The published tables beside ours, as the data card shows them: each row is that of the board's entries."""

from pathlib import Path

import pytest

from gsbench.baseline import find_recipe
from gsbench.leaderboard.entries import Entry, load_entries
from gsbench.recipe import Recipe
from gsbench.reproduce import TABLES, as_markdown, load_table
from gsbench.reproduce.run import Line
from gsbench.reproduce.tables import Cell

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "datasets_cards" / "modelnet10-gs" / "REPRODUCED.md"
DATASET = "modelnet10-gs"
REASONS = "Where the two differ:"


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
def entries() -> list[Entry]:
    return [entry for _, some in load_entries(ROOT / "leaderboard") for entry in some]


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
