"""The board in short, as the README has it."""

import dataclasses

import pytest

from gsbench.board import publish, submit
from gsbench.core.recipe import Reported
from gsbench.core.results import save_result
from tests.board.results import TASK, TRUTH, make_result
from tests.board.test_pretext import probed

DASH = "\N{EN DASH}"
FIGURE = Reported("modelnet10", "gaussians", 0.95, "the paper")


@pytest.fixture
def lines(board, put):
    """A function from results to the cells of the README's lines, headings first."""

    def publish_all(*results):
        for result in results:
            put(result)
        readme = board.parent / "README.md"
        publish(board, readme)
        table = [line for line in readme.read_text().split("\n") if line.startswith("|") and "---" not in line]
        return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table]

    return publish_all


def test_shares_of_the_labels_stand_side_by_side(lines):
    half = dataclasses.replace(TASK, regime=50)
    found = lines(
        make_result(wrong=6),
        make_result("other", wrong=3),
        *(make_result(seed=seed, wrong=wrong, task=half) for seed, wrong in enumerate((9, 15))),
    )
    seen = "1024 gaussians xyz, fps"
    assert found == [
        ("Model", "Input", "100 %", "50 % (240 objects)", "Published"),
        ("Other `other`", seen, "**95.0**", DASH, DASH),
        ("Net `net`", seen, "90.0", "80.0 ± 7.1 (2)", DASH),
    ]


def test_a_share_that_is_more_than_it_says_is_told_so(board, tmp_path):
    """One object a class at least: 3 of 60 are no 1 %."""
    truth = dataclasses.replace(TRUTH, train_counts=dict.fromkeys(TRUTH.classes, 20))
    for regime, objects in ((100, 60), (10, 6), (1, 3)):
        result = make_result(task=dataclasses.replace(TASK, regime=regime))
        path = tmp_path / f"{regime}.json"
        save_result(dataclasses.replace(result, run=dataclasses.replace(result.run, train_objects=objects)), path)
        submit([(path, truth)], board)
    publish(board, board.parent / "README.md")
    for page in (board.parent / "README.md", board / "TABLE.md"):
        for share in (" 100 %", " 10 % (6 of 60 objects)", " 1 % (3 of 60 objects, at least one a class)"):
            assert share in page.read_text()
    assert "| 1, draw 0 |" in (board / "TABLE.md").read_text()


def test_the_published_figure_is_that_of_the_most_labels(lines):
    tenth = dataclasses.replace(TASK, regime=10)
    found = lines(
        make_result("both", reported=FIGURE),
        make_result("both", task=tenth, reported=dataclasses.replace(FIGURE, accuracy=0.9)),
        make_result("tenth", task=tenth, reported=FIGURE),
    )
    assert [line[-1] for line in found[1:]] == ["95.0 on modelnet10", "95.0 on modelnet10, 10 % of the labels"]


def test_the_whole_table_is_linked(lines, board):
    lines(make_result())
    assert f"[whole table]({board.name}/TABLE.md)" in (board.parent / "README.md").read_text()


def test_what_encoders_of_images_learnt_from_tells_lines_apart(lines):
    found = lines(probed(), probed(wrong=9, num_views=16))
    learned = "; learned from 2048 Gaussians xyz, fps, and {} images of 240 objects, 20 epochs"
    for line, views, score in zip(found[1:], (64, 16), ("**90.0**", "85.0"), strict=True):
        assert learned.format(views) in line[0]
        assert line[1:3] == ("64 images of meshes, probe", score)


def test_an_input_shows_its_best_rows_alone(lines, board):
    found = lines(*(make_result(f"net{wrong}", wrong=wrong) for wrong in range(1, 7)))
    assert [line[2] for line in found[1:]] == ["**98.3**", "96.7", "95.0"]
    assert "the best 3 of each input among 6" in (board.parent / "README.md").read_text()


def test_another_arithmetic_than_fp32_is_said(lines):
    result = make_result()
    found = lines(dataclasses.replace(result, run=dataclasses.replace(result.run, precision="bf16")))
    assert found[1][0] == "Net `net`; trained in bf16"
