"""Encoders that learn from pairs: trained once for everything that tells such trainings apart, then kept and reused."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float32
from torch import nn

from gsbench.core.baseline import build_model
from gsbench.core.environment import free_memory
from gsbench.core.files import read_json, write_atomic
from gsbench.core.parsing import InputError, parse
from gsbench.core.recipe import Recipe
from gsbench.core.results import Pretext
from gsbench.core.tasks import Modality, Task
from gsbench.core.types import Array
from gsbench.learn.checkpoints import Checkpoint
from gsbench.learn.data import Objects, check_views, open_objects, open_pairs, training_ids, views_of
from gsbench.learn.evaluation.cached import Training, train_once, without_labels
from gsbench.learn.evaluation.embedding import embed_once
from gsbench.learn.evaluation.machine import PeakMemory
from gsbench.learn.evaluation.pretext_metrics import SCORE_KEYS, pretext_scores
from gsbench.learn.evaluation.request import Model, PairTasks, Request, Runtime, are_drawn, make_task
from gsbench.learn.weights import weights_sha256
from gsbench.store.folder import Folder

SCORES = "pretext.json"
"""File of the pretext scores in a checkpoint."""

PAIR_VIEWS = 16
"""Of how many views of a test object pairs are drawn, whatever an encoder learned from; of all, if there are fewer."""

_DEFINITION = 2
"""Of the pretext scores, one more whenever they change: kept ones of another are made anew."""

_OF_MEMORY = 0.7
"""Share of the free memory that training images may fill."""


@dataclass(frozen=True, slots=True)
class TrainedEncoder:
    """A trained model of pairs.

    Attributes:
        net: the model.
        about: what it learned from.
        folder: its checkpoint, or None where none is kept.
        peak_memory_mb: of its training and its scores, or of finding them; None where that is unknown.
    """

    net: nn.Module
    about: Pretext
    folder: Path | None
    peak_memory_mb: float | None

    @property
    def features(self) -> Path | None:
        """The folder of what it made of objects, beside the checkpoint; None where nothing is kept."""
        return self.folder and features_folder(self.folder)


@dataclass(frozen=True, slots=True)
class _Scores:
    """The file of pretext scores, the hash of the weights that they are of, and by which definition."""

    weights_sha256: str
    metrics: dict[str, float]
    definition: int = 1


def features_folder(checkpoint: Path) -> Path:
    """Where the features of objects by a checkpoint's encoder are kept."""
    return checkpoint.with_name(f"{checkpoint.name}.features")


def plan(
    folder: Folder,
    recipe: Recipe,
    inputs: Sequence[str],
    wanted: Request,
    begun: Callable[[PairTasks], bool],
) -> PairTasks:
    """What an encoder is to be trained on.

    Args:
        folder: the data set.
        recipe: of supervision `pairs`.
        inputs: modalities that its model takes.
        wanted: which Gaussians, and how many images an object: None for all of them.
        begun: whether training on such pairs has begun, or is done, whatever memory there is now.

    Raises:
        InputError: the data set lacks one of the two modalities, or has fewer images; or all of them are wanted, and
            take more memory than is free. How many a model learns from must not depend on the machine unasked.
    """
    has = folder.manifest.counts
    modality: Modality = "gaussians" if "gaussians" in inputs and "gaussians" in has else "points"
    for config in (modality, "views"):
        if config not in has:
            raise InputError(
                f"{folder.path}: has {', '.join(has)} ({recipe.name} learns from pairs: must have {config})"
            )
    shape = dataclasses.replace(wanted, regime=100, draw=0).shape
    points = make_task(folder, modality, *shape, wanted.num_points, "meshes", protocol="probe")

    def pairs(views: int) -> PairTasks:
        return PairTasks(points, make_task(folder, "images", *shape, views, "meshes", protocol="probe"))

    if wanted.pretext_views is not None:
        chosen = pairs(wanted.pretext_views)
        check_views(folder, chosen.images, "train")
        return chosen
    rows = views_of(folder, "meshes", "train")
    views = min(map(len, rows.values()))
    image_bytes, free = len(rows) * recipe.images.size**2 * 3, free_memory()
    fitting = views if free is None else int(_OF_MEMORY * free / image_bytes)
    if free is not None and fitting < views and not begun(pairs(views)):
        fewer = f"--pretext-views {fitting} or less, which is another training" if fitting > 1 else "none fits"
        raise InputError(
            f"{recipe.name}: {views} images of {recipe.images.size} px of each of {len(rows)} objects take "
            f"{views * image_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free "
            f"(allowed: {fewer}; a smaller images.size; or more memory)"
        )
    return pairs(views)


def pretrain(
    model: Model, folder: Folder, pairs: PairTasks, seeds: Sequence[int], runtime: Runtime
) -> list[TrainedEncoder]:
    """An encoder a seed, each trained on all training objects and kept, or taken from where it was kept.

    Raises:
        InputError: as `train`; or a checkpoint that is damaged, or of another training.
    """
    recipe, encoders = model.recipe, []
    data = _PairData(folder, pairs, recipe, runtime)
    objects = functools.cache(lambda: data.open("train", pairs.images).to(runtime.device))
    test = functools.cache(lambda: data.open("test", _pair_images(folder, pairs.images)))

    def build(given: Objects) -> nn.Module:
        return build_model(recipe, model.path, given.channels, len(folder.manifest.classes))

    for seed in seeds:
        peak = PeakMemory(runtime.device)
        training = pretext_training(recipe, model.code, seed, pairs)
        net, about = train_once(model.name, training, runtime, objects, build, len(folder.manifest.classes))
        kept = training.folder(runtime.checkpoints)
        described = _describe(folder, about, _scores(data, net, test, kept))
        encoders.append(TrainedEncoder(net, described, kept, peak.megabytes()))
    return encoders


def pretext_training(recipe: Recipe, code: str, seed: int, pairs: PairTasks) -> Training:
    """The training of an encoder of pairs, by a recipe and code of that hash."""
    recipe = without_labels(recipe)
    return Training(pairs.slug(), recipe, recipe, code, (pairs.points, pairs.images), seed)


@dataclass(frozen=True, slots=True)
class _PairData:
    """The objects that an encoder is trained and scored on."""

    folder: Folder
    pairs: PairTasks
    recipe: Recipe
    runtime: Runtime

    def open(self, split: str, images: Task) -> Objects:
        """Points and images of the same objects."""
        reading, opaque = self.runtime.callbacks.reading, self.recipe.points.min_opacity
        return open_pairs(self.folder, self.pairs.points, images, split, self.recipe.images, reading, opaque)

    def point_features(self, net: nn.Module, kept: Path | None, sampling_draw: int) -> Float32[Array, "n d"]:
        """The features of the test objects' points, which a probe asks for as well."""
        task, opaque = self.pairs.points, self.recipe.points.min_opacity

        def objects() -> Objects:
            drawn = open_objects(self.folder, task, "test", min_opacity=opaque, sampling_draw=sampling_draw)
            return drawn.to(self.runtime.device)

        place, progress = kept and features_folder(kept), self.runtime.callbacks.extracting
        return embed_once(self.folder, net, place, "test", task, objects, sampling_draw, progress).features


def _pair_images(folder: Folder, images: Task) -> Task:
    """The images of test objects that pairs are drawn from."""
    fewest = min(map(len, views_of(folder, "meshes", "test").values()), default=0)
    return dataclasses.replace(images, num_views=max(2, min(PAIR_VIEWS, fewest)))


def _scores(data: _PairData, net: nn.Module, test: Callable[[], Objects], folder: Path | None) -> dict[str, float]:
    """The pretext scores, kept in the checkpoint."""
    path = folder and folder / SCORES
    weights = weights_sha256(net)
    if path is not None and path.exists():
        found = _load_scores(path)
        if (found.weights_sha256, found.definition) == (weights, _DEFINITION):
            if found.metrics.keys() != set(SCORE_KEYS) or not all(map(math.isfinite, found.metrics.values())):
                raise InputError(f"{path}: no scores (must be {', '.join(SCORE_KEYS)}), remove it to make them anew")
            return found.metrics
    drawn = are_drawn(data.folder, data.pairs.points, data.recipe.points.min_opacity)
    points = functools.cache(functools.partial(data.point_features, net, folder))
    device, progress = data.runtime.device, data.runtime.callbacks.extracting
    metrics = pretext_scores(net, test(), lambda draw: points(draw if drawn else 0), device, progress)
    if path is not None:
        record = dataclasses.asdict(_Scores(weights, metrics, _DEFINITION))
        write_atomic(path, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())
    return metrics


def _load_scores(path: Path) -> _Scores:
    try:
        return parse(read_json(path), _Scores, str(path))
    except InputError as error:
        raise InputError(f"{error}: no scores, remove it to make them anew") from None


def _describe(folder: Folder, about: Checkpoint, metrics: dict[str, float]) -> Pretext:
    points, images = about.tasks
    assert points.features is not None, "a task on points has features"
    assert points.features != "unknown", "points that are trained on are known"
    assert points.sampling is not None, "a task on points has a sampling"
    assert points.sampling != "unknown", "points that are trained on are known"
    assert points.num_points is not None, "a task on points has a number of points"
    assert images.num_views is not None, "a task on images has a number of views"
    return Pretext(
        features=points.features,
        sampling=points.sampling,
        num_points=points.num_points,
        num_views=images.num_views,
        objects=len(training_ids(folder, 100, 0)),
        epochs=about.epochs,
        train_seconds=round(about.seconds, 3),
        precision=about.precision,
        metrics=metrics,
    )
