"""How a model is trained and asked: end to end by labels, or as an encoder with a probe or a classifier on top."""

import copy
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import nn

from gsbench.core.baseline import build_model
from gsbench.core.metrics import knn_accuracy, mean_and_std, retrieval_map
from gsbench.core.tasks import Task
from gsbench.core.types import Array
from gsbench.learn.calls import features_of
from gsbench.learn.checkpoints import weights_sha256
from gsbench.learn.classifier import Classifier
from gsbench.learn.data import Objects, training_ids
from gsbench.learn.evaluation.data import Data, of_all, training_task
from gsbench.learn.evaluation.embedding import Embedded, embed, embed_once
from gsbench.learn.evaluation.job import Job, are_drawn
from gsbench.learn.evaluation.kept import Training, train_once
from gsbench.learn.evaluation.pretext import Encoder
from gsbench.learn.evaluation.scores import as_predictions, predict
from gsbench.learn.probe import fit_probe
from gsbench.learn.train import Trained

SAMPLING_DRAWS = 5
"""How many ways to choose the points of the test objects are scored: one moves an accuracy by a point."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A trained model and its predictions.

    Attributes:
        net: the model.
        trained: what training by labels took.
        train_objects: labelled objects.
        ids: of the test objects.
        labels: `[n]` their class indices.
        probabilities: `[n c]` as a Result file has them.
        seconds: that predicting took.
        stated: what predictions do not give, see `Result`.
    """

    net: nn.Module
    trained: Trained
    train_objects: int
    ids: tuple[str, ...]
    labels: Int64[Array, " n"]
    probabilities: Float64[Array, "n c"]
    seconds: float
    stated: dict[str, float]


def supervised(job: Job, seed: int, data: Data) -> Scored:
    """Trained end to end by the regime's labels."""
    return _predicted(job, data, *_train(job, seed, data))


def finetune(job: Job, seed: int, data: Data, encoder: Encoder) -> Scored:
    """A classifier on a copy of an encoder, both trained by the regime's labels."""
    how = job.recipe.finetune
    assert how is not None, "a job of fine-tuning has a schedule for it"
    start = weights_sha256(encoder.net)
    by = dataclasses.replace(
        job.recipe,
        train=how,
        augment=dataclasses.replace(job.recipe.augment, halves=False),
        pretraining=(),
        supervision="labels",
        finetune=None,
        pretrained=f"sha256:{start}",  # an interrupted training goes on from the same encoder alone
    )
    task = training_task(job.task)
    training = Training(f"{task.slug()}-{encoder.about.slug()}", job.recipe, by, job.code, (task,), seed, start)

    def build(objects: Objects) -> nn.Module:
        with torch.no_grad():
            width = features_of(encoder.net.eval(), objects.batch(objects.labels.new_zeros(1))).shape[1]
        return Classifier(copy.deepcopy(encoder.net), width, job.num_classes)

    return _predicted(job, data, *_trained(job, training, data, build))


def _predicted(job: Job, data: Data, net: nn.Module, trained: Trained) -> Scored:
    test = data.test()
    start = time.perf_counter()
    probabilities = predict(net, test, job.num_classes)
    seconds = time.perf_counter() - start
    labels = test.labels.cpu().numpy()
    first = {"accuracy": _accuracy(probabilities, labels)}

    def ask(draw: int) -> dict[str, float]:
        return {"accuracy": _accuracy(predict(net, data.test(draw), job.num_classes), labels)}

    stated = _over_draws(job, first, ask)
    count = len(training_ids(job.folder, job.task.regime, job.task.draw))
    return Scored(net, trained, count, test.ids, labels, probabilities, seconds, stated)


def probe(job: Job, seed: int, data: Data, encoder: Encoder | None) -> Scored:
    """A linear probe on frozen features: of an encoder of pairs, or, without one, of a model trained by the labels."""
    if encoder is None:
        net, trained = _train(job, seed, data)
        start = time.perf_counter()
        labelled = embed(net, data.labelled(), job.watch.extracting)
    else:
        net, trained, start = encoder.net, Trained(0, 0.0, "fp32"), time.perf_counter()
        everything = _embed_once(job, encoder, "train", training_task(job.task), data.training)
        labelled = everything.of(training_ids(job.folder, job.task.regime, job.task.draw))
    fitted = fit_probe(labelled.features, labelled.labels, job.num_classes)
    trained = dataclasses.replace(trained, seconds=trained.seconds + time.perf_counter() - start)

    def ask(draw: int) -> tuple[Embedded, Float64[Array, "n c"]]:
        if encoder is None:
            seen = embed(net, data.test(draw), job.watch.extracting)
        else:
            seen = _embed_once(job, encoder, "test", job.task, lambda: data.test(draw), draw)
        return seen, as_predictions(fitted.probabilities(seen.features))

    start = time.perf_counter()
    seen, probabilities = ask(0)
    seconds = time.perf_counter() - start
    first = _scores(labelled, seen, probabilities)
    stated = {key: first[key] for key in first if key != "accuracy"}
    stated |= _over_draws(job, first, lambda draw: _scores(labelled, *ask(draw)))
    return Scored(net, trained, len(labelled.ids), seen.ids, seen.labels, probabilities, seconds, stated)


def _embed_once(
    job: Job, encoder: Encoder, split: str, task: Task, objects: Callable[[], Objects], sampling_draw: int = 0
) -> Embedded:
    """The features of all of a split's objects, whatever the regime."""
    watched = job.watch.extracting
    shown = of_all(task)
    return embed_once(job.folder, encoder.net, encoder.features, split, shown, objects, sampling_draw, watched)


def _scores(labelled: Embedded, seen: Embedded, probabilities: Float64[Array, "n c"]) -> dict[str, float]:
    """What features, and a probe's predictions from them, score; retrieval where an object has others of its class."""
    return {
        "accuracy": _accuracy(probabilities, seen.labels),
        "knn_accuracy": knn_accuracy(labelled.features, labelled.labels, seen.features, seen.labels),
        **({"retrieval_map": retrieval_map(seen.features, seen.labels)} if np.bincount(seen.labels).max() > 1 else {}),
    }


def _accuracy(probabilities: Float64[Array, "n c"], labels: Int64[Array, " n"]) -> float:
    return float((probabilities.argmax(1) == labels).mean())


def _over_draws(job: Job, first: dict[str, float], scores: Callable[[int], dict[str, float]]) -> dict[str, float]:
    """Mean and spread of scores over draws of the test points, the `first` among them; none where all go in."""
    if not are_drawn(job, job.task):
        return {}
    by_draw = [first, *map(scores, range(1, SAMPLING_DRAWS))]
    stated: dict[str, float] = {"sampling_draws": SAMPLING_DRAWS}
    for key in first:
        mean, spread = mean_and_std([values[key] for values in by_draw])
        assert spread is not None, "there are several draws"
        stated |= {f"{key}_over_draws": mean, f"{key}_over_draws_std": spread}
    return stated


def _train(job: Job, seed: int, data: Data) -> tuple[nn.Module, Trained]:
    # A probe's model is that of the supervised score: whichever is asked for first, it is trained once.
    task = dataclasses.replace(training_task(job.task), protocol="supervised", cameras="train")
    training = Training(task.slug(), job.recipe, job.recipe, job.code, (task,), seed)

    def build(objects: Objects) -> nn.Module:
        return build_model(job.recipe, job.recipe_path, objects.channels, job.num_classes)

    return _trained(job, training, data, build)


def _trained(
    job: Job, training: Training, data: Data, build: Callable[[Objects], nn.Module]
) -> tuple[nn.Module, Trained]:
    """A model trained by the regime's labels, and what that took."""

    def labelled() -> Objects:
        objects = data.labelled()
        data.test()  # what is wrong with them is said before the training
        return objects

    net, about = train_once(job, training, labelled, build)
    return net, Trained(about.epochs, about.seconds, about.precision)
