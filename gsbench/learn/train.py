"""The one training loop, for anything with `loss(batch, label_smoothing)`."""

import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gsbench.core.files import write_atomic
from gsbench.core.parsing import InputError
from gsbench.core.recipe import Recipe, Train
from gsbench.core.tasks import ids_sha256
from gsbench.core.types import Batch
from gsbench.learn.augment import augment, augment_images
from gsbench.learn.calls import blamed, loss_of
from gsbench.learn.data import Objects, check_pairs, draw_pairs
from gsbench.learn.precision import Precision, exact_float32, resolve_precision, training_precision
from gsbench.learn.schedule import epoch_order, make_optimizer, set_schedule, step_generator

Progress = Callable[[int, int, float], None]
"""Called after each step with steps done, steps in all, and the step's loss."""

EpochDone = Callable[[int, int, float], None]
"""Called after each epoch with epochs done, epochs in all, and the seconds that the epoch took."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What training took: epochs, seconds (over all interrupted runs together), and the precision of its products.

    That is bf16 where any of its schedules is.
    """

    epochs: int
    seconds: float
    precision: str


@exact_float32()
def train(
    model: nn.Module,
    objects: Objects,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    code: str = "",
    precision: Precision | None = None,
    epoch_done: EpochDone | None = None,
    key: str = "train",
) -> Trained:
    """Trains a model in place, by the recipe's `pretraining` and then its `train`; the last weights stay.

    By labels it sees the objects as they are; by pairs, Gaussians with views of the same and of another object
    (`draw_pairs`).

    Each epoch, counted over all schedules, draws from its own seed, so a run that was interrupted and goes on from its
    checkpoint ends with the weights of one that was not. On a CPU the same seed gives the same weights, bit by bit, at
    one number of threads and with the same instructions: MEASURED.md of the data set's card says by how much an AVX2
    machine differs from one with AVX-512.

    Args:
        model: a Baseline, or a PairBaseline, on `device`, initialized from `seed` by the caller.
        objects: the training objects, on `device`.
        recipe: the schedules and the augmentation.
        seed: of the order, the augmentation and dropout.
        device: where to train.
        checkpoint: a file written after each epoch and continued from if it exists.
        progress: called with each step.
        code: hash of the code that decides the weights, so that a checkpoint by other code is not gone on from.
        precision: of the products; None is each schedule's own, see `resolve_precision`.
        epoch_done: called after each epoch.
        key: of the last schedule in the recipe's file, for messages.

    Raises:
        InputError: the objects give no pairs where the recipe asks for them, the model's loss raises or is no scalar,
            the loss or the weights are no longer finite (the checkpoint is then that of the epoch before), a batch
            does not fit into memory or is one sample that batch norm does not take, a schedule's `views_per_sample`
            does not divide the number of views, or the checkpoint is of another run.
    """
    stages = _stages(recipe, objects, key)
    steps = sum(stage.how.epochs * stage.batches for stage in stages)
    run = _Run(model, recipe, seed, device, progress, steps, precision)
    used = training_precision(recipe, device, precision)
    shapes = "/".join(str(tuple(given.shape)) for given in (objects.points, objects.images) if given is not None)
    run_key = f"{recipe.sha256()}/{seed}/{ids_sha256(objects.ids)}/{shapes}/{used}{code and f'/{code}'}"
    done, seconds, optimizer_state = _resume(checkpoint, run_key, model, device, stages[-1].end_epoch)
    model.train()
    for stage in stages:
        if done >= stage.end_epoch:
            continue
        optimizer = make_optimizer(run.model, run.recipe.name, stage.how)
        if stage.first_epoch < done < stage.end_epoch:
            try:
                optimizer.load_state_dict(optimizer_state)
            except (ValueError, KeyError, TypeError, RuntimeError) as error:
                raise InputError(f"{checkpoint}: damaged checkpoint ({error}), remove it to start anew") from None
        for epoch in range(max(stage.first_epoch, done), stage.end_epoch):
            start = time.perf_counter()
            _run_epoch(run, stage, optimizer, epoch)
            _check_weights(run, stage, epoch)
            took = time.perf_counter() - start
            seconds += took
            if epoch_done:
                epoch_done(epoch + 1, stages[-1].end_epoch, took)
            if checkpoint:
                _save(checkpoint, run_key, epoch + 1, seconds, model, optimizer)
    return Trained(stages[-1].end_epoch, seconds, used)


@dataclass(frozen=True, slots=True)
class _Stage:
    """One of a recipe's schedules, its `key`, with its samples; epochs and steps are counted over all schedules."""

    key: str
    how: Train
    samples: Objects
    first_epoch: int
    first_step: int

    @property
    def end_epoch(self) -> int:
        return self.first_epoch + self.how.epochs

    @property
    def batches(self) -> int:
        return -(-len(self.samples) // self.how.batch_size)


@dataclass(frozen=True, slots=True)
class _Run:
    """What does not change from one epoch to the next."""

    model: nn.Module
    recipe: Recipe
    seed: int
    device: torch.device
    progress: Progress | None
    steps: int
    precision: Precision | None


def _stages(recipe: Recipe, objects: Objects, last: str) -> list[_Stage]:
    if recipe.supervision == "pairs":
        check_pairs(objects)
    stages: list[_Stage] = []
    epoch = step = 0
    named = [(f"pretraining[{number}]", how) for number, how in enumerate(recipe.pretraining)]
    for key, how in (*named, (last, recipe.train)):
        samples = objects if how.views_per_sample is None else objects.split_views(how.views_per_sample)
        stages.append(_Stage(key, how, samples, epoch, step))
        epoch, step = stages[-1].end_epoch, step + how.epochs * stages[-1].batches
    return stages


def _run_epoch(run: _Run, stage: _Stage, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    how, own_epoch, batches = stage.how, epoch - stage.first_epoch, stage.batches
    for step, index in enumerate(epoch_order(len(stage.samples), batches, run.seed, epoch)):
        set_schedule(run.model, optimizer, how, own_epoch + step / batches)
        try:
            value = _take_step(run, stage, optimizer, index, step_generator(run.seed, epoch, step, run.device))
        except torch.OutOfMemoryError:
            value = None  # what the failed step holds is free only behind this block
        except ValueError as error:
            if len(index) > 1 or "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                f"{run.recipe.name}: a step of one sample, {batches} of {len(stage.samples)} an epoch, whose batch "
                f"norm needs two (allowed: a higher {stage.key}.batch_size than {how.batch_size}, or more objects)"
            ) from error
        if value is None:
            fitting = _most_that_fit(run, stage, optimizer, index)
            raise InputError(
                f"{run.recipe.name}: {len(index)} samples a step are too many for the memory of {run.device} "
                + (f"({fitting} would fit: a lower" if fitting else "(2 are, too: allowed is less an object, no lower")
                + f" {stage.key}.batch_size than {how.batch_size})"
            )
        if not np.isfinite(value):
            raise InputError(
                f"{run.recipe.name}: the loss is {value} at step {step + 1} of epoch {epoch + 1} "
                f"(must be finite; a lower {stage.key}.lr than {how.lr} may help)"
            )
        if run.progress:
            run.progress(stage.first_step + own_epoch * batches + step + 1, run.steps, value)


def _check_weights(run: _Run, stage: _Stage, epoch: int) -> None:
    """An epoch's last step may spoil the weights that its loss was still good for."""
    for name, weight in run.model.named_parameters():
        if not weight.isfinite().all():
            raise InputError(
                f"{run.recipe.name}: {name} is no longer finite after epoch {epoch + 1} "
                f"(a lower {stage.key}.lr than {stage.how.lr} may help)"
            )


def _draw(run: _Run, stage: _Stage, index: torch.Tensor, generator: torch.Generator) -> Batch:
    """The samples at `index`, or pairs with them, augmented."""
    pairs = run.recipe.supervision == "pairs"
    batch = draw_pairs(stage.samples, index, generator) if pairs else stage.samples.batch(index)
    return augment_images(augment(batch, run.recipe.augment, generator), run.recipe.images, generator)


def _take_step(
    run: _Run, stage: _Stage, optimizer: torch.optim.Optimizer, index: torch.Tensor, generator: torch.Generator
) -> float:
    """A step on the samples at `index`; returns its loss, and leaves the weights alone where that is not finite."""
    how, batch = stage.how, _draw(run, stage, index.to(run.device), generator)
    bf16 = resolve_precision(run.precision or how.precision, run.device) == "bf16"
    with torch.autocast(run.device.type, torch.bfloat16, enabled=bf16):
        loss = loss_of(run.model, batch, how.label_smoothing)
    run.model.zero_grad()
    with blamed(run.model, "loss"):
        loss.backward()
    value = float(loss.detach())
    if np.isfinite(value):
        optimizer.step()
    return value


def _most_that_fit(run: _Run, stage: _Stage, optimizer: torch.optim.Optimizer, index: torch.Tensor) -> int:
    """How many samples a step has memory for, found by halving; 0 where 2 are too many, since batch norm takes no one.

    The steps are taken: what the optimizer keeps is a part of what has to fit, and the run has failed.
    """
    count = len(index)
    while count > 3:
        count //= 2
        run.model.zero_grad()
        try:
            _take_step(run, stage, optimizer, index[:count], torch.Generator(run.device).manual_seed(0))
            return count
        except torch.OutOfMemoryError:
            pass
    return 0


def _save(
    path: Path, run_key: str, epoch: int, seconds: float, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    buffer = io.BytesIO()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({"run": run_key, "epoch": epoch, "seconds": seconds, **state}, buffer)
    write_atomic(path, buffer.getvalue())


def _resume(
    path: Path | None, run_key: str, model: nn.Module, device: torch.device, epochs: int
) -> tuple[int, float, dict[str, Any]]:
    """Loads a checkpoint if there is one; returns epochs done, seconds taken and the optimizer's state."""
    if path is None:
        return 0, 0.0, {}
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        theirs = state["run"]
    except FileNotFoundError:  # there never was one, or another process that trains the same has just ended
        return 0, 0.0, {}
    except Exception as error:  # torch raises many kinds for a file that is none of its own
        raise InputError(f"{path}: no checkpoint ({type(error).__name__}), remove it to start anew") from None
    if theirs != run_key:
        raise InputError(
            f"{path}: checkpoint of another recipe, seed or training set, or of other code, remove it to start anew"
        )
    try:
        model.load_state_dict(state["model"])
        epoch, seconds, optimizer = int(state["epoch"]), float(state["seconds"]), dict(state["optimizer"])
    except Exception as error:  # as above, for what its values may be
        raise InputError(f"{path}: damaged checkpoint ({type(error).__name__}), remove it to start anew") from None
    finite = 0 <= seconds < math.inf and all(weight.isfinite().all() for weight in model.parameters())
    if not finite or not 1 <= epoch <= epochs:
        what = f"epoch {epoch} of {epochs}" if finite else "weights or seconds that are not finite"
        raise InputError(f"{path}: damaged checkpoint ({what}), remove it to start anew")
    return epoch, seconds, optimizer
