"""How long a user waits for `gsbench --help`, and for a check of a board of 1,000 entries of 908 objects."""

import subprocess
import sys

import numpy as np
import pytest

from gsbench.board import Truth, check, publish
from gsbench.board.entries import entry_path
from gsbench.board.truth import truth_json, truth_path
from gsbench.core.files import write_atomic
from gsbench.core.metrics import classification_metrics
from gsbench.core.provenance import ModelInfo, RunInfo
from gsbench.core.results import Result, save_result
from gsbench.core.tasks import Task

pytestmark = pytest.mark.slow

CLASSES = tuple("abcdefghij")
SEEDS = 5


def make_result() -> tuple[Result, Truth]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 908)
    logits = 2 * rng.normal(size=(908, 10))
    logits[np.arange(908), labels] += 6
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities = probabilities.round(6)
    ids = [f"{CLASSES[label]}_{i:04d}" for i, label in enumerate(labels)]
    task = Task("made-up", "1.0", "ab" * 32, "test", "points", "supervised", 100, 0, "xyz", "fps", 1024, None, None)
    result = Result(
        schema_version=1,
        task=task,
        model=ModelInfo("MODEL", "Model", "cd" * 32, 1000),
        run=RunInfo(0, "cpu", "last", 10, 3991, 1.0, 1.0, 100.0, "fp32", {}, None, None),
        metrics=classification_metrics(probabilities, labels),
        reported=None,
        predictions=dict(zip(ids, probabilities.tolist(), strict=True)),
    )
    names = {i: CLASSES[label] for i, label in zip(ids, labels, strict=True)}
    leaked = {"files": tuple(ids[:4]), "surfaces": tuple(ids[:65]), "near": tuple(ids[:81])}
    return result, Truth("made-up", "1.0", "ab" * 32, "test", "Made up.", CLASSES, names, leaked)


@pytest.fixture
def board(benchmark, tmp_path):
    """A published board: 1,000 entries when time is taken, a few when the code is only run."""
    result, truth = make_result()
    path = entry_path(tmp_path, result)
    save_result(result, path)
    write_atomic(truth_path(tmp_path, result.task), truth_json(truth))
    text = path.read_text()
    path.unlink()
    for number in range(10 if benchmark.disabled else 1000):
        model, seed = divmod(number, SEEDS)
        entry = text.replace("MODEL", f"m{model}").replace('"seed": 0', f'"seed": {seed}')
        (path.parent / f"m{model}-s{seed}.json").write_text(entry)
    publish(tmp_path, tmp_path / "README.md")
    return tmp_path


def test_check_of_a_large_board(benchmark, board):
    benchmark.pedantic(check, (board, board / "README.md"), rounds=3)
    (board / "table.csv").write_text("")
    with pytest.raises(ValueError, match=r"table\.csv"):
        check(board, board / "README.md")


def test_help(benchmark):
    done = benchmark(
        subprocess.run, [sys.executable, "-m", "gsbench", "--help"], capture_output=True, text=True, check=True
    )
    assert "usage: gsbench" in done.stdout
