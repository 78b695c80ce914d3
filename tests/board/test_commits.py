"""The code that an entry states, beside that of its commit: whatever has moved or changed since then."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from gsbench.board.commits import check_code, count_standings
from gsbench.cli import main
from gsbench.core.baseline import code_sha256, find_recipe
from gsbench.core.results import Result
from tests.board.results import README, make_result

ROOT = Path(__file__).resolve().parents[2]


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--message", "x")
    return git(folder, "rev-parse", "HEAD").strip()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("gsbench", "baselines"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "mini", "*.nb?"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    git(folder, "init")
    return folder


def of(name: str, code: str | None, at: str | None, dirty: bool | None = False) -> tuple[Path, Result]:
    result = make_result(name)
    model = dataclasses.replace(result.model, code_sha256=code)
    run = dataclasses.replace(result.run, commit=at, dirty=dirty)
    return Path(f"{name}.json"), dataclasses.replace(result, model=model, run=run)


def test_an_entry_is_compared_with_its_own_commit(checkout):
    first, quick = commit(checkout), find_recipe("pointnet++:quick")
    code = code_sha256(*quick)
    # Another layout: the loop moves, and what `evaluate` is moves with the table of public names.
    (checkout / "gsbench/training").mkdir()
    git(checkout, "mv", "gsbench/learn/train.py", "gsbench/training/loop.py")
    git(checkout, "mv", "baselines", "networks")
    for path in [*(checkout / "gsbench").rglob("*.py"), checkout / "pyproject.toml"]:
        text = path.read_text().replace("gsbench.learn.train import", "gsbench.training.loop import")
        path.write_text(text.replace('gsbench_baselines = "baselines"', 'gsbench_baselines = "networks"'))
    second = commit(checkout)
    checks = check_code(
        [
            of("pointnet++:quick", code, first),
            of("pointnet++", code, first),
            of("pointnet", code_sha256(*find_recipe("pointnet")), first),
            of("mvcnn:imagenet-resnet", code_sha256(*find_recipe("mvcnn")), first),
            of("pointnet", code, first),
            of("pointnet++:quick", code, second),
            of("pointnet", None, first),
            of("pointnet", code, first, dirty=True),
            of("pointnet", code, None, dirty=None),
            of("pointnet", code, "0" * 40),
            of("mine", code, first),
        ],
        checkout,
    )
    assert [check.standing for check in checks] == [
        *["match"] * 4, *["differ"] * 2, "unknown", *["not at hand"] * 4,
    ]  # fmt: skip
    assert checks[4].why.startswith(f"model.code_sha256 is {code}, that of its commit {first} is ")
    assert [check.why for check in checks[7:9]] == ["files were changed since its commit", "it is of no commit"]
    assert checks[10].why == f"at commit {first}: no model 'mine' comes with it"
    assert count_standings(checks) == "4 match, 2 differ, 1 unknown, 4 not at hand"


def test_without_git_nothing_is_at_hand(tmp_path):
    (check,) = check_code([of("pointnet", "ab" * 32, "0" * 40)], tmp_path)
    assert check.standing == "not at hand"


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="these files are of no git checkout")
def test_the_command(board, put, capsys):
    (board.parent / "README.md").write_text(README)
    _, result = of("pointnet", None, None)
    entry = put(result)
    assert main(["leaderboard", "--board", str(board)]) == 0
    capsys.readouterr()
    command = ["leaderboard", "--board", str(board), "--check", "--code"]
    assert main(command) == 0
    assert capsys.readouterr().out == "code of entries: 0 match, 0 differ, 1 unknown, 0 not at hand\n"
    head = git(ROOT, "rev-parse", "HEAD").strip()
    entry.unlink()
    put(of("pointnet", "ab" * 32, head)[1])
    assert main(["leaderboard", "--board", str(board)]) == 0
    capsys.readouterr()
    assert main(command) == 1
    assert f"model.code_sha256 is {'ab' * 32}, that of its commit {head} is " in capsys.readouterr().err
    assert main(["leaderboard", "--board", str(board), "--code"]) == 2
