"""A board of sixty objects, and results for it."""

import csv
import io
import json

import numpy as np

from gsbench.board import Truth, publish
from gsbench.core.metrics import classification_metrics
from gsbench.core.provenance import ModelInfo, RunInfo
from gsbench.core.recipe import Reported
from gsbench.core.results import SCHEMA_VERSION, Result
from gsbench.core.tasks import Task

CLASSES = ("bathtub", "bed", "chair")
OBJECTS = 60
LABELS = {f"{CLASSES[i % 3]}_{i:04d}": CLASSES[i % 3] for i in range(OBJECTS)}
FINGERPRINT = "ab" * 32
TRUTH = Truth("mini", "1.0", FINGERPRINT, "test", "Procedural shapes.", CLASSES, LABELS)
README = "# Project\n\n<!-- leaderboard:start -->\n<!-- leaderboard:end -->\n\nBelow.\n"
TASK = Task("mini", "1.0", FINGERPRINT, "test", "gaussians", "supervised", 100, 0, "xyz", "fps", 1024, None, None)


def make_result(
    name: str = "net", seed: int = 0, wrong: int = 6, task: Task = TASK, reported: Reported | None = None
) -> Result:
    """A result that gets the first `wrong` objects, from the object number `seed` on, wrong."""
    labels = np.array([CLASSES.index(label) for label in LABELS.values()])
    missed = (np.arange(OBJECTS) - seed) % OBJECTS < wrong
    probabilities = np.full((OBJECTS, 3), 0.2)
    probabilities[np.arange(OBJECTS), np.where(missed, (labels + 1) % 3, labels)] = 0.6
    return Result(
        schema_version=SCHEMA_VERSION,
        task=task,
        model=ModelInfo(name, name.title(), "cd" * 32, 1000),
        run=RunInfo(seed, "cpu", "last", 10, 240, 1.0, 1.0, 100.0, "fp32", {}, None, None),
        metrics=classification_metrics(probabilities, labels),
        reported=reported,
        predictions=dict(zip(LABELS, probabilities.tolist(), strict=True)),
    )


def rows(board) -> list[dict[str, str]]:
    publish(board, board.parent / "README.md")
    return list(csv.DictReader(io.StringIO((board / "table.csv").read_text())))


def files(board) -> dict[str, bytes]:
    return {str(path.relative_to(board)): path.read_bytes() for path in board.rglob("*.*") if path.is_file()}


def edit_json(path, change) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
