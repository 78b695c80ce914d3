"""Every command and every line of Python in the README is run here, in its order, as a new user would type it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gsbench.core.results import load_result

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
NAMED_FILE = re.compile(r"[Ss]ave this as `([^`]+)`|and this as `([^`]+)`")


def blocks(language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall((ROOT / "README.md").read_text()) if kind == language]


def commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines() if line.strip()]


def run(command: str, folder: Path) -> str:
    """Runs one line in a shell where `gsbench` and `python` are this environment's, without a network."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def save_named_files(folder: Path) -> list[str]:
    """Writes each file that the README asks the reader to save; returns their names."""
    text = (ROOT / "README.md").read_text()
    names = []
    for match in NAMED_FILE.finditer(text):
        name = match[1] or match[2]
        body = BLOCK.search(text, match.end())
        assert body is not None, f"no code follows '{match[0]}'"
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(body[2])
        names.append(name)
    return names


def test_the_readme_names_the_commands_that_run_below() -> None:
    known = {
        "make eval",
        "make test",
        "make lint",
        "make bench",
        "gsbench models",
        "gsbench eval --model pointnet++:quick --data mini --seeds 0 --out results",
        "gsbench submit results/*-tiny-s0.json",
        "gsbench leaderboard --check",
        "gsbench eval --model tiny/recipe.toml --data mini --out results",
        "gsbench eval --model ssl-pointnet:smoke --data mini --checkpoints checkpoints",
        "gsbench eval --model ssl-pointnet:smoke --data mini --checkpoints checkpoints --modality images --num-views 4",
        "gsbench reproduce table4 --cells 1 --data mini --variant smoke",
        "gsbench figures figure1 figure2.pdf figure4 --data mini --object chair_0026",
        "gsbench reproduce figure7 --data mini --variant smoke",
        "python -m gsbench.meshes.shapes shapes --train 1 --test 1",
        "gsbench build --meshes shapes --out shapes-gs --preset mini",
        "gsbench audit shapes --out shapes-audit.json",
        "gsbench verify shapes-gs --meshes shapes",
        "gsbench convert mini:chair_0025 chair.ply",
        "gsbench convert chair.ply chair.glb",
    }
    assert set(commands()) == known


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("make ")])
def test_make_targets_exist(command: str) -> None:
    """`make` would call this suite again, so its targets are only resolved; what they run is tested on its own."""
    assert shutil.which("make"), "make is what the README asks for"
    assert run(f"{command} --dry-run", ROOT)


def test_make_eval_is_the_evaluation_shown() -> None:
    evaluation = next(line for line in commands() if "pointnet++:quick" in line)
    assert evaluation.split(" --seeds")[0] in run("make eval --dry-run", ROOT)


def make_evals_command() -> str:
    """What `make eval` runs once its environment is there, with this one's programs."""
    lines = run("make eval --dry-run", ROOT).splitlines()
    (command,) = [line for line in lines if "gsbench eval" in line]
    return command.removeprefix(".venv/bin/")


def test_all_commands_in_their_order_on_a_fresh_copy(tmp_path: Path) -> None:
    """`make eval`, then the page from top to bottom in one folder, which only training less tells from a reader's."""
    shutil.copytree(ROOT / "leaderboard", tmp_path / "leaderboard")
    shutil.copy(ROOT / "README.md", tmp_path)
    run("gsbench leaderboard --check", tmp_path)
    save_named_files(tmp_path)
    said = {}
    for command in [make_evals_command(), *(line for line in commands() if not line.startswith("make "))]:
        said[command] = run(command.replace("pointnet++:quick", "pointnet++:smoke"), tmp_path)
        if command.startswith("gsbench submit"):
            (entry,) = (tmp_path / "leaderboard" / "entries").glob("mini@*/tiny-s0.json")
            rendered = ["leaderboard/TABLE.md", "leaderboard/table.csv", "README.md"]
            assert said[command].splitlines() == [str(entry.relative_to(tmp_path)), *rendered]
            assert "reproduced" in run(command, tmp_path), "the same again is no error"
    words = {
        "gsbench eval --model pointnet++": "pointnet++:smoke",
        "gsbench eval --model tiny": "tiny",
        "gsbench models": "pointnet++",
        "gsbench leaderboard --check": "",
    }
    for start, word in words.items():
        assert all(word in text for command, text in said.items() if command.startswith(start))
    first, second = (text for command, text in said.items() if "--model ssl-pointnet:smoke" in command)
    assert "probe" in first
    assert "4 images" in second, "of the encoder that the first command trained"
    assert {path.name for path in (tmp_path / "figures").iterdir()} >= {"figure1.png", "figure2.pdf", "figure4.png"}
    assert {"chair.ply", "chair.glb"} <= {path.name for path in tmp_path.iterdir()}
    assert "`tiny`" in (tmp_path / "README.md").read_text(), "the board on the page has the reader's row"


def test_the_board_in_the_repository_holds() -> None:
    run("gsbench leaderboard --check", ROOT)


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    assert save_named_files(tmp_path) == ["tiny/recipe.toml", "tiny/layers.py", "tiny/model.py"]
    assert "tiny" in run(next(line for line in commands() if "tiny/recipe.toml" in line), tmp_path)
    (result,) = (tmp_path / "results").glob("*-tiny-s0.json")
    assert load_result(result).metrics["accuracy"] > 0.4, "of ten classes: it learns"


def test_loading_the_data(tmp_path: Path) -> None:
    (code,) = [block for block in blocks("python") if "load_dataset" in block]
    (tmp_path / "load.py").write_text(code)
    run("python load.py", tmp_path)
