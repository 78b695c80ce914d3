"""The maintainers' workflow, played through: its own commands, on a request in a git repository."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from gsbench.board import publish, submit
from gsbench.board.submission import enter
from gsbench.core.results import save_result
from tests.board.results import README, TRUTH, edit_json, make_result
from tests.board.test_outside import candidates

FILE = Path(__file__).resolve().parents[2] / ".github" / "workflows" / "submission.yml"
WORKFLOW = yaml.safe_load(FILE.read_text())
STEPS = [
    step for step in WORKFLOW["jobs"]["check"]["steps"] if "run" in step and not step["name"].startswith("Install")
]


def git(folder: Path, *arguments: str) -> str:
    name = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *name, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def request_repo(tmp_path) -> Path:
    """A repository with a board of one entry."""
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "README.md").write_text(README)
    save_result(make_result(), tmp_path / "r.json")
    submit([(tmp_path / "r.json", TRUTH)], repo / "leaderboard")
    publish(repo / "leaderboard", repo / "README.md")
    git(repo, "init", "-q", "-b", "main")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "base")
    return repo


def play(repo: Path, folder: Path) -> tuple[str | None, str]:
    """Runs the workflow on what was changed since the base; returns the step that failed, and what was said."""
    base = git(repo, "rev-parse", "HEAD")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "request")
    folder.mkdir()
    for name in ("base", "request"):
        subprocess.run(["git", "clone", "-q", str(repo), str(folder / name)], check=True)
    git(folder / "base", "checkout", "-q", base)
    env = os.environ | {"BASE_SHA": base, "HEAD_SHA": git(repo, "rev-parse", "HEAD")}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    told = ""
    for step in STEPS:
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        told += done.stdout + done.stderr
        if done.returncode:
            return step["name"], told
    return None, told


def add(repo: Path, folder: Path) -> Path:
    """An entry of a model trained elsewhere, where it belongs."""
    board = folder / "mine"
    (path,) = (path for path, _ in enter(candidates(folder), board).entries)
    target = repo / "leaderboard" / path.relative_to(board)
    target.parent.mkdir(parents=True)
    shutil.copy(path, target)
    return target


def test_an_honest_request_passes_and_its_row_is_shown(request_repo, tmp_path):
    add(request_repo, tmp_path)
    failed, told = play(request_repo, tmp_path / "ci")
    assert failed is None, told
    assert "their-net" in told


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


FIRST, SECOND = "Only new entries", "Recompute them, and look for twins"
CASES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "code beside it": (lambda repo, _: (repo / "setup.py").write_text("raise SystemExit"), FIRST),
    "labels changed": (lambda repo, _: edit_json(*repo.glob("leaderboard/datasets/*"), lambda r: r.update(x=1)), FIRST),
    "tables changed": (lambda repo, _: (repo / "leaderboard/TABLE.md").write_text("best\n"), FIRST),
    "a workflow": (lambda repo, _: (repo / "w.yml").write_text("on: push\n"), FIRST),
    "an entry changed": (
        lambda repo, _: edit_json(*repo.glob("leaderboard/entries/*/net-s0.json"), lambda r: r.update(stated={})),
        FIRST,
    ),
    "an entry removed": (lambda repo, _: next(repo.glob("leaderboard/entries/*/net-s0.json")).unlink(), FIRST),
    "a link": (lambda _, path: _link(path), FIRST),
    "a name for the shell": (lambda _, path: path.rename(path.with_name("$(touch x).json")), FIRST),
    "an option as a name": (lambda _, path: path.rename(path.with_name("--reviewed.json")), FIRST),
    "another ending": (lambda _, path: path.rename(path.with_suffix(".py")), FIRST),
    "executable": (lambda _, path: path.chmod(0o755), FIRST),
    "no JSON": (lambda _, path: path.write_text("{"), SECOND),
    "another score": (lambda _, path: edit_json(path, lambda r: r["metrics"].update(accuracy=1.0)), SECOND),
    "a claim": (lambda _, path: edit_json(path, lambda r: r.update(provenance="rerun")), SECOND),
    "the wrong place": (lambda _, path: path.rename(path.with_name("other-s0.json")), "The board with them"),
    "a twin": (
        lambda repo, path: path.write_text(
            json.dumps(
                json.loads(path.read_text())
                | {
                    key: json.loads(next(repo.glob("leaderboard/entries/*/net-s0.json")).read_text())[key]
                    for key in ("predictions", "metrics")
                }
            )
        ),
        SECOND,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_request_fails_where_it_should(request_repo, tmp_path, case):
    change, step = CASES[case]
    change(request_repo, add(request_repo, tmp_path))
    failed, told = play(request_repo, tmp_path / "ci")
    assert failed == step, told


def test_the_workflow_reads_alone_and_runs_nothing_of_the_request():
    text = FILE.read_text()
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in text
    assert "secrets." not in text
    assert text.count("persist-credentials: false") == text.count("actions/checkout")
    for step in WORKFLOW["jobs"]["check"]["steps"]:
        assert "${{" not in step.get("run", ""), "what a request names would be run by the shell"
        assert "cd request" not in step.get("run", "")
        assert "install ./request" not in step.get("run", "")
