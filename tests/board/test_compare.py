"""Two rows object by object, and what one gets wrong."""

import dataclasses
import html
import json
from pathlib import Path

import numpy as np
import pytest

from gsbench.board.compare import check_comparable, compare, comparison_text
from gsbench.board.entries import CheckError, Entry, correct_objects
from gsbench.board.errors import confusions, errors, errors_text, missed_by_others
from gsbench.board.truth import truth_json
from gsbench.cli import main
from gsbench.core.metrics import (
    accuracy_difference_interval,
    accuracy_interval,
    compare_with_best,
    mcnemar_p_value,
    mcnemar_resolution,
    p_values_to_best,
)
from gsbench.core.results import save_result
from tests.board.results import LABELS, TASK, TRUTH, make_result

IDS = list(LABELS)


def test_two_runs_are_compared_on_the_objects_that_differ() -> None:
    found = compare([make_result(wrong=6)], [make_result(seed=4, wrong=6)], TRUTH)  # wrong on 0-5, and on 4-9
    assert found.accuracies == (0.9, 0.9)
    assert (found.only_a, found.only_b, found.objects) == (4, 4, 0)
    assert found.mcnemar == 1
    assert found.resolution == mcnemar_resolution(8) == 8
    assert [flip.object_id for flip in found.flips] == IDS[:4] + IDS[6:10], "those that B gets right first"
    assert {flip.guesses for flip in found.flips if flip.label == "bathtub"} == {("bed", "bathtub"), ("bathtub", "bed")}
    low, high = found.interval
    assert low == pytest.approx(-high)
    assert [(each.label, each.objects) for each in found.classes] == [("bathtub", 20), ("bed", 20), ("chair", 20)]


def test_a_row_of_several_runs_counts_by_its_mean() -> None:
    found = compare([make_result(wrong=6), make_result(seed=3, wrong=6)], [make_result(wrong=0)], TRUTH)
    assert found.runs == (2, 1)
    assert found.mcnemar is None, "it is a test of single runs"
    assert found.objects == pytest.approx(6)
    assert [(flip.object_id, flip.a) for flip in found.flips[:3]] == [(name, 0.0) for name in IDS[3:6]]
    assert "mean of 2 runs" in comparison_text(("one", "other"), found)


def test_the_text_names_both_and_says_whether_they_are_told_apart() -> None:
    far = comparison_text(("near", "far"), compare([make_result(wrong=1)], [make_result(wrong=30)], TRUTH))
    assert far.startswith("A: near: 98.3 % (one seed)\nB: far: 50.0 %")
    assert ", told apart at 5 %" in far
    close = comparison_text(("a", "b"), compare([make_result(wrong=1)], [make_result(wrong=2)], TRUTH))
    assert "not told apart at 5 %" in close
    assert "no gap could be told" in close


def test_results_of_other_objects_are_not_compared() -> None:
    other = make_result(task=dataclasses.replace(TASK, fingerprint="cd" * 32))
    with pytest.raises(CheckError, match=r"b\.json: task\.fingerprint is 'cdcd.*that of a\.json is 'abab"):
        check_comparable(make_result(), other, ("a.json", "b.json"))
    check_comparable(make_result(), make_result(task=dataclasses.replace(TASK, sampling="uniform")), ("a", "b"))


def test_errors_are_counted_by_class_and_beside_the_other_rows() -> None:
    result = make_result(wrong=6)
    others = [
        make_result(name="other", seed=2, wrong=6),
        make_result(name="third", seed=4, wrong=6),
        make_result(seed=1),
    ]
    entries = [Entry(Path(), each, correct_objects(each, TRUTH)) for each in others]
    missed, count = missed_by_others(entries, result)
    assert count == 2, "another seed of the same row is no other row"
    found = errors(result, TRUTH, missed, count)
    assert found.confusion.tolist() == [[18, 2, 0], [0, 18, 2], [2, 0, 18]]
    assert {miss.object_id: miss.missed_by for miss in found.misses} == dict(zip(IDS, [0, 0, 1, 1, 2, 2], strict=False))
    assert set(found.nobody) == {IDS[4], IDS[5]}
    assert confusions(found)[0][2] == 2
    text = errors_text("net", found)
    assert "net: 90.0 % (54 of 60)" in text
    assert "2 objects nobody gets right, of 2 other rows" in text


def test_a_run_without_errors_has_a_text() -> None:
    assert "100.0 % (60 of 60)" in errors_text("net", errors(make_result(wrong=0), TRUTH))


def test_mcnemar_is_the_two_sided_binomial_test() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    for a in range(12):
        for b in range(1, 12):
            assert mcnemar_p_value(a, b) == pytest.approx(scipy_stats.binomtest(a, a + b, 0.5).pvalue)
    assert mcnemar_p_value(0, 0) == 1


def test_the_resolution_is_the_first_significant_gap() -> None:
    assert mcnemar_resolution(45) == 15
    assert mcnemar_resolution(5) is None
    assert mcnemar_p_value(16, 29) >= 0.05 > mcnemar_p_value(15, 30)


def test_the_interval_of_a_difference_is_the_bootstraps() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random((1, 300)) < 0.9, generator.random((3, 300)) < 0.93
    difference = b.mean(axis=0) - a.mean(axis=0)
    draws = generator.integers(0, 300, (20_000, 300))
    expected = np.quantile(difference[draws].mean(axis=1), (0.025, 0.975))
    assert accuracy_difference_interval(a, b) == pytest.approx(expected, abs=0.002)
    nothing = np.zeros((1, 300), bool)
    low, high = accuracy_difference_interval(nothing, a)
    assert (low, high) == pytest.approx(accuracy_interval(a)), "against nothing right it is the accuracy's"


def test_the_gap_that_would_be_behind_is_where_the_p_value_turns() -> None:
    """The two rows disagree on as many objects in each pair, and the gap alone changes."""
    generator = np.random.default_rng(1)
    for discordant in (20, 45):
        told = []
        for gap in range(discordant % 2, discordant + 1, 2):
            a = np.ones((1, 400), bool)
            b = a.copy()
            a[0, : (discordant - gap) // 2] = False
            b[0, (discordant - gap) // 2 : discordant] = False
            shuffled = generator.permutation(400)
            rows = [a[:, shuffled], b[:, shuffled]]
            p_values, resolution = compare_with_best(rows)
            assert p_values.tolist() == p_values_to_best(rows).tolist()
            assert (p_values.min() < 0.05) == (gap >= resolution[1])
            told.append(p_values.min() < 0.05)
        assert told == sorted(told)


def test_the_commands_print_both_as_text_and_as_json(board, put, capsys) -> None:
    good, poor = put(make_result("good", wrong=1)), put(make_result("poor", wrong=30))
    again = put(make_result("poor", seed=1))
    assert main(["compare", str(good), str(poor), "--board", str(board)]) == 0
    assert "told apart at 5 %" in capsys.readouterr().out
    assert main(["compare", str(good), str(again), "--all-seeds", "--json", "--board", str(board)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == [1, 2]
    assert main(["errors", str(poor), "--board", str(board)]) == 0
    assert "50.0 % (30 of 60)" in capsys.readouterr().out
    assert main(["errors", str(poor), "--json", "--board", str(board)]) == 0
    assert json.loads(capsys.readouterr().out)["others"] == 1
    assert main(["leaderboard", "--board", str(board), "--site", str(board.parent / "site")]) == 0
    assert capsys.readouterr().out.endswith("index.html (5 pages)\n")
    assert main(["leaderboard", "--board", str(board), "--site", "x", "--check"]) == 2


def test_the_objects_that_differ_have_pictures_on_a_page(tmp_path, capsys) -> None:
    entries = sorted(Path("leaderboard/entries").glob("mini@*/pointnet++-quick-s*.json"))
    page = tmp_path / "flips.html"
    assert main(["compare", str(entries[0]), str(entries[1]), "--data", "mini", "--page", str(page), "--json"]) == 0
    said = capsys.readouterr()
    flips = json.loads(said.out)["flips"]
    assert flips
    assert f"a picture of each of {len(flips)} objects" in said.err
    text = page.read_text()
    assert text.count('<img src="data:image/png;base64,') == len(flips)
    assert all(f"<b>{flip['object_id']}</b>" in text for flip in flips)
    assert "<script" not in text
    assert "default-src 'none'" in html.unescape(text)


def test_pictures_are_of_the_same_data(tmp_path, capsys) -> None:
    paths = []
    for seed in range(2):
        paths.append(tmp_path / f"net-s{seed}.json")
        save_result(make_result(seed=seed), paths[-1])
    (tmp_path / "board/datasets").mkdir(parents=True)
    (tmp_path / "board/datasets" / f"{TASK.dataset}@{TASK.fingerprint[:8]}.json").write_bytes(truth_json(TRUTH))
    page = tmp_path / "flips.html"
    command = ["compare", *map(str, paths), "--board", str(tmp_path / "board"), "--page", str(page)]
    assert main(command) == 2
    assert "fingerprint d4de772d, the entries are of abababab" in capsys.readouterr().err
    assert not page.exists()
