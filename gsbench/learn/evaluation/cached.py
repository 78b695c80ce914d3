"""Trainings: each once for everything that tells them apart; its outcome is kept as a checkpoint, and found again."""

import dataclasses
import glob
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from gsbench.core.parsing import InputError
from gsbench.core.recipe import Recipe
from gsbench.core.tasks import Task
from gsbench.learn.checkpoints import CONFIG, Checkpoint, from_pretrained, keep_pretrained
from gsbench.learn.data import Objects
from gsbench.learn.evaluation.request import Runtime, safe
from gsbench.learn.train import train


@dataclass(frozen=True, slots=True)
class Training:
    """What decides a trained model.

    Attributes:
        name: of what it is trained on, as part of its folder's.
        recipe: that the model is built by, and that its folder's digest is of.
        by: the recipe that it is trained by.
        code: hash of the code that trains it.
        tasks: that it is trained on.
        seed: of its weights and its training.
        encoder: hash of the weights that fine-tuning starts from; None where nothing is fine-tuned.
    """

    name: str
    recipe: Recipe
    by: Recipe
    code: str
    tasks: tuple[Task, ...]
    seed: int
    encoder: str | None = None

    def folder(self, checkpoints: Path | None) -> Path | None:
        """Where its outcome is kept: apart from that of other code, which may have taken hours."""
        return checkpoints and checkpoints / f"{self._stem()}-{self.code[:8]}-s{self.seed}"

    def by_other_code(self, checkpoints: Path) -> list[Path]:
        """What is kept of the same training by other code, or by code that is unknown."""
        own, found = self.folder(checkpoints), checkpoints.glob(f"{glob.escape(self._stem())}*-s{self.seed}*")
        kept = [path for path in sorted(found) if path.suffix == ".pt" or (path / CONFIG).exists()]
        return [path for path in kept if own not in (path, path.with_suffix(""))]

    def _stem(self) -> str:
        return safe(f"{self.name}-{self.recipe.name}-{self.recipe.sha256()[:8]}")

    def is_begun(self, checkpoints: Path | None) -> bool:
        """Whether its outcome is there, or an epoch of it."""
        folder = self.folder(checkpoints)
        return folder is not None and ((folder / CONFIG).exists() or _unfinished(folder).exists())

    def is_that_of(self, about: Checkpoint) -> bool:
        """Whether a checkpoint is its outcome."""
        ours, theirs = (recipe if self.encoder else without_labels(recipe) for recipe in (self.recipe, about.recipe))
        same_recipe = ours.sha256() == theirs.sha256()
        start = (about.seed, about.encoder_sha256, about.code_sha256)
        return same_recipe and self.tasks == about.tasks and start == (self.seed, self.encoder, self.code)


def without_labels(recipe: Recipe) -> Recipe:
    """What decides an encoder: how it would be fine-tuned later does not."""
    return dataclasses.replace(recipe, finetune=None)


def train_once(
    model: str,
    training: Training,
    runtime: Runtime,
    objects: Callable[[], Objects],
    build: Callable[[Objects], nn.Module],
    num_classes: int,
) -> tuple[nn.Module, Checkpoint]:
    """The outcome of a training, on the device: made and kept, or taken from where it was kept.

    Args:
        model: as the caller named its recipe.
        training: what decides it.
        runtime: where and how it goes on.
        objects: reads the training objects, where they are needed.
        build: the model as its training starts, for those objects; drawn by the training's seed.
        num_classes: of the data set.

    Raises:
        InputError: as `train`; or a checkpoint that is damaged, or of another training.
    """
    folder = training.folder(runtime.checkpoints)
    if folder is not None and (folder / CONFIG).exists():
        net, about = _load(model, training, runtime, folder)
        return net.to(runtime.device), about
    if (
        runtime.checkpoints is not None
        and (others := training.by_other_code(runtime.checkpoints))
        and runtime.callbacks.note
    ):
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        runtime.callbacks.note(f"{others[0]}{more} is of other code than this, and stays; trained anew, into {folder}.")
    given = objects()
    torch.manual_seed(training.seed)
    net = build(given).to(runtime.device)
    unfinished = folder and _unfinished(folder)
    trained = train(
        net,
        given,
        training.by,
        training.seed,
        runtime.device,
        unfinished,
        runtime.callbacks.progress,
        training.code,
        runtime.precision,
        runtime.callbacks.epoch,
        "train" if training.encoder is None else "finetune",
    )
    about = Checkpoint(
        recipe=training.recipe,
        tasks=training.tasks,
        seed=training.seed,
        in_channels=given.channels,
        num_classes=num_classes,
        epochs=trained.epochs,
        seconds=trained.seconds,
        precision=trained.precision,
        encoder_sha256=training.encoder,
        code_sha256=training.code,
    )
    if folder is not None and unfinished is not None:
        ours = keep_pretrained(folder, net, about)
        unfinished.unlink(missing_ok=True)  # one that trains for no epoch writes none
        if not ours:  # another process was the first to end: what is kept is scored
            net, about = _load(model, training, runtime, folder)
    return net.to(runtime.device), about


def _unfinished(folder: Path) -> Path:
    """The file that a training goes on from, beside the checkpoint that it ends in."""
    return folder.with_name(f"{folder.name}.pt")


def _load(model: str, training: Training, runtime: Runtime, folder: Path) -> tuple[nn.Module, Checkpoint]:
    try:
        net, about = from_pretrained(folder, model)
    except InputError as error:
        raise InputError(f"{error}; remove {folder} to train anew") from None
    if not training.is_that_of(about):
        raise InputError(f"{folder}: of another recipe, code, seed, data set or encoder, remove it to train anew")
    if runtime.callbacks.note:
        pairs = training.recipe.supervision == "pairs"
        what = "encoder" if pairs and training.encoder is None else "model"
        runtime.callbacks.note(f"reused the {what} in {folder}, trained for {about.epochs} epochs.")
    return net, about
