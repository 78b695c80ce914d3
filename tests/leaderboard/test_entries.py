"""What may enter the board."""

import dataclasses
from pathlib import Path

import pytest

from gsbench.leaderboard import CheckError, load_entries, load_truth, truth_path
from gsbench.results import Result, load_result
from tests.leaderboard.making import FINGERPRINT, TASK, TRUTH, edit_json, files, make_result, rows


def test_an_entry_and_its_truth_stand_where_they_belong(board, put):
    result = make_result("net:quick", seed=3)
    entry = put(result)
    assert entry == board / "entries" / TASK.slug() / "net-quick-s3.json"
    assert load_result(entry) == result
    assert load_truth(truth_path(board, TASK)) == TRUTH
    assert sorted(files(board)) == sorted([f"datasets/mini@{FINGERPRINT[:8]}.json", str(entry.relative_to(board))])


def test_submitting_again_changes_nothing_and_another_result_is_refused(board, put):
    put(make_result())
    before = files(board)
    put(make_result())
    assert files(board) == before
    with pytest.raises(CheckError, match=r"net-s0\.json: another entry"):
        put(make_result(wrong=5))
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
    with pytest.raises(CheckError, match=r"incoming\.json: model\.recipe_sha256 is '0000', other seeds .* have 'cdcd"):
        put(dataclasses.replace(other, model=dataclasses.replace(other.model, recipe_sha256="0000")))
    with pytest.raises(CheckError, match=r"incoming\.json: run\.epochs is 99, other seeds .* have 10"):
        put(dataclasses.replace(other, run=dataclasses.replace(other.run, epochs=99)))


def test_objects_may_stand_in_any_order_in_an_entry(put, board):
    result = make_result()
    shuffled = dataclasses.replace(result, predictions=dict(reversed(result.predictions.items())))
    entry = put(result)
    edit_json(entry, lambda record: record.update(predictions=shuffled.predictions))
    (row,) = rows(board)
    assert float(row["accuracy_mean"]) == pytest.approx(0.9)


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
