"""The function behind `gsbench eval`."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from gsbench.core.baseline import code_sha256, find_recipe, load_class
from gsbench.core.metrics import classification_metrics
from gsbench.core.parsing import InputError, check_choice
from gsbench.core.provenance import ModelInfo, RunInfo
from gsbench.core.recipe import Recipe
from gsbench.core.results import SCHEMA_VERSION, Pretext, Result, load_result, save_result
from gsbench.core.tasks import CamerasOf, Features, Modality, Protocol, Sampling, Task, ViewsFrom
from gsbench.learn.calls import ModelError
from gsbench.learn.data import check_data, check_views, stored_psnr, training_ids
from gsbench.learn.evaluation.machine import PeakMemory, choose_device, run_info
from gsbench.learn.evaluation.pretext import TrainedEncoder, plan, pretext_training, pretrain
from gsbench.learn.evaluation.request import (
    Callbacks,
    Model,
    PairTasks,
    Request,
    Runtime,
    check_given,
    check_seeds,
    check_writable,
    choose_modality,
    choose_protocol,
    find_reported,
    make_task,
)
from gsbench.learn.evaluation.scoring import Data, Scored, finetune, probe, supervised, training_task
from gsbench.learn.precision import Precision, check_arithmetic, training_precision
from gsbench.learn.probe import check_classes
from gsbench.store.folder import Folder, open_folder, read_labels
from gsbench.store.load import default_data, resolve
from gsbench.store.origin import published_name
from gsbench.store.validation import hold_out


def evaluate(
    model: str,
    data: str | Path | None = None,
    *,
    revision: str | None = None,
    modality: Modality | None = None,
    regime: int = 100,
    draw: int = 0,
    features: Features | None = None,
    sampling: Sampling | None = None,
    num_points: int | None = None,
    num_views: int | None = None,
    views_from: ViewsFrom | None = None,
    cameras: CamerasOf | None = None,
    protocol: Protocol | None = None,
    pretext_views: int | None = None,
    split: str = "test",
    seeds: Sequence[int] = (0,),
    device: Literal["auto", "cpu", "cuda"] = "auto",
    precision: Precision | None = None,
    out: str | Path | None = None,
    checkpoints: str | Path | None = None,
    callbacks: Callbacks | None = None,
) -> list[Result]:
    """Trains a baseline once a seed, scores each last epoch on the test objects, and writes a Result file each.

    A recipe of pairs is trained on all training objects without labels; the regime is that of the probe's labels, or of
    fine-tuning. Where it is scored on images, `features`, `sampling` and `num_points` say what it learned from. What is
    given of an input that the model never sees is refused.

    Args:
        model: `NAME`, `NAME:VARIANT` or the path of a RECIPE.toml.
        data: as `gsbench.store.load.resolve` takes it; None is the default one, which is told where it is `mini`.
        revision: of the data set on the Hub, or the version that a folder must have; None is the newest.
        modality: what the model sees; None is the first of Gaussians, points and images that the data has and it takes.
        regime: per cent of the training labels.
        draw: which draw of that regime.
        features: channels of a Gaussian; points have `xyz` only, which None is.
        sampling: how an object's points are chosen; None is `fps`.
        num_points: points or Gaussians an object; None is 1024, or the most that an object has if that is less.
        num_views: images an object; None is 12, or the most that an object has if that is less.
        views_from: what test images show; so do training images where the protocol is `supervised`, else they are of
            meshes, which None is.
        cameras: that test images are seen from; only renders of Gaussians have `novel` ones, None is `train`.
        protocol: None is `supervised`, or `probe` for a recipe of pairs.
        pretext_views: images an object that a recipe of pairs learns from; None is all.
        split: what is scored; `val` is a fifth of the training objects, held out: see `gsbench.store.validation`.
        seeds: one run each.
        device: where to run; `auto` is CUDA where there is a GPU.
        precision: of the products in training; None is the recipe's, whose `auto` is fp32 on CPUs and bf16 on CUDA.
        out: folder for the Result files, or None. A file that another recipe or other code made stays beside the new.
        checkpoints: folder from which an interrupted run goes on, and where trained models are kept and found, or None.
        callbacks: called while the run goes on.

    Raises:
        InputError: what is not as it must be, before training where it can be; or what training raises.
    """
    shown = (features, sampling, num_points, num_views, views_from, cameras)
    wanted = Request(modality, regime, draw, *shown, protocol, pretext_views)
    check_seeds(seeds)
    recipe, path = find_recipe(model)
    callbacks = callbacks or Callbacks()
    folder, task, inputs = _open(recipe, path, data, revision, wanted, split, callbacks)
    chosen = Model(model, recipe, path, code_sha256(recipe, path))
    runtime = _runtime(recipe, device, precision, Path(checkpoints) if checkpoints else None, callbacks)
    pairs = _plan(chosen, folder, inputs, wanted, seeds, runtime)
    check_data(folder, (task, training_task(task), *((pairs.points, pairs.images) if pairs else ())), callbacks.note)
    for place in (out, checkpoints):
        check_writable(place)
    results = _results(chosen, folder, task, pairs, seeds, runtime)
    return [_save(result, out, callbacks) for result in results]


def _save(result: Result, out: str | Path | None, callbacks: Callbacks) -> Result:
    if out is None:
        return result
    path = _choose_path(Path(out), result, callbacks)
    save_result(result, path)
    if callbacks.saved:
        callbacks.saved(path, result)
    return result


def _choose_path(out: Path, result: Result, callbacks: Callbacks) -> Path:
    """Where a Result goes: under the name of its task, model and seed; beside one there that something else made."""
    path = out / f"{result.task.slug()}-{result.file_name()}"
    if not path.exists() or _made_alike(path, result):
        return path
    name, _, seed = path.stem.rpartition("-s")
    digests = f"{str(result.model.recipe_sha256)[:8]}-{str(result.model.code_sha256)[:8]}"
    apart = path.with_name(f"{name}-{digests}-s{seed}.json")
    if callbacks.note:
        callbacks.note(f"{path} is of another recipe or by other code, and stays; this Result is {apart}.")
    return apart


def _made_alike(path: Path, result: Result) -> bool:
    try:
        model = load_result(path).model
    except InputError:
        return False
    ours = result.model
    return (model.name, model.recipe_sha256, model.code_sha256) == (ours.name, ours.recipe_sha256, ours.code_sha256)


def _default_data(callbacks: Callbacks) -> str:
    """The default data set; that it is not the real one is told, or warned of where nobody listens."""
    source, fallback = default_data()
    if fallback and callbacks.note:
        callbacks.note(fallback)
    elif fallback:
        warnings.warn(fallback, stacklevel=3)
    return source


def _open(
    recipe: Recipe,
    path: Path,
    data: str | Path | None,
    revision: str | None,
    wanted: Request,
    split: str,
    callbacks: Callbacks,
) -> tuple[Folder, Task, tuple[str, ...]]:
    """The data set, the task on it, and what the recipe's model takes."""
    check_choice("split", split, ("test", "val"))
    check_arithmetic()
    source = data if data is not None else _default_data(callbacks)
    folder = open_folder(resolve(source, revision, (), callbacks.note or warnings.warn))
    inputs: tuple[str, ...] = load_class(recipe, path).inputs  # type: ignore[attr-defined]
    modality = choose_modality(wanted.modality, inputs, folder, recipe)
    resolve(source, revision, _configs(folder, recipe, modality, wanted.views_from), lambda _line: None)
    if split == "val":
        folder = hold_out(folder)
    protocol = choose_protocol(wanted.protocol, recipe)
    check_given(modality, wanted, recipe)
    count = wanted.num_views if modality == "images" else wanted.num_points
    seen_from = (wanted.views_from or "meshes", wanted.cameras or "train")
    task = make_task(folder, modality, *wanted.shape, count, *seen_from, protocol)
    _check_inputs(folder, task)
    return folder, task, inputs


def _runtime(
    recipe: Recipe, device: str, precision: Precision | None, checkpoints: Path | None, callbacks: Callbacks
) -> Runtime:
    where = choose_device(device)
    own = training_precision(recipe, where)
    if precision is not None and training_precision(recipe, where, precision) != own and checkpoints is not None:
        checkpoints /= precision  # where no training by the recipe's own is taken for it
    return Runtime(where, precision, checkpoints, callbacks)


def _plan(
    model: Model, folder: Folder, inputs: Sequence[str], wanted: Request, seeds: Sequence[int], runtime: Runtime
) -> PairTasks | None:
    """What an encoder is trained on first; None where the recipe trains by labels."""
    if model.recipe.supervision != "pairs":
        return None

    def begun(pairs: PairTasks) -> bool:
        trainings = (pretext_training(model.recipe, model.code, seed, pairs) for seed in seeds)
        return any(training.is_begun(runtime.checkpoints) for training in trainings)

    return plan(folder, model.recipe, inputs, wanted, begun)


def _configs(folder: Folder, recipe: Recipe, modality: Modality, views_from: ViewsFrom | None) -> list[str]:
    """The configs that a run reads, of data that may be on the Hub: labels, hashes of meshes, and its inputs."""
    wanted = {next(iter(folder.manifest.counts)), "gaussians", "views" if modality == "images" else modality}
    if views_from == "gaussians":
        wanted.add("reconstructions")
    if recipe.supervision == "pairs":
        wanted |= {"views", "gaussians", "points"} if "gaussians" not in folder.manifest.counts else {"views"}
    return [config for config in folder.manifest.counts if config in wanted]


def _check_inputs(folder: Folder, task: Task) -> None:
    """Says before a long training what would be found out after it."""
    if not folder.validation:
        published_name(folder)  # reads the hashes of the meshes
    if task.protocol != "supervised":
        labels = read_labels(folder, "train")
        try:
            check_classes(np.array([labels[object_id] for object_id in training_ids(folder, task.regime, task.draw)]))
        except InputError as error:
            raise InputError(f"{folder.path}: regime {task.regime}, draw {task.draw}: {error}") from None
    if task.modality == "images":
        check_views(folder, training_task(task), "train")
        check_views(folder, task, "test")


def _results(
    model: Model, folder: Folder, task: Task, pairs: PairTasks | None, seeds: Sequence[int], runtime: Runtime
) -> Iterator[Result]:
    """One a seed, as soon as it is there; what a model does wrong names its recipe."""
    try:
        encoders = [None] * len(seeds) if pairs is None else pretrain(model, folder, pairs, seeds, runtime)
        data = Data(folder, task, model.recipe, runtime)
        for seed, encoder in zip(seeds, encoders, strict=True):
            peak = PeakMemory(runtime.device)
            scored = _score(model, seed, data, runtime, encoder)
            peaks = [peak.megabytes(), *([encoder.peak_memory_mb] if encoder else [])]
            known = [megabytes for megabytes in peaks if megabytes is not None]
            most = max(known) if len(known) == len(peaks) else None
            run = run_info(seed, runtime.device, scored.trained, scored.train_objects, scored.seconds, most)
            yield _as_result(model, data, scored, run, encoder.about if encoder else None)
    except ModelError as error:
        raise InputError(f"{model.path}: {error}") from error
    except torch.OutOfMemoryError:
        raise InputError(
            f"{model.recipe.name}: the memory of {runtime.device} ends while objects are scored "
            "(allowed: fewer points or views, or a smaller images.size)"
        ) from None


def _score(model: Model, seed: int, data: Data, runtime: Runtime, encoder: TrainedEncoder | None) -> Scored:
    if data.task.protocol == "probe":
        return probe(model, seed, data, runtime, encoder)
    return supervised(model, seed, data, runtime) if encoder is None else finetune(model, seed, data, runtime, encoder)


def _as_result(model: Model, data: Data, scored: Scored, run: RunInfo, pretext: Pretext | None) -> Result:
    recipe, task = model.recipe, data.task
    params = sum(parameter.numel() for parameter in scored.net.parameters())
    # None is published on what we hold out ourselves.
    of_data = published_name(data.folder) if task.split == "test" else None
    return Result(
        schema_version=SCHEMA_VERSION,
        task=task,
        model=ModelInfo(recipe.name, recipe.title, recipe.sha256(), params, recipe.pretrained, model.code),
        run=run,
        metrics=classification_metrics(scored.probabilities, scored.labels),
        reported=find_reported(recipe, task, of_data, pretext) if of_data is not None else None,
        predictions={i: row.tolist() for i, row in zip(scored.ids, scored.probabilities, strict=True)},
        pretext=pretext,
        stated=scored.stated | _of_renders(data),
    )


def _of_renders(data: Data) -> dict[str, float]:
    if data.task.views_from != "gaussians":
        return {}
    return {"psnr": stored_psnr(data.folder, data.task, "test")}
