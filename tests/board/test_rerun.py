"""A second run of an entry: how far it agrees, and what the receipt is of."""

import dataclasses

import numpy as np
import pytest

from gsbench.board.entries import CheckError
from gsbench.board.rerun import compare_runs, rerun_path, save_rerun, was_rerun
from gsbench.core.metrics import classification_metrics
from gsbench.core.parsing import InputError
from gsbench.core.results import load_result
from tests.board.results import TRUTH, edit_json, make_result


@pytest.fixture
def entry(put):
    return put(make_result())


def moved(result, by):
    """The result with other predictions."""
    probabilities = by(np.array(list(result.predictions.values())))
    labels = np.array([TRUTH.classes.index(TRUTH.labels[object_id]) for object_id in result.predictions])
    predictions = dict(zip(result.predictions, probabilities.tolist(), strict=True))
    return dataclasses.replace(result, predictions=predictions, metrics=classification_metrics(probabilities, labels))


def keep(entry, board, again):
    found = compare_runs(entry, board, load_result(entry), again, TRUTH)
    save_rerun(found, rerun_path(board, entry))
    return found


def test_the_same_predictions_are_equal(entry, board):
    found = keep(entry, board, load_result(entry))
    assert (found.standing, found.equal_predictions, found.flipped, found.p_value) == ("equal", 60, 0, 1.0)
    assert was_rerun(board, entry)


def test_rounding_agrees(entry, board):
    again = moved(load_result(entry), lambda p: p * 0.9 + 0.1 / 3)
    found = keep(entry, board, again)
    assert (found.standing, found.equal_predictions, found.flipped) == ("agree", 0, 0)
    assert found.largest_difference == pytest.approx(0.6 - (0.54 + 0.1 / 3))
    assert was_rerun(board, entry)


def test_another_model_differs_and_the_receipt_vouches_for_nothing(entry, board):
    found = keep(entry, board, moved(load_result(entry), lambda p: np.roll(p, 1, axis=1)))
    assert found.standing == "differ"
    assert not was_rerun(board, entry)


def test_a_receipt_is_of_the_entry_as_it_was(entry, board):
    keep(entry, board, load_result(entry))
    edit_json(entry, lambda record: record["run"].update(train_seconds=7.0))
    assert not was_rerun(board, entry)


def test_another_task_is_refused(entry, board):
    result = load_result(entry)
    again = dataclasses.replace(result, task=dataclasses.replace(result.task, num_points=512))
    with pytest.raises(CheckError, match="second run of"):
        compare_runs(entry, board, result, again, TRUTH)


def test_a_file_elsewhere_has_no_receipt(tmp_path, board):
    with pytest.raises(InputError, match="is no entry of"):
        rerun_path(board, tmp_path / "r.json")
