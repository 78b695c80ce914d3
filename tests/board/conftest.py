"""An empty board, and a way to put results on it."""

import dataclasses

import pytest

from gsbench.board import submit
from gsbench.core.results import Result, save_result
from tests.board.results import README, TRUTH


@pytest.fixture
def board(tmp_path):
    (tmp_path / "README.md").write_text(README)
    return tmp_path / "leaderboard"


@pytest.fixture
def put(board, tmp_path):
    """Submits a result to the board, which knows of such leaked objects, for its entry's path."""

    def submit_result(result: Result, leaked: dict[str, tuple[str, ...]] | None = None):
        path = tmp_path / "incoming.json"
        save_result(result, path)
        truth = dataclasses.replace(TRUTH, dataset=result.task.dataset, leaked=leaked or {})
        ((entry, _),) = submit([(path, truth)], board)
        return entry

    return submit_result
