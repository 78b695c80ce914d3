"""Scores with and without the test objects that are in the training set as well."""

import pytest

from gsbench.board import CheckError, check, publish, truth_path
from tests.board.results import LABELS, TASK, edit_json, make_result, rows

LEAKED = {"files": ("bathtub_0000",), "surfaces": ("bathtub_0000", "bed_0001"), "near": tuple(LABELS)[:10]}


def test_scores_without_leaked_objects(board, put):
    """The first six objects are wrong, and the first ten have leaked: without them, nothing is wrong."""
    put(make_result(wrong=6), LEAKED)
    put(make_result(wrong=6, seed=58), LEAKED)  # the last two and the first four
    (row,) = rows(board)
    assert float(row["accuracy_mean"]) == pytest.approx(0.9)
    expected = {"files": (54 / 59 + 54 / 59) / 2, "surfaces": (54 / 58 + 54 / 58) / 2, "near": (1 + 48 / 50) / 2}
    for level, accuracy in expected.items():
        assert float(row[f"accuracy_without_leaked_{level}"]) == pytest.approx(accuracy, abs=1e-6)
    text = (board / "TABLE.md").read_text()
    assert "1 as the same file, 2 as the same surface, 10 as a near duplicate" in text
    assert "| No same file (59) | No same surface (58) | No near duplicate (50) |" in text
    assert "| 91.5 | 93.1 | 98.0 |" in text


def test_a_level_without_leaks_has_no_column_and_one_that_nobody_looked_at_no_score(board, put):
    put(make_result(), {"files": ()})
    (row,) = rows(board)
    assert float(row["accuracy_without_leaked_files"]) == pytest.approx(0.9)
    assert row["accuracy_without_leaked_near"] == ""
    text = (board / "TABLE.md").read_text()
    assert "No test object is in the training set as well (looked for: the same file)." in text
    assert "| No " not in text


def test_a_board_says_where_nobody_has_looked_for_leaks(board, put):
    put(make_result(), {})
    (row,) = rows(board)
    assert row["accuracy_without_leaked_files"] == ""
    assert (
        "Whether test objects are in the training set as well has not been looked at."
        in (board / "TABLE.md").read_text()
    )


def test_other_leaks_than_the_board_knows_are_refused(put):
    put(make_result(), LEAKED)
    with pytest.raises(CheckError, match=r"mini@abababab\.json: leaked differ"):
        put(make_result(seed=1), LEAKED | {"near": ("bed_0001",)})


def test_check_finds_changed_leaks(board, put):
    put(make_result(), LEAKED)
    publish(board, board.parent / "README.md")
    edit_json(truth_path(board, TASK), lambda truth: truth["leaked"].update(near=["bed_0001"]))
    with pytest.raises(CheckError, match=r"TABLE\.md: line .* 1 as a near duplicate"):
        check(board, board.parent / "README.md")
