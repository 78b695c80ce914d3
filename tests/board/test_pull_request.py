"""Requests to put entries on a board: on the Hub by its real client, and as a branch of a git repository."""

import subprocess
import sys
from pathlib import Path

import pytest

from gsbench.board import publish
from tests.board.results import make_result
from tests.board.test_outside import table, write
from tests.board.test_workflow import git
from tests.hub_server import TOKEN, Hub, Repo

OPTIONS = ["--data", "mini@abababab", "--modality", "points", "--name", "their-net", "--seed", "0"]


@pytest.fixture
def put_board(board, put):
    put(make_result())
    publish(board, board.parent / "README.md")
    return board


def gsbench(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gsbench", "submit", "--predictions", "p.csv", *OPTIONS, *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_a_request_on_the_hub_adds_the_entry_alone(put_board, tmp_path):
    write(tmp_path / "p.csv", table())
    with Hub(tmp_path / "hub") as hub:
        hub.repos["org/board"] = repo = Repo()
        repo.commit("main", {}, "initial commit")
        done = gsbench(tmp_path, "--pr", "org/board", env=hub.env(tmp_path / "home", TOKEN))
        assert done.returncode == 0, done.stderr
        assert f"{hub.endpoint}/datasets/org/board/discussions/1" in done.stdout
        (added,) = repo.files("refs/pr/1")
        assert (
            added == "entries/mini@abababab-test-points-unknown-unknown-unknown-nunknown-runknownd0/their-net-s0.json"
        )
        assert repo.files("main") == {}
    assert not list(put_board.rglob("their-net*"))
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize("token", [None, "hf_" + "x" * 33])
def test_what_the_hub_refuses_is_told_in_a_line_without_the_token(put_board, tmp_path, token):
    write(tmp_path / "p.csv", table())
    with Hub(tmp_path / "hub") as hub:
        hub.repos["org/board"] = repo = Repo()
        repo.commit("main", {}, "initial commit")
        done = gsbench(tmp_path, "--pr", "org/board", env=hub.env(tmp_path / "home", token))
        assert not repo.pulls
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "oken" in done.stderr or "org/board" in done.stderr
    assert token is None or token not in done.stderr


def test_a_request_of_a_git_board_is_a_branch_with_the_entry_alone(put_board, tmp_path):
    write(tmp_path / "p.csv", table())
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "config", "user.name", "a")
    git(tmp_path, "config", "user.email", "a@example.org")
    git(tmp_path, "add", "leaderboard", "README.md")
    git(tmp_path, "commit", "-qm", "base")
    done = gsbench(tmp_path, "--pr")
    assert done.returncode == 0, done.stderr
    assert "git push --set-upstream origin submit-their-net-s0" in done.stdout
    changed = git(tmp_path, "diff", "--name-status", "main...submit-their-net-s0").splitlines()
    assert [line.partition("\t")[0] for line in changed] == ["A"]
    again = gsbench(tmp_path, "--pr")
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_without_git_nothing_is_written(put_board, tmp_path):
    write(tmp_path / "p.csv", table())
    done = gsbench(tmp_path, "--pr")
    assert done.returncode == 2
    assert "git rev-parse fails" in done.stderr
    assert not list(put_board.rglob("their-net*"))
