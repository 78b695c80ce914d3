"""All rows as JSON and LaTeX, beside the CSV that the board keeps."""

import csv
import dataclasses
import io
import json
import re

import pytest

from gsbench.board import export, publish
from gsbench.board.cells import as_latex
from gsbench.cli import main
from gsbench.core.parsing import InputError
from gsbench.core.recipe import Reported
from tests.board.results import make_result


@pytest.fixture
def filled(board, put):
    put(make_result("good", wrong=2))
    poor = make_result("poor", wrong=30, reported=Reported("modelnet10", "gaussians", 0.52, "A paper"))
    put(poor)
    put(dataclasses.replace(make_result("poor", seed=1, wrong=31), reported=poor.reported))
    hostile = make_result("hostile", wrong=12)
    put(dataclasses.replace(hostile, model=dataclasses.replace(hostile.model, title=r"50% & \input{x} #1_$^~{}<>")))
    return board


def test_json_has_the_rows_of_the_csv_with_numbers_as_numbers(filled, tmp_path):
    publish(filled, filled.parent / "README.md")
    export(filled, tmp_path / "rows.json")
    rows = json.loads((tmp_path / "rows.json").read_text())
    cells = list(csv.DictReader(io.StringIO((filled / "table.csv").read_text())))
    assert [row.keys() for row in rows] == [cell.keys() for cell in cells]
    assert [row["model"] for row in rows] == ["good", "hostile", "poor"]
    good, _, poor = rows
    assert good["accuracy_mean"] == pytest.approx(58 / 60, abs=1e-6)
    assert (poor["n"], poor["epochs"], poor["num_params"]) == (2, 10, 1000)
    assert good["reported_accuracy"] is None
    assert poor["reported_in_interval"] is True
    assert poor["objects_fewer_than_best"] == 28.5
    assert poor["objects_fewer_to_be_behind"] > 0
    assert good["objects_fewer_to_be_behind"] is None
    share = 58 / 60
    assert good["standard_error"] == pytest.approx((share * (1 - share) / 60) ** 0.5, abs=1e-6)


def test_latex_has_a_table_a_task_and_runs_nothing_of_others(filled, tmp_path):
    export(filled, tmp_path / "rows.tex")
    text = (tmp_path / "rows.tex").read_text()
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    rows = re.findall(r"^    (.*) \\\\$", text, re.MULTILINE)
    assert {row.count(" & ") for row in (rows[0], rows[1], rows[3])} == {6}
    assert rows[1].startswith(r"Good & \textbf{96.7} & ")
    assert r"50\% \& \textbackslash{}input\{x\} \#1\_\$" in rows[2]
    assert rows[3].startswith(r"Poor & 49.2 $\pm$ 1.2 & ")
    assert rows[3].endswith(" & 52.0 (modelnet10)")


def test_one_line_for_latex():
    assert as_latex("a\n b\\c") == r"a b\textbackslash{}c"


def test_other_suffixes_are_refused_and_nothing_is_written(filled, tmp_path, capsys):
    with pytest.raises(InputError, match=r"suffix is '.xls' \(allowed: .csv, .json, .tex\)"):
        export(filled, tmp_path / "rows.xls")
    assert main(["leaderboard", "--board", str(filled), "--check", "--export", "x.tex"]) == 2
    assert "--export writes and --check does not" in capsys.readouterr().err
    assert main(["leaderboard", "--board", str(filled), "--export", str(tmp_path / "all.csv")]) == 0
    assert (tmp_path / "all.csv").read_text() == (filled / "table.csv").read_text()
    assert not (tmp_path / "rows.xls").exists()
