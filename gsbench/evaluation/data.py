"""A job's objects, read when they are first asked for, and what an encoder makes of them."""

import dataclasses

import numpy as np
from jaxtyping import Float32, Int64
from torch import nn

from gsbench.data import Objects, open_objects
from gsbench.evaluation.job import Job
from gsbench.features import extract
from gsbench.tasks import Task
from gsbench.types import Array


def training_task(task: Task) -> Task:
    """What a task's model is trained on: a probe or a fine-tuned encoder on images of meshes, whatever it then sees."""
    if task.views_from is None or task.protocol == "supervised":
        return task
    return dataclasses.replace(task, views_from="meshes", cameras="train")


class Data:
    """A job's objects, on its device."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._read: dict[tuple[Task, str], Objects] = {}

    def labelled(self) -> Objects:
        """The training objects of the regime."""
        return self._open(training_task(self._job.task), "train")

    def training(self) -> Objects:
        """All training objects."""
        return self._open(dataclasses.replace(training_task(self._job.task), regime=100, draw=0), "train")

    def test(self) -> Objects:
        """The test objects."""
        return self._open(self._job.task, "test")

    def _open(self, task: Task, split: str) -> Objects:
        if (task, split) not in self._read:
            recipe = self._job.recipe
            objects = open_objects(
                self._job.folder, task, split, recipe.images, self._job.watch.reading, recipe.points.min_opacity
            )
            self._read[task, split] = objects.to(self._job.device)
        return self._read[task, split]


@dataclasses.dataclass(frozen=True, slots=True)
class Embedded:
    """Features of objects.

    Attributes:
        ids: of the objects.
        labels: `[n]` class indices.
        features: a row an object.
    """

    ids: tuple[str, ...]
    labels: Int64[Array, " n"]
    features: Float32[Array, "n d"]

    def of(self, ids: tuple[str, ...]) -> "Embedded":
        """Those of some of the objects."""
        row = {object_id: i for i, object_id in enumerate(self.ids)}
        index = np.array([row[object_id] for object_id in ids], np.int64)
        return Embedded(ids, self.labels[index], self.features[index])


def embed(job: Job, net: nn.Module, objects: Objects) -> Embedded:
    """The features of objects."""
    return Embedded(objects.ids, objects.labels.cpu().numpy(), extract(net, objects, job.watch.extracting))
