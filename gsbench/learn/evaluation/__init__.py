"""Trains a baseline on a task and scores it on the test split: what is behind `gsbench eval`."""

from gsbench.learn.evaluation.main import evaluate
from gsbench.learn.evaluation.request import (
    DEFAULT_POINTS,
    DEFAULT_VIEWS,
    Callbacks,
    choose_modality,
    find_reported,
    make_task,
)
from gsbench.learn.evaluation.scoring import predict

__all__ = [
    "DEFAULT_POINTS",
    "DEFAULT_VIEWS",
    "Callbacks",
    "choose_modality",
    "evaluate",
    "find_reported",
    "make_task",
    "predict",
]
