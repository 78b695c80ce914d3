"""The published tables beside ours, as the data card shows them: each figure is that of the board's entries."""

import re
from pathlib import Path

import pytest

from gsbench.leaderboard.entries import Entry, load_entries
from gsbench.metrics import mean_and_std
from gsbench.reproduce.tables import DISTANCES, TABLES, Cell, load_table

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "datasets_cards" / "modelnet10-gs" / "REPRODUCED.md"
DATASET = "modelnet10-gs"


def rows(table: str) -> list[dict[str, str]]:
    """The rows below a table's heading, by the words above their columns."""
    part = PAGE.read_text().split(f"### {table.replace('table', 'Table ')},")[1].split("Where the two differ:")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    headings, _, *body = ([word.strip() for word in line.strip("|").split("|")] for line in lines)
    return [dict(zip(headings, words, strict=True)) for words in body]


def made_by(entry: Entry, cell: Cell, recipe: str) -> bool:
    result = entry.result
    task, pretext = result.task, result.pretext
    if result.model.name != recipe or task.dataset != DATASET:
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


@pytest.mark.parametrize("table", TABLES)
def test_every_cell_is_that_of_the_board(table: str, entries: list[Entry]) -> None:
    cells = load_table(table).cells
    shown = rows(table)
    assert [int(row["#"]) for row in shown] == list(range(1, len(cells) + 1))
    for row, cell in zip(shown, cells, strict=True):
        recipe = re.search("`(.+)`", row["Our run"])
        assert recipe is not None
        results = [entry.result for entry in entries if made_by(entry, cell, recipe[1])]
        assert len(results) == int(row["n"]), row
        if not results:
            assert "not run" in row["Ours"]
            continue
        metric = cell.metric
        assert metric is not None
        scored = [result.metrics | (result.pretext.metrics if result.pretext else {}) for result in results]
        mean, _ = mean_and_std([metrics[metric] for metrics in scored])
        assert row["Ours"].split()[0] == (f"{mean:.2f}" if metric in DISTANCES else f"{100 * mean:.1f}"), row
