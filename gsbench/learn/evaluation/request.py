"""What `evaluate` was asked for, checked before anything is read or trained."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch

from gsbench.core.parsing import InputError, check_range
from gsbench.core.recipe import Recipe, Reported
from gsbench.core.results import Pretext, Result
from gsbench.core.tasks import CamerasOf, Features, Modality, Protocol, Sampling, Task, ViewsFrom
from gsbench.learn.data import most_inputs, most_points
from gsbench.learn.precision import Precision
from gsbench.learn.train import EpochDone, Progress
from gsbench.store.folder import Folder

DEFAULT_POINTS, DEFAULT_VIEWS = 1024, 12

MOST_SEED = 2**32 - 1
"""What numpy and torch both take."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What is called while a run goes on; None is not.

    Attributes:
        progress: of each training step.
        reading: of images read and images in all, of one split after the other.
        extracting: of objects, or views, whose features are taken, and how many there are.
        note: of what somebody should know, such as that an encoder was not trained but found; one sentence.
        epoch: of each epoch of a training.
        saved: of each Result and the file that it was written to.
    """

    progress: Progress | None = None
    reading: Callable[[int, int], None] | None = None
    extracting: Callable[[int, int], None] | None = None
    note: Callable[[str], None] | None = None
    epoch: EpochDone | None = None
    saved: Callable[[Path, Result], None] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What of a data set is to be scored, and how: the arguments of `evaluate`, which describes them.

    None is what was not given, so that what a model never sees can be told from a default.
    """

    modality: Modality | None
    regime: int
    draw: int
    features: Features | None
    sampling: Sampling | None
    num_points: int | None
    num_views: int | None
    views_from: ViewsFrom | None
    cameras: CamerasOf | None
    protocol: Protocol | None
    pretext_views: int | None

    @property
    def shape(self) -> tuple[int, int, Features, Sampling]:
        """Regime and draw, and what is seen of an object's points, with the defaults."""
        return self.regime, self.draw, self.features or "xyz", self.sampling or "fps"


@dataclass(frozen=True, slots=True)
class PairTasks:
    """What an encoder of pairs is trained on: Gaussians, and images of the same objects."""

    points: Task
    images: Task

    def slug(self) -> str:
        """A name made of everything that tells such trainings on a data set apart."""
        task = self.points
        shape = f"{task.features}-{task.sampling}-n{task.num_points}-v{self.images.num_views}"
        held_out = "" if task.split == "test" else f"-{task.split}"
        return f"{task.dataset}@{task.fingerprint[:8]}{held_out}-pretext-{task.modality}-{shape}"


@dataclass(frozen=True, slots=True)
class Model:
    """A recipe, and the code that its score is by.

    Attributes:
        name: as the caller named it.
        recipe: that it means.
        path: the recipe's file.
        code: hash of the code that decides its score.
    """

    name: str
    recipe: Recipe
    path: Path
    code: str


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and how a run goes on; of this, precision alone moves a score.

    Attributes:
        device: where to run.
        precision: of the products in training; None is the recipe's.
        checkpoints: where checkpoints are, or None.
        callbacks: called while it goes on.
    """

    device: torch.device
    precision: Precision | None = None
    checkpoints: Path | None = None
    callbacks: Callbacks = field(default_factory=Callbacks)


def safe(name: str) -> str:
    """The name of a file, without what stands between folders or before variants."""
    return name.replace(":", "-").replace("/", "-")


def choose_modality(modality: Modality | None, inputs: Sequence[str], folder: Folder, recipe: Recipe) -> Modality:
    """What a model sees of a data set: `modality`, or the first of Gaussians, points and images that both have.

    Raises:
        InputError: the model does not take it, or the data set does not have it.
    """
    has = ["images" if config == "views" else config for config in folder.manifest.counts]
    for candidate in cast(tuple[Modality, ...], ("gaussians", "points", "images")):
        if modality in (None, candidate) and candidate in inputs and candidate in has:
            return candidate
    asked = f"modality is {modality}, " if modality else ""
    raise InputError(f"{asked}{recipe.name} takes {', '.join(inputs)}, {folder.path} has {', '.join(has)} (must share)")


def choose_protocol(protocol: Protocol | None, recipe: Recipe) -> Protocol:
    """How a recipe's model is scored: `protocol`, or end to end by labels, or by a probe where it learns from pairs.

    Raises:
        InputError: the recipe's model cannot be scored so.
    """
    pairs = recipe.supervision == "pairs"
    allowed: list[Protocol] = ["supervised", "probe"]
    if pairs:
        allowed = ["probe"] if recipe.finetune is None else ["probe", "finetune"]
    if protocol is None:
        return allowed[0]
    if protocol not in allowed:
        lacks = " and has no [finetune]" if pairs and recipe.finetune is None else ""
        raise InputError(
            f"protocol is {protocol}, and {recipe.name} learns from {recipe.supervision}{lacks} "
            f"(allowed: {', '.join(allowed)})"
        )
    return protocol


def check_given(modality: Modality, wanted: Request, recipe: Recipe) -> None:
    """Raises an InputError where an argument is given that says how to show what the model never sees."""
    images, pairs = modality == "images", recipe.supervision == "pairs"
    unseen = [] if images else ["num_views", "views_from", "cameras"]
    if images and not pairs:
        unseen += ["features", "sampling", "num_points"]
    for name in unseen:
        if (value := getattr(wanted, name)) is not None:
            raise InputError(f"{name} is {value}, and {recipe.name} sees {modality} (allowed: leave it out)")
    if wanted.pretext_views is not None and not pairs:
        raise InputError(
            f"pretext_views is {wanted.pretext_views}, and {recipe.name} learns from labels (leave it out)"
        )


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises an InputError unless they are distinct whole numbers that torch and numpy take, one at least."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds is {list(seeds)} (must be distinct whole numbers, one at least)")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise InputError(f"seeds: {seed!r} is not allowed (must be a whole number)")
        check_range("seeds: one", seed, 0, MOST_SEED)


def are_drawn(folder: Folder, task: Task, min_opacity: float) -> bool:
    """Whether an object's points can be chosen in several ways: not where all go in, and a task on images has none."""
    if not isinstance(task.num_points, int):
        return False
    return task.num_points < most_points(folder, task.modality, "test", min_opacity)


def make_task(
    folder: Folder,
    modality: Modality,
    regime: int,
    draw: int,
    features: Features,
    sampling: Sampling,
    count: int | None,
    views_from: ViewsFrom,
    cameras: CamerasOf = "train",
    protocol: Protocol = "supervised",
) -> Task:
    """The task on an open data set.

    Args:
        folder: the data set.
        modality: what the model sees.
        regime: per cent of the training labels.
        draw: which draw of that regime.
        features: channels of a Gaussian.
        sampling: how an object's points are chosen.
        count: points, Gaussians or views an object; None for the default, or the most there are if that is less.
        views_from: what the images show.
        cameras: that test images are seen from.
        protocol: how the model is scored.
    """
    images = modality == "images"
    if count is None:
        count = min(DEFAULT_VIEWS if images else DEFAULT_POINTS, most_inputs(folder, modality, views_from, cameras))
    return Task(
        dataset=folder.manifest.name,
        revision=folder.manifest.version,
        fingerprint=folder.manifest.fingerprint(),
        split="val" if folder.validation else "test",
        modality=modality,
        protocol=protocol,
        regime=regime,
        draw=draw,
        features=None if images else features,
        sampling=None if images else sampling,
        num_points=None if images else count,
        num_views=count if images else None,
        views_from=views_from if images else None,
        cameras=cameras,
    )


def check_writable(folder: str | Path | None) -> None:
    """Raises an InputError now rather than an OSError after hours of training."""
    if folder is None:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None


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
