"""Encoders of pairs on a tiny data folder."""

from pathlib import Path

import numpy as np
import pytest

from gsbench.learn.checkpoints import from_pretrained
from gsbench.learn.evaluation import Callbacks, evaluate
from tests.tiny_training import OBJECTS, make_folder, make_pairs_recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data") / "tiny", ("gaussians", "points", "views", "reconstructions"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return str(make_pairs_recipe(tmp_path_factory.mktemp("theirs")))


class Killed(Exception):
    """Stands for a kill in the middle of a training."""


def kill_at(step: int) -> Callbacks:
    """Kills the training at a step."""

    def progress(done: int, total: int, loss: float) -> None:
        if done == step:
            raise Killed

    return Callbacks(progress=progress)


@pytest.fixture
def run(data, recipe, tmp_path):
    """Evaluates with checkpoints; returns the Result and the steps of every training."""

    def evaluate_here(**changes):
        steps: list[int] = []
        arguments = {"num_points": 16, "checkpoints": tmp_path / "kept"} | changes
        watch = Callbacks(progress=lambda done, total, loss: steps.append(done))
        (result,) = evaluate(recipe, data, callbacks=watch, **arguments)
        return result, steps

    return evaluate_here


def kept(tmp_path: Path, of: str = "") -> Path:
    """The folder of the one checkpoint that is kept, or of the one whose name holds a word."""
    (folder,) = (path.parent for path in (tmp_path / "kept").glob(f"*{of}*/model.safetensors"))
    return folder


def trained(folder: Path, recipe: str):
    return from_pretrained(folder, recipe)[0]


def labels_of(split: str, ids) -> np.ndarray:
    return np.array([("ball", "rod").index(OBJECTS[split][object_id]) for object_id in ids])
