"""Every command and every line of Python in the README and the guides is run here, in order, as a new user would."""

import contextlib
import glob
import importlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gsbench.cli import main
from gsbench.core.results import load_result

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(?:<!-- needs: (?P<needs>.*?) -->\n)?```(?P<language>\w+)\n(?P<body>.*?)```", re.DOTALL)
NAMED_FILE = re.compile(r"[Tt]his as `([^`]+)`")
GUIDES = (
    "baselines/README.md",
    "datasets_cards/README.md",
    "leaderboard/README.md",
    "CONTRIBUTING.md",
    "tests/README.md",
)
PAGES = ("README.md", "CONTRIBUTING.md", *GUIDES)
IN_A_PROCESS = ("python -m", "gsbench models")
"""Commands that are run as users run them; the others in this process, which spares loading torch each time."""


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page in a language, but those that need what is not at hand."""
    found = BLOCK.finditer((ROOT / page).read_text())
    return [each["body"] for each in found if each["language"] == language and not each["needs"]]


def commands(page: str) -> list[str]:
    return [line for block in blocks(page, "bash") for line in block.splitlines() if line.strip()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to run commands in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str) -> str:
    """Runs one line of a page; returns what it prints."""
    if command.startswith("gsbench ") and not command.startswith(IN_A_PROCESS):
        words = [found for word in shlex.split(command)[1:] for found in (sorted(glob.glob(word)) or [word])]
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert main(words) == 0, command
        return out.getvalue()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, shell=True, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_all(page: str) -> dict[str, str]:
    """Runs a page's commands, with less training; what sets up an environment is tested elsewhere."""
    chosen = [line for line in commands(page) if not line.startswith(("make ", "pip "))]
    return {command: run(re.sub(r"(pointnet\S*):quick", r"\1:smoke", command)) for command in chosen}


def save_named_files(folder: Path) -> list[str]:
    """Writes each file that the README asks the reader to save; returns their names."""
    text = (ROOT / "README.md").read_text()
    names = []
    for match in NAMED_FILE.finditer(text):
        body = BLOCK.search(text, match.end())
        assert body is not None, f"no code follows '{match[0]}'"
        path = folder / match[1]
        path.parent.mkdir(exist_ok=True)
        path.write_text(body["body"])
        names.append(match[1])
    return names


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") < 150
    assert len(text.encode()) < 12_000


def test_the_walk_leads_through_functions_that_exist() -> None:
    text = (ROOT / "tests/README.md").read_text()
    stops = re.findall(r"`(gsbench[\w.]*):(\w+)`", text)
    assert len(stops) >= 12
    assert len(re.findall(r"^\d+\. ", text, re.MULTILINE)) <= 12
    for module, name in stops:
        assert callable(getattr(importlib.import_module(module), name)), f"{module}:{name}"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text()):
            assert link.startswith("https://") or (ROOT / page).parent.joinpath(link).exists(), f"{page}: {link}"


def test_make_targets_exist() -> None:
    """`make` would call this suite again, so its targets are only resolved; what they run is tested on its own."""
    assert shutil.which("make"), "make is what the README asks for"
    targets = [line for page in PAGES for line in commands(page) if line.startswith("make ")]
    assert {"make eval", "make test", "make lint"} <= set(targets)
    for command in targets:
        assert run(f"cd {ROOT} && {command.partition('#')[0]} --dry-run")


def make_evals_command() -> str:
    """What `make eval` runs once its environment is there, with this one's programs."""
    (command,) = [line for line in run(f"cd {ROOT} && make eval --dry-run").splitlines() if "gsbench eval" in line]
    return command.removeprefix(".venv/bin/")


def test_the_readme_in_its_order_on_a_fresh_copy(folder: Path) -> None:
    """The page from top to bottom in one folder, which only training less tells from a reader's."""
    shutil.copytree(ROOT / "leaderboard", folder / "leaderboard")
    shutil.copy(ROOT / "README.md", folder)
    run("gsbench leaderboard --check")
    assert save_named_files(folder) == ["tiny/recipe.toml", "tiny/layers.py", "tiny/model.py"]
    said = run_all("README.md")
    assert make_evals_command().removesuffix(" --out results") in said, "what `make eval` runs is shown, and run"
    assert "pointnet++:quick" in said["gsbench models"]
    (tiny,) = Path("results").glob("*-tiny-s0.json")
    assert load_result(tiny).metrics["accuracy"] > 0.4, "of ten classes: it learns"
    (submitted,) = (command for command in said if command.startswith("gsbench submit"))
    (entry,) = Path("leaderboard/entries").glob("mini@*/tiny-s0.json")
    rendered = ["leaderboard/TABLE.md", "leaderboard/table.csv", "README.md"]
    assert said[submitted].splitlines() == [str(entry), *rendered]
    assert "reproduced" in run(submitted), "the same again is no error"
    assert "`tiny`" in Path("README.md").read_text(), "the board on the page has the reader's row"


@pytest.mark.slow
def test_the_guides_in_their_order(folder: Path) -> None:
    shutil.copytree(ROOT / "leaderboard", folder / "leaderboard")
    save_named_files(folder)
    run("gsbench eval --model tiny/recipe.toml --data mini")
    for page in GUIDES:
        run_all(page)
        for number, code in enumerate(blocks(page, "python")):
            script = folder / f"{number}.py"
            script.write_text(
                f"if __name__ == '__main__':\n{code.replace(chr(10), chr(10) + '    ').join(['    ', ''])}\n"
            )
            run(f"python {script}")
    for name in ("figures/figure1.png", "figures/figure2.pdf", "figures/figure4.png", "chair.ply", "chair.glb"):
        assert Path(name).is_file()


def test_the_board_in_the_repository_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    run("gsbench leaderboard --check")


def test_loading_the_data(folder: Path) -> None:
    (code,) = [block for block in blocks("README.md", "python") if "load_dataset" in block]
    (folder / "load.py").write_text(code)
    assert run("python load.py").startswith("bathtub_")
