"""What the board's tables say."""

import dataclasses

import numpy as np
import pytest

from gsbench.leaderboard import check, publish
from gsbench.metrics import mcnemar
from gsbench.recipe import Reported
from tests.leaderboard.making import OBJECTS, TASK, make_result, rows


def test_a_row_is_the_mean_and_spread_over_seeds(board, put):
    for seed, wrong in enumerate((6, 9, 3)):
        put(make_result(seed=seed, wrong=wrong))
    (row,) = rows(board)
    assert row["n"] == "3"
    assert float(row["accuracy_mean"]) == pytest.approx(0.9)
    assert float(row["accuracy_std"]) == pytest.approx(0.05)
    assert 0.8 < float(row["interval_low"]) < 0.9 < float(row["interval_high"]) < 1
    assert row["standing"] == "alone"
    assert "90.0 ± 5.0" in (board / "TABLE.md").read_text()


def test_one_seed_has_no_spread(board, put):
    put(make_result())
    (row,) = rows(board)
    assert row["accuracy_std"] == ""
    assert "| 90.0 ± \N{EN DASH} " in (board / "TABLE.md").read_text()


def test_draws_of_a_regime_are_one_row(board, put):
    for draw in range(3):
        for seed in range(2):
            put(make_result(seed=seed, wrong=6 + draw, task=dataclasses.replace(TASK, regime=10, draw=draw)))
    (row,) = rows(board)
    assert (row["draws"], row["n"], row["regime"]) == ("3", "6", "10")
    assert float(row["accuracy_mean"]) == pytest.approx(1 - 7 / 60)
    assert "10 %, 3 draws" in (board / "TABLE.md").read_text()


def test_tied_and_behind_are_what_the_paired_test_says(board, put):
    for name, wrong in (("best", 2), ("close", 5), ("far", 30)):
        put(make_result(name, wrong=wrong))
    put(make_result("elsewhere", wrong=40, task=dataclasses.replace(TASK, num_points=512)))
    table = {row["model"]: row for row in rows(board)}
    assert [table[name]["standing"] for name in ("best", "close", "far", "elsewhere")] == [
        "best", "tied", "behind", "alone",
    ]  # fmt: skip
    assert [float(table[name]["objects_behind_best"]) for name in ("best", "close", "far")] == [0, 3, 28]
    right = np.arange(OBJECTS)
    assert float(table["close"]["p_value_to_best"]) == pytest.approx(mcnemar(right >= 2, right >= 5), abs=1e-6)
    text = (board / "TABLE.md").read_text()
    assert "| best " in text
    assert "| tied, 3.0 objects behind " in text


def test_a_model_and_its_variant_are_no_siblings(board, put):
    put(make_result("net:short"))
    other = make_result("net")
    put(dataclasses.replace(other, model=dataclasses.replace(other.model, recipe_sha256="ef" * 32)))
    assert [row["model"] for row in rows(board)] == ["net", "net:short"]


def test_each_data_set_has_a_heading_of_its_own(board, put):
    put(make_result(reported=Reported("ModelNet10", "points", 0.95, "https://example.org/paper")))
    put(make_result(wrong=12, task=dataclasses.replace(TASK, dataset="modelnet10-gs")))
    rows(board)
    before, after = (board / "TABLE.md").read_text().split("### modelnet10-gs")
    assert before.index("### mini") < before.index("90.0 ±")
    assert "80.0 ±" in after
    assert "90.0 ±" not in after
    assert "95.0 on ModelNet10 ([source](https://example.org/paper))" in before
    assert before.count("60 test objects, fingerprint `abababab`") == 1


def test_titles_cannot_break_the_table(board, put):
    result = make_result()
    put(dataclasses.replace(result, model=dataclasses.replace(result.model, title="a|b c")))
    rows(board)
    line = next(line for line in (board / "TABLE.md").read_text().splitlines() if "a\\|b c" in line)
    assert line.replace("\\|", "").count("|") == 12


def test_publishing_touches_only_the_block_of_the_readme(board, put):
    put(make_result())
    readme = board.parent / "README.md"
    assert publish(board, readme) == [board / "TABLE.md", board / "table.csv", readme]
    assert publish(board, readme) == []
    text = readme.read_text()
    assert text.startswith("# Project\n\n<!-- leaderboard:start -->\n\n### mini\n")
    assert text.endswith("\n<!-- leaderboard:end -->\n\nBelow.\n")


def test_an_empty_board_can_be_published_and_checked(board):
    board.mkdir()
    publish(board, board.parent / "README.md")
    check(board, board.parent / "README.md")
    assert "No entries yet." in (board / "TABLE.md").read_text()


def test_a_board_that_is_not_there(board):
    with pytest.raises(ValueError, match="leaderboard: no such folder"):
        publish(board, board.parent / "README.md")


@pytest.mark.parametrize("text", ["<!-- leaderboard:end --> <!-- leaderboard:start -->", "<!-- leaderboard:end -->"])
def test_a_readme_with_half_of_its_markers(board, put, text):
    put(make_result())
    (board.parent / "README.md").write_text(text)
    with pytest.raises(ValueError, match=r"README\.md: the block for the table is missing"):
        publish(board, board.parent / "README.md")


@pytest.mark.parametrize(
    "text",
    ["no markers", "<!-- leaderboard:start -->\nthe [whole table](other/TABLE.md).\n<!-- leaderboard:end -->\n"],
)
def test_a_readme_of_something_else_is_left_alone(board, put, text):
    """A page without a board, or with another board of the same folder, which `--board` did not name."""
    put(make_result())
    readme = board.parent / "README.md"
    readme.write_text(text)
    assert publish(board, readme) == [board / "TABLE.md", board / "table.csv"]
    check(board, readme)
    assert readme.read_text() == text
