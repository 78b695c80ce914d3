"""What may enter the board."""

import dataclasses
import itertools
import os

import pytest

from gsbench.leaderboard import CheckError, load_truth, submission, submit, truth_path, unfinished_files
from gsbench.results import Result, load_result, save_result
from tests.leaderboard.making import FINGERPRINT, TASK, TRUTH, edit_json, files, make_result, rows


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
        (other_task(split="train"), r"task\.split is 'train', the data's is 'test'"),
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


def between(monkeypatch, act) -> None:
    """Lets `act` happen once, after a submit has looked at the board and before it writes to it."""
    waiting, render = [act], submission._render

    def rendered(groups, board) -> None:
        render(groups, board)
        if waiting:
            waiting.pop()()

    monkeypatch.setattr(submission, "_render", rendered)


def test_of_two_results_of_one_row_at_once_the_first_one_stays(board, put, monkeypatch):
    between(monkeypatch, lambda: put(make_result(wrong=5)))
    with pytest.raises(CheckError, match="1 of 60 predictions differ"):
        put(make_result())
    assert [row["accuracy_mean"] for row in rows(board)] == ["0.916667"]
    assert unfinished_files(board) == []


def test_the_same_result_twice_at_once_is_one_entry(board, put, monkeypatch):
    between(monkeypatch, lambda: put(make_result()))
    put(make_result())
    assert [row["n"] for row in rows(board)] == ["1"]


def test_of_two_at_once_that_do_not_go_together_one_is_refused(board, put, monkeypatch):
    between(monkeypatch, lambda: put(other_recipe(make_result(seed=1))))
    with pytest.raises(CheckError, match=r"model\.recipe_sha256"):
        put(make_result(seed=0))
    assert [row["recipe_sha256"] for row in rows(board)] == ["ef" * 32]


def test_two_at_once_that_say_different_things_of_a_data_set(board, put, monkeypatch):
    between(monkeypatch, lambda: put(make_result(), {"near": ("bed_0001",)}))
    with pytest.raises(CheckError, match="leaked differ"):
        put(make_result(seed=1))
    assert [row["n"] for row in rows(board)] == ["1"]


def test_an_interrupted_submit_takes_back_what_it_wrote(board, put, monkeypatch):
    monkeypatch.setattr(os, "link", interrupted_at(2, os.link))
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


def test_draws_of_one_row_are_of_one_recipe(put):
    tenth = dataclasses.replace(TASK, regime=10)
    put(make_result(task=tenth))
    with pytest.raises(CheckError, match=r"incoming\.json: model\.recipe_sha256"):
        put(other_recipe(make_result(task=dataclasses.replace(tenth, draw=1))))


def test_nothing_enters_a_board_that_does_not_hold(board, put):
    edit_json(put(make_result()), lambda record: record["metrics"].update(accuracy=0.5))
    before = files(board)
    with pytest.raises(CheckError, match=r"net-s0\.json: metrics\.accuracy is 0\.5"):
        put(make_result("other"))
    assert files(board) == before
