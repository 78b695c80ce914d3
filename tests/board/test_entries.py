"""What may enter the board."""

import concurrent.futures
import dataclasses
import itertools
import re
import threading
from pathlib import Path

import pytest

from gsbench.board import CheckError, check, load_truth, publish, submission, submit, truth_path, unfinished_files
from gsbench.board.entries import load_entries
from gsbench.core.results import Result, load_result, save_result
from tests.board.results import FINGERPRINT, TASK, TRUTH, edit_json, files, make_result, rows


def test_an_entry_and_its_truth_stand_where_they_belong(board, put):
    result = make_result("net:quick", seed=3)
    entry = put(result)
    assert entry == board / "entries" / TASK.slug() / "net-quick-s3.json"
    assert load_result(entry) == result
    assert load_truth(truth_path(board, TASK)) == TRUTH
    assert sorted(files(board)) == sorted([f"datasets/mini@{FINGERPRINT[:8]}.json", str(entry.relative_to(board))])


def test_the_same_predictions_again_reproduce_the_entry_and_change_nothing(board, put, tmp_path):
    """Whatever machine they come from: times, memory, versions and commit are of the run, not of the score."""
    entry = put(make_result())
    before = files(board)
    again = make_result()
    elsewhere = dataclasses.replace(
        again.run, train_seconds=9.0, eval_seconds=9.0, peak_memory_mb=9.0, versions={"torch": "9"}, commit="ab" * 20
    )
    save_result(dataclasses.replace(again, run=elsewhere), tmp_path / "again.json")
    assert submit([(tmp_path / "again.json", TRUTH)], board) == [(entry, False)]
    assert files(board) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: make_result(wrong=5),
            r"1 of 60 predictions differ, 1 of them in the class; accuracy 0\.9 and 0\.9166",
        ),
        (
            lambda r: dataclasses.replace(r, predictions=r.predictions | {"bed_0001": [0.19, 0.21, 0.6]}),
            r"1 of 60 predictions differ, 0 of them in the class; accuracy 0\.9 and 0\.9; class_acc",
        ),
        (
            lambda r: dataclasses.replace(make_result(wrong=5), run=dataclasses.replace(r.run, precision="bf16")),
            r"1 of 60 predictions differ, .*; run\.precision fp32 and bf16 ",
        ),
        (lambda r: dataclasses.replace(r, stated={"psnr": 9.0}), r"stated\.psnr is missing on the board and 9 here"),
    ],
)
def test_another_result_of_the_same_seed_is_refused_with_what_differs(board, put, change, message):
    entry = put(make_result())
    before = files(board)
    with pytest.raises(CheckError, match=message) as caught:
        put(change(make_result()))
    assert str(caught.value).startswith(f"{entry}: is on the board already, and ")
    assert "to replace the entry, remove it first" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(board) == before


def edited_metric(result: Result) -> Result:
    return dataclasses.replace(result, metrics=result.metrics | {"accuracy": 0.9 + 1e-8})


def drop_object(result: Result) -> Result:
    return dataclasses.replace(result, predictions={k: v for k, v in result.predictions.items() if k != "bed_0001"})


def rename_object(result: Result) -> Result:
    renamed = {k.replace("bed_0001", "bed_9999"): v for k, v in result.predictions.items()}
    return dataclasses.replace(result, predictions=renamed)


def flip_prediction(result: Result) -> Result:
    return dataclasses.replace(result, predictions=result.predictions | {"chair_0059": [0.6, 0.2, 0.2]})


def narrow(result: Result) -> Result:
    return dataclasses.replace(result, predictions={k: [0.5, 0.5] for k in result.predictions})


def other_task(**change):
    return lambda result: dataclasses.replace(result, task=dataclasses.replace(result.task, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edited_metric, r"metrics\.accuracy is 0\.90000001, its predictions give 0\.9$"),
        (lambda r: dataclasses.replace(r, metrics={"accuracy": 0.9}), r"class_accuracy is missing, its .* give 0\.9$"),
        (lambda r: dataclasses.replace(r, metrics=r.metrics | {"map": 1.0}), "metrics.map is 1, its .* give missing"),
        (flip_prediction, r"metrics\.accuracy is 0\.9, its predictions give 0\.8833333333"),
        (drop_object, r"missing objects: bed_0001 \(must hold the 60 test objects\)"),
        (rename_object, "missing objects: bed_0001; unknown objects: bed_9999"),
        (narrow, "2 probabilities an object, the data 3"),
        (other_task(fingerprint="ef" * 32), f"task.fingerprint is '{'ef' * 32}', the data's is '{FINGERPRINT}'"),
        (other_task(split="val"), r"task\.split is 'val': to choose by, not for the board \(must be test\)"),
    ],
)
def test_what_does_not_hold_is_refused_and_nothing_is_written(board, put, change, message):
    with pytest.raises(CheckError, match=message) as caught:
        put(change(make_result()))
    assert "incoming.json: " in str(caught.value)
    assert files(board) == {}


@pytest.mark.parametrize("name", ["../../net", "net\n", ".net", ""])
def test_names_cannot_lead_out_of_the_board(board, put, name):
    with pytest.raises(ValueError, match=r"(dataset|model\.name|task)"):
        put(make_result(task=dataclasses.replace(TASK, dataset=name)))
    assert files(board) == {}


def test_seeds_of_different_recipes_do_not_share_a_row(put):
    put(make_result(seed=0))
    other = make_result(seed=1)
    with pytest.raises(CheckError, match=r"incoming\.json: model\.recipe_sha256 is 'efef.*, other seeds .* have 'cdcd"):
        put(dataclasses.replace(other, model=dataclasses.replace(other.model, recipe_sha256="ef" * 32)))
    with pytest.raises(CheckError, match=r"incoming\.json: run\.epochs is 99, other seeds .* have 10"):
        put(dataclasses.replace(other, run=dataclasses.replace(other.run, epochs=99)))


def test_objects_may_stand_in_any_order_in_an_entry(put, board):
    result = make_result()
    shuffled = dataclasses.replace(result, predictions=dict(reversed(result.predictions.items())))
    entry = put(result)
    edit_json(entry, lambda record: record.update(predictions=shuffled.predictions))
    (row,) = rows(board)
    assert float(row["accuracy_mean"]) == pytest.approx(0.9)


def other_recipe(result: Result) -> Result:
    return dataclasses.replace(result, model=dataclasses.replace(result.model, recipe_sha256="ef" * 32))


def at_once(board, tmp_path, *results: Result) -> list[bool | str]:
    """Whether each of several that submit and render at once has made an entry, or why not."""
    start = threading.Barrier(len(results))

    def enter(number: int) -> bool | str:
        path = tmp_path / f"{number}.json"
        save_result(results[number], path)
        start.wait()
        try:
            ((_, new),) = submit([(path, TRUTH)], board)
        except CheckError as error:
            return str(error)
        publish(board, board.parent / "README.md")
        return new

    with concurrent.futures.ThreadPoolExecutor(len(results)) as pool:
        return list(pool.map(enter, range(len(results))))


@pytest.mark.parametrize("attempt", range(5))
@pytest.mark.parametrize(
    ("second", "refused"),
    [
        (make_result(wrong=5), r"1 of 60 predictions differ"),
        (other_recipe(make_result(seed=1)), r"model\.recipe_sha256 is"),
    ],
)
def test_of_two_at_once_that_do_not_go_together_one_is_refused(board, tmp_path, second, refused, attempt):
    found = at_once(board, tmp_path, make_result(), second)
    assert found.count(True) == 1
    assert re.search(refused, str(next(each for each in found if each is not True)))
    assert len(rows(board)) == 1
    check(board, board.parent / "README.md")


def test_of_several_at_once_each_is_entered_and_rendered(board, tmp_path):
    assert at_once(board, tmp_path, *(make_result(f"net{number}") for number in range(6))) == [True] * 6
    check(board, board.parent / "README.md")
    assert sorted(at_once(board, tmp_path, make_result(), make_result())) == [False, True]
    assert unfinished_files(board) == []
    assert not list(board.glob(".*"))


def test_an_interrupted_submit_takes_back_what_it_wrote(board, put, monkeypatch):
    monkeypatch.setattr(submission, "write_atomic", interrupted_at(2, submission.write_atomic))
    with pytest.raises(KeyboardInterrupt):
        put(make_result())
    assert files(board) == {}


def interrupted_at(call: int, function):
    calls = itertools.count(1)

    def interrupted(*arguments) -> None:
        if next(calls) == call:
            raise KeyboardInterrupt
        function(*arguments)

    return interrupted


def test_results_are_accepted_together(board, tmp_path):
    paths = [tmp_path / f"{number}.json" for number in range(4)]
    for path, seed in zip(paths, (0, 1, 1, 2), strict=True):
        save_result(make_result(seed=seed), path)
    found = submit([(path, TRUTH) for path in paths], board)
    assert [(path.name, new) for path, new in found] == [
        ("net-s0.json", True), ("net-s1.json", True), ("net-s1.json", False), ("net-s2.json", True),
    ]  # fmt: skip
    before = files(board)
    save_result(other_recipe(make_result(seed=4)), tmp_path / "other.json")
    save_result(make_result(seed=3), tmp_path / "fitting.json")
    with pytest.raises(CheckError, match=r"other\.json: model\.recipe_sha256"):
        submit([(tmp_path / "fitting.json", TRUTH), (tmp_path / "other.json", TRUTH)], board)
    assert files(board) == before


def test_nothing_enters_a_board_that_does_not_hold(board, put):
    edit_json(put(make_result()), lambda record: record["metrics"].update(accuracy=0.5))
    before = files(board)
    with pytest.raises(CheckError, match=r"net-s0\.json: metrics\.accuracy is 0\.5"):
        put(make_result("other"))
    assert files(board) == before


def by_code(result: Result, code: str | None) -> Result:
    return dataclasses.replace(result, model=dataclasses.replace(result.model, code_sha256=code))


def test_seeds_by_different_code_do_not_share_a_row(put, board):
    put(by_code(make_result(seed=0), None))
    put(by_code(make_result(seed=1), "ab" * 32))
    put(by_code(make_result(seed=2), "ab" * 32))
    with pytest.raises(CheckError, match=r"incoming\.json: model\.code_sha256 is '(cd)+', other seeds .* have '(ab)+'"):
        put(by_code(make_result(seed=3), "cd" * 32))
    (row,) = rows(board)
    assert (row["n"], row["code_sha256"]) == ("3", "unknown"), "that of the first"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: dataclasses.replace(model, recipe_sha256="00" * 32), r"model\.recipe_sha256 is '00"),
        (lambda model: dataclasses.replace(model, code_sha256="00" * 32), r"model\.code_sha256 is '00"),
    ],
)
def test_draws_of_a_row_are_of_one_recipe_and_one_code(put, board, change, message):
    """What the table would put into one row is held alike when it comes in."""
    draws = [dataclasses.replace(TASK, regime=10, draw=draw) for draw in range(2)]
    first, second = (by_code(make_result(task=task), "ab" * 32) for task in draws)
    put(first)
    before = files(board)
    with pytest.raises(CheckError, match=message):
        put(dataclasses.replace(second, model=change(second.model)))
    assert files(board) == before
    put(second)
    assert rows(board)[0]["draws"] == "2"
    other = dataclasses.replace(second, task=dataclasses.replace(TASK, regime=50, draw=1))
    put(dataclasses.replace(other, model=change(other.model)))


def test_every_entry_in_the_repository_holds_and_old_ones_say_that_their_code_is_unknown():
    repository = Path(__file__).resolve().parents[2] / "leaderboard"
    entries = [entry for _, some in load_entries(repository) for entry in some]
    assert len(entries) == len(list((repository / "entries").glob("*/*.json"))) >= 121
    for entry in entries:
        assert (entry.result.schema_version == 1) == (entry.result.model.code_sha256 is None), entry.path
