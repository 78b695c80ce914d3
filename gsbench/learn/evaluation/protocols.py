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
from gsbench.core.recipe import Recipe, Reported
from gsbench.core.results import Pretext, as_predictions
from gsbench.core.tasks import Task
from gsbench.core.types import Array
from gsbench.learn.calls import Classifier, check_finite, features_of, logits_of
from gsbench.learn.data import Objects, training_ids
from gsbench.learn.evaluation.cached import Training, train_once
from gsbench.learn.evaluation.data import Data, of_all, training_task
from gsbench.learn.evaluation.embedding import Embedded, embed, embed_once
from gsbench.learn.evaluation.job import Job, are_drawn
from gsbench.learn.evaluation.pretext import TrainedEncoder
from gsbench.learn.precision import exact_float32
from gsbench.learn.probe import fit_probe
from gsbench.learn.train import Trained
from gsbench.learn.weights import weights_sha256

_EVAL_BATCH = 32


@exact_float32()
@torch.no_grad()
def predict(model: nn.Module, objects: Objects, num_classes: int | None = None) -> Float64[Array, "n c"]:
    """Class probabilities of all objects, in float32 arithmetic, rounded as a Result file rounds them.

    Args:
        model: a Baseline, on the objects' device.
        objects: of one modality.
        num_classes: that there must be; None takes as many as the model has.

    Raises:
        InputError: the model raises, or its logits are no floats of that shape, or not finite.
    """
    model.eval()
    parts: list[torch.Tensor] = []
    for part in torch.arange(len(objects), device=objects.labels.device).split(_EVAL_BATCH):
        width = parts[0].shape[1] if parts else num_classes
        parts.append(logits_of(model, objects.batch(part), width))
    logits = torch.cat(parts).double().cpu()
    check_finite(model, "logits", logits.numpy(), objects.ids)
    return as_predictions(torch.softmax(logits, 1).numpy())


def find_reported(recipe: Recipe, task: Task, of_data: str | None, pretext: Pretext | None = None) -> Reported | None:
    """The published figure of the recipe that a task's score stands beside.

    `of_data` is the data set whose figures these may be, as `gsbench.store.origin.published_name` tells it. A figure
    of images that names features means those of the Gaussians that the encoder learned from. None is published on novel
    cameras.
    """
    features = task.features or (pretext and pretext.features)
    for figure in recipe.reported:
        shape = (figure.modality, figure.regime, figure.protocol, "train")
        same_features = features in (None, figure.features)
        published = (figure.sampling, figure.num_views, figure.views_from)
        ours = (task.sampling, task.num_views, task.views_from)
        same_inputs = all(theirs in (None, own) for theirs, own in zip(published, ours, strict=True))
        scored = (task.modality, task.regime, task.protocol, task.cameras)
        if figure.dataset == of_data and same_features and same_inputs and shape == scored:
            return figure
    return None


SAMPLING_DRAWS = 5
"""How many ways to choose the points of the test objects are scored: one moves an accuracy by a point."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A trained model and its predictions.

    Attributes:
        net: the model.
        trained: what training by labels took.
        train_objects: labeled objects.
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


def finetune(job: Job, seed: int, data: Data, encoder: TrainedEncoder) -> Scored:
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


def probe(job: Job, seed: int, data: Data, encoder: TrainedEncoder | None) -> Scored:
    """A linear probe on frozen features: of an encoder of pairs, or, without one, of a model trained by the labels."""
    if encoder is None:
        net, trained = _train(job, seed, data)
        start = time.perf_counter()
        labeled = embed(net, data.labeled(), job.callbacks.extracting)
    else:
        net, trained, start = encoder.net, Trained(0, 0.0, "fp32"), time.perf_counter()
        everything = _embed_once(job, encoder, "train", training_task(job.task), data.training)
        labeled = everything.of(training_ids(job.folder, job.task.regime, job.task.draw))
    fitted = fit_probe(labeled.features, labeled.labels, job.num_classes)
    trained = dataclasses.replace(trained, seconds=trained.seconds + time.perf_counter() - start)

    def ask(draw: int) -> tuple[Embedded, Float64[Array, "n c"]]:
        if encoder is None:
            seen = embed(net, data.test(draw), job.callbacks.extracting)
        else:
            seen = _embed_once(job, encoder, "test", job.task, lambda: data.test(draw), draw)
        return seen, as_predictions(fitted.probabilities(seen.features))

    start = time.perf_counter()
    seen, probabilities = ask(0)
    seconds = time.perf_counter() - start
    first = _scores(labeled, seen, probabilities)
    stated = {key: first[key] for key in first if key != "accuracy"}
    stated |= _over_draws(job, first, lambda draw: _scores(labeled, *ask(draw)))
    return Scored(net, trained, len(labeled.ids), seen.ids, seen.labels, probabilities, seconds, stated)


def _embed_once(
    job: Job, encoder: TrainedEncoder, split: str, task: Task, objects: Callable[[], Objects], sampling_draw: int = 0
) -> Embedded:
    """The features of all of a split's objects, whatever the regime."""
    for_cell = job.callbacks.extracting
    shown = of_all(task)
    return embed_once(job.folder, encoder.net, encoder.features, split, shown, objects, sampling_draw, for_cell)


def _scores(labeled: Embedded, seen: Embedded, probabilities: Float64[Array, "n c"]) -> dict[str, float]:
    """What features, and a probe's predictions from them, score; retrieval where an object has others of its class."""
    return {
        "accuracy": _accuracy(probabilities, seen.labels),
        "knn_accuracy": knn_accuracy(labeled.features, labeled.labels, seen.features, seen.labels),
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

    def labeled() -> Objects:
        objects = data.labeled()
        data.test()  # what is wrong with them is said before the training
        return objects

    net, about = train_once(job, training, labeled, build)
    return net, Trained(about.epochs, about.seconds, about.precision)
