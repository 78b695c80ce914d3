"""A job's objects, read when they are first asked for."""

import dataclasses

from gsbench.core.tasks import Task
from gsbench.learn.data import Objects, open_objects
from gsbench.learn.evaluation.job import Job


def training_task(task: Task) -> Task:
    """What a task's model is trained on: a probe or a fine-tuned encoder on images of meshes, whatever it then sees."""
    if task.views_from is None or task.protocol == "supervised":
        return task
    return dataclasses.replace(task, views_from="meshes", cameras="train")


def of_all(task: Task) -> Task:
    """The task of all training objects."""
    return dataclasses.replace(task, regime=100, draw=0)


class Data:
    """A job's objects, on its device."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._read: dict[tuple[Task, str], Objects] = {}

    def labeled(self) -> Objects:
        """The training objects of the regime."""
        return self._kept(training_task(self._job.task), "train")

    def training(self) -> Objects:
        """All training objects."""
        return self._kept(of_all(training_task(self._job.task)), "train")

    def test(self, sampling_draw: int = 0) -> Objects:
        """The test objects; those of other draws of their points are not kept, since they are asked for once."""
        task = self._job.task
        return self._open(task, "test", sampling_draw) if sampling_draw else self._kept(task, "test")

    def _kept(self, task: Task, split: str) -> Objects:
        if (task, split) not in self._read:
            self._read[task, split] = self._open(task, split)
        return self._read[task, split]

    def _open(self, task: Task, split: str, sampling_draw: int = 0) -> Objects:
        job, recipe = self._job, self._job.recipe
        how = (recipe.images, job.callbacks.reading, recipe.points.min_opacity, sampling_draw)
        return open_objects(job.folder, task, split, *how).to(job.device)
