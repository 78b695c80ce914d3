"""Trains a baseline on a task and scores it on the test split: what is behind `gsbench eval`."""

from gsbench.learn.evaluation.job import DEFAULT_POINTS, DEFAULT_VIEWS, Watch, choose_modality, make_task
from gsbench.learn.evaluation.main import evaluate
from gsbench.learn.evaluation.scores import find_reported, predict

__all__ = [
    "DEFAULT_POINTS",
    "DEFAULT_VIEWS",
    "Watch",
    "choose_modality",
    "evaluate",
    "find_reported",
    "make_task",
    "predict",
]
