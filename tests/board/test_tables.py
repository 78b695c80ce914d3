"""What the board's tables say."""

import dataclasses

import numpy as np
import pytest

from gsbench.board import check, publish
from gsbench.board.entries import load_entries
from gsbench.board.table import make_rows, markdown
from gsbench.core.metrics import p_values_to_best
from gsbench.core.recipe import Reported
from tests.board.results import LABELS, OBJECTS, TASK, make_result, rows


def lines(board) -> list[dict[str, str]]:
    """The rows of TABLE.md, which is rendered anew."""
    rows(board)
    text = (board / "TABLE.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text if line.startswith("| ")]
    heading = cells[0]
    return [dict(zip(heading, row, strict=True)) for row in cells if row != heading and set(row) != {"---"}]


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


def test_one_seed_has_no_spread_and_a_row_alone_no_rank(board, put):
    put(make_result())
    (row,) = rows(board)
    assert (row["accuracy_std"], row["standing"]) == ("", "alone")
    assert (row["adjusted_p_value_to_best"], row["objects_fewer_than_best"]) == ("", "")
    (line,) = lines(board)
    assert (line["Accuracy"], line["n"], line["In its task"]) == ("90.0", "1", "alone")


def test_draws_of_a_regime_are_one_row(board, put):
    for draw in range(3):
        for seed in range(2):
            put(make_result(seed=seed, wrong=6 + draw, task=dataclasses.replace(TASK, regime=10, draw=draw)))
    (row,) = rows(board)
    assert (row["draws"], row["n"], row["regime"]) == ("3", "6", "10")
    assert float(row["accuracy_mean"]) == pytest.approx(1 - 7 / 60)
    assert "| 6, 3 draws |" in (board / "TABLE.md").read_text()


def test_tied_and_behind_are_what_the_test_over_all_pairs_says(board, put):
    wrong = {"best": 2, "close": 5, "far": 30}
    for name, count in wrong.items():
        put(make_result(name, wrong=count))
    put(make_result("elsewhere", wrong=40, task=dataclasses.replace(TASK, num_points=512)))
    table = {row["model"]: row for row in rows(board)}
    assert {name: row["standing"] for name, row in table.items()} == {
        "best": "best", "close": "tied", "far": "behind", "elsewhere": "alone",
    }  # fmt: skip
    assert [float(table[name]["objects_fewer_than_best"]) for name in wrong] == [0, 3, 28]
    p_values = p_values_to_best([(np.arange(OBJECTS) >= count)[None] for count in wrong.values()])
    stated = [table[name]["adjusted_p_value_to_best"] for name in wrong]
    assert stated[0] == ""
    assert [float(value) for value in stated[1:]] == pytest.approx(p_values[1:], abs=0.03)
    assert [line["In its task"] for line in lines(board)] == [
        "alone", "best, of one seed", "tied, 3 objects fewer", "behind, 28 objects fewer",
    ]  # fmt: skip


def test_seeds_count(board, put):
    """Each gets four objects wrong, and others than the other seeds: one cannot be told from none, three can."""
    for seed in range(3):
        put(make_result("best", seed=seed, wrong=0))
        put(make_result("worse", seed=7 * seed, wrong=4))
    table = {row["model"]: row for row in rows(board)}
    assert (table["worse"]["standing"], table["worse"]["objects_fewer_than_best"]) == ("behind", "4.000")
    assert [line["In its task"] for line in lines(board)] == ["best", "behind, 4 objects fewer"]
    for path in board.rglob("*-s[1-9]*.json"):
        path.unlink()
    assert [row["standing"] for row in rows(board)] == ["best", "tied"]


def test_a_gap_may_be_part_of_an_object(board, put):
    for seed in range(2):
        put(make_result("one", seed=seed, wrong=6))
        put(make_result("two", seed=seed, wrong=6 + seed))
        put(make_result("three", seed=seed, wrong=7))
        put(make_result("four", seed=seed, wrong=6))
    assert [line["In its task"] for line in lines(board)] == [
        "best", "tied", "tied, 0.5 objects fewer", "tied, 1 object fewer",
    ]  # fmt: skip


def test_the_table_says_whom_its_words_are_about(board, put):
    put(make_result())
    rows(board)
    text = (board / "TABLE.md").read_text()
    assert "4,999 random flips" in text
    assert "The test objects are the sample, and a row counts on each by the mean over its runs" in text


def test_another_arithmetic_than_fp32_is_said(board, put):
    result = make_result("half", wrong=9)
    put(dataclasses.replace(result, run=dataclasses.replace(result.run, precision="bf16")))
    put(make_result("single"))
    assert [row["precision"] for row in rows(board)] == ["fp32", "bf16"]
    assert [line["Epochs"] for line in lines(board)] == ["10", "10, bf16"]


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
    assert before.index("### mini") < before.index("| 90.0 ")
    assert "| 80.0 " in after
    assert "| 90.0 " not in after
    assert "95.0 on ModelNet10 ([source](https://example.org/paper))" in before
    assert before.count("60 test objects, fingerprint `abababab`") == 1


def test_titles_cannot_break_the_table(board, put):
    result = make_result()
    put(dataclasses.replace(result, model=dataclasses.replace(result.model, title="a|b c")))
    rows(board)
    line = next(line for line in (board / "TABLE.md").read_text().splitlines() if "a\\|b c" in line)
    heading = next(line for line in (board / "TABLE.md").read_text().splitlines() if line.startswith("| Model"))
    assert line.replace("\\|", "").count("|") == heading.count("|")


def test_publishing_touches_only_the_block_of_the_readme(board, put):
    put(make_result())
    readme = board.parent / "README.md"
    assert publish(board, readme) == [board / "TABLE.md", board / "table.csv", readme]
    assert publish(board, readme) == []
    text = readme.read_text()
    assert text.startswith("# Project\n\n<!-- leaderboard:start -->\n\n**mini** ")
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


def test_disputed_labels_are_named_and_left_out_of_a_column(board, put):
    """Eight rows, of which the better half gets the first five objects wrong."""
    for number in range(4):
        put(make_result(f"good{number}", wrong=5))
    for number in range(4):
        put(make_result(f"poor{number}", wrong=30, seed=20))
    ((truth, entries),) = load_entries(board)
    rows = make_rows(truth, entries)
    assert {row.first.model.name[:4]: row.undisputed for row in rows} == {"good": 1.0, "poor": 25 / 55 + 0}
    text = markdown([(truth, rows)])
    named = ", ".join(f"`{object_id}`" for object_id in sorted(list(LABELS)[:5]))
    assert "the 5 objects that three quarters of the better half of the rows with all labels get wrong" in text
    assert f"{named}." in text
    assert "| No disputed |" in text


def test_few_rows_dispute_nothing(board, put):
    for number in range(7):
        put(make_result(f"good{number}", wrong=5))
    ((truth, entries),) = load_entries(board)
    rows = make_rows(truth, entries)
    assert all(row.undisputed is None for row in rows)
    assert "isputed" not in markdown([(truth, rows)])
