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
from gsbench.core.recipe import Recipe
from gsbench.core.results import as_predictions
from gsbench.core.tasks import Task
from gsbench.core.types import Array
from gsbench.learn.calls import Classifier, check_finite, features_of, logits_of
from gsbench.learn.data import Objects, open_objects, training_ids
from gsbench.learn.evaluation.cached import Training, train_once
from gsbench.learn.evaluation.embedding import Embedded, embed, embed_once
from gsbench.learn.evaluation.pretext import TrainedEncoder
from gsbench.learn.evaluation.request import Model, Runtime, are_drawn
from gsbench.learn.precision import exact_float32
from gsbench.learn.probe import fit_probe
from gsbench.learn.train import Trained
from gsbench.learn.weights import weights_sha256
from gsbench.store.folder import Folder

_EVAL_BATCH = 32


def training_task(task: Task) -> Task:
    """What a task's model is trained on: a probe or a fine-tuned encoder on images of meshes, whatever it then sees."""
    if task.views_from is None or task.protocol == "supervised":
        return task
    return dataclasses.replace(task, views_from="meshes", cameras="train")


def of_all(task: Task) -> Task:
    """The task of all training objects."""
    return dataclasses.replace(task, regime=100, draw=0)


class Data:
    """The objects of a task, on a device, read when they are first asked for."""

    def __init__(self, folder: Folder, task: Task, recipe: Recipe, runtime: Runtime) -> None:
        self.folder, self.task = folder, task
        self._recipe, self._runtime = recipe, runtime
        self._read: dict[tuple[Task, str], Objects] = {}

    @property
    def num_classes(self) -> int:
        """Classes of the data set."""
        return len(self.folder.manifest.classes)

    def labeled_ids(self) -> list[str]:
        """The training objects of the regime, sorted."""
        return training_ids(self.folder, self.task.regime, self.task.draw)

    def labeled(self) -> Objects:
        """The training objects of the regime."""
        return self._kept(training_task(self.task), "train")

    def training(self) -> Objects:
        """All training objects."""
        return self._kept(of_all(training_task(self.task)), "train")

    def test(self, sampling_draw: int = 0) -> Objects:
        """The test objects; those of other draws of their points are not kept, since they are asked for once."""
        return self._open(self.task, "test", sampling_draw) if sampling_draw else self._kept(self.task, "test")

    def are_drawn(self) -> bool:
        """Whether the points of test objects can be chosen in several ways."""
        return are_drawn(self.folder, self.task, self._recipe.points.min_opacity)

    def _kept(self, task: Task, split: str) -> Objects:
        if (task, split) not in self._read:
            self._read[task, split] = self._open(task, split)
        return self._read[task, split]

    def _open(self, task: Task, split: str, sampling_draw: int = 0) -> Objects:
        recipe, runtime = self._recipe, self._runtime
        how = (recipe.images, runtime.callbacks.reading, recipe.points.min_opacity, sampling_draw)
        return open_objects(self.folder, task, split, *how).to(runtime.device)


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


def supervised(model: Model, seed: int, data: Data, runtime: Runtime) -> Scored:
    """Trained end to end by the regime's labels."""
    return _predicted(data, *_train(model, seed, data, runtime))


def finetune(model: Model, seed: int, data: Data, runtime: Runtime, encoder: TrainedEncoder) -> Scored:
    """A classifier on a copy of an encoder, both trained by the regime's labels."""
    how = model.recipe.finetune
    assert how is not None, "a recipe that is fine-tuned has a schedule for it"
    start = weights_sha256(encoder.net)
    by = dataclasses.replace(
        model.recipe,
        train=how,
        augment=dataclasses.replace(model.recipe.augment, halves=False),
        pretraining=(),
        supervision="labels",
        finetune=None,
        pretrained=f"sha256:{start}",  # an interrupted training goes on from the same encoder alone
    )
    task = training_task(data.task)
    name = f"{task.slug()}-{encoder.about.slug()}"
    training = Training(name, model.recipe, by, model.code, (task,), seed, start)

    def build(objects: Objects) -> nn.Module:
        with torch.no_grad():
            width = features_of(encoder.net.eval(), objects.batch(objects.labels.new_zeros(1))).shape[1]
        return Classifier(copy.deepcopy(encoder.net), width, data.num_classes)

    return _predicted(data, *_trained(model, training, data, runtime, build))


def _predicted(data: Data, net: nn.Module, trained: Trained) -> Scored:
    test = data.test()
    start = time.perf_counter()
    probabilities = predict(net, test, data.num_classes)
    seconds = time.perf_counter() - start
    labels = test.labels.cpu().numpy()
    first = {"accuracy": _accuracy(probabilities, labels)}

    def ask(draw: int) -> dict[str, float]:
        return {"accuracy": _accuracy(predict(net, data.test(draw), data.num_classes), labels)}

    stated = _over_draws(data, first, ask)
    count = len(data.labeled_ids())
    return Scored(net, trained, count, test.ids, labels, probabilities, seconds, stated)


def probe(model: Model, seed: int, data: Data, runtime: Runtime, encoder: TrainedEncoder | None) -> Scored:
    """A linear probe on frozen features: of an encoder of pairs, or, without one, of a model trained by the labels."""
    if encoder is None:
        net, trained = _train(model, seed, data, runtime)
        start = time.perf_counter()
        labeled = embed(net, data.labeled(), runtime.callbacks.extracting)
    else:
        net, trained, start = encoder.net, Trained(0, 0.0, "fp32"), time.perf_counter()
        everything = _embed_once(data, runtime, encoder, "train", training_task(data.task), data.training)
        labeled = everything.of(data.labeled_ids())
    fitted = fit_probe(labeled.features, labeled.labels, data.num_classes)
    trained = dataclasses.replace(trained, seconds=trained.seconds + time.perf_counter() - start)

    def ask(draw: int) -> tuple[Embedded, Float64[Array, "n c"]]:
        if encoder is None:
            seen = embed(net, data.test(draw), runtime.callbacks.extracting)
        else:
            seen = _embed_once(data, runtime, encoder, "test", data.task, lambda: data.test(draw), draw)
        return seen, as_predictions(fitted.probabilities(seen.features))

    start = time.perf_counter()
    seen, probabilities = ask(0)
    seconds = time.perf_counter() - start
    first = scores_of(labeled, seen, probabilities)
    stated = {key: first[key] for key in first if key != "accuracy"}
    stated |= _over_draws(data, first, lambda draw: scores_of(labeled, *ask(draw)))
    return Scored(net, trained, len(labeled.ids), seen.ids, seen.labels, probabilities, seconds, stated)


def _embed_once(
    data: Data,
    runtime: Runtime,
    encoder: TrainedEncoder,
    split: str,
    task: Task,
    objects: Callable[[], Objects],
    sampling_draw: int = 0,
) -> Embedded:
    """The features of all of a split's objects, whatever the regime."""
    progress = runtime.callbacks.extracting
    shown = of_all(task)
    return embed_once(data.folder, encoder.net, encoder.features, split, shown, objects, sampling_draw, progress)


def scores_of(labeled: Embedded, seen: Embedded, probabilities: Float64[Array, "n c"]) -> dict[str, float]:
    """What features, and a probe's predictions from them, score; retrieval where an object has others of its class."""
    return {
        "accuracy": _accuracy(probabilities, seen.labels),
        "knn_accuracy": knn_accuracy(labeled.features, labeled.labels, seen.features, seen.labels),
        **({"retrieval_map": retrieval_map(seen.features, seen.labels)} if np.bincount(seen.labels).max() > 1 else {}),
    }


def _accuracy(probabilities: Float64[Array, "n c"], labels: Int64[Array, " n"]) -> float:
    return float((probabilities.argmax(1) == labels).mean())


def _over_draws(data: Data, first: dict[str, float], scores: Callable[[int], dict[str, float]]) -> dict[str, float]:
    """Mean and spread of scores over draws of the test points, the `first` among them; none where all go in."""
    if not data.are_drawn():
        return {}
    by_draw = [first, *map(scores, range(1, SAMPLING_DRAWS))]
    stated: dict[str, float] = {"sampling_draws": SAMPLING_DRAWS}
    for key in first:
        mean, spread = mean_and_std([values[key] for values in by_draw])
        assert spread is not None, "there are several draws"
        stated |= {f"{key}_over_draws": mean, f"{key}_over_draws_std": spread}
    return stated


def _train(model: Model, seed: int, data: Data, runtime: Runtime) -> tuple[nn.Module, Trained]:
    # A probe's model is that of the supervised score: whichever is asked for first, it is trained once.
    task = dataclasses.replace(training_task(data.task), protocol="supervised", cameras="train")
    training = Training(task.slug(), model.recipe, model.recipe, model.code, (task,), seed)

    def build(objects: Objects) -> nn.Module:
        return build_model(model.recipe, model.path, objects.channels, data.num_classes)

    return _trained(model, training, data, runtime, build)


def _trained(
    model: Model, training: Training, data: Data, runtime: Runtime, build: Callable[[Objects], nn.Module]
) -> tuple[nn.Module, Trained]:
    """A model trained by the regime's labels, and what that took."""

    def labeled() -> Objects:
        objects = data.labeled()
        data.test()  # what is wrong with them is said before the training
        return objects

    net, about = train_once(model.name, training, runtime, labeled, build, data.num_classes)
    return net, Trained(about.epochs, about.seconds, about.precision)
