"""The function behind `gsbench eval`."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from gsbench.baseline import find_recipe, load_class
from gsbench.data import check_data, check_views, render_psnr, training_ids
from gsbench.evaluation.data import Data, training_task
from gsbench.evaluation.job import (
    Job,
    Pairs,
    Wanted,
    Watch,
    check_writable,
    choose_count,
    choose_modality,
    choose_protocol,
    make_task,
)
from gsbench.evaluation.machine import choose_device, run_info
from gsbench.evaluation.pretext import Encoder, plan, pretext_training, pretrain
from gsbench.evaluation.protocols import Scored, finetune, probe, supervised
from gsbench.evaluation.scores import find_reported
from gsbench.metrics import classification_metrics
from gsbench.parsing import InputError
from gsbench.probe import check_classes
from gsbench.results import SCHEMA_VERSION, ModelInfo, Result, save_result
from gsbench.store.folder import Folder, default_data, open_folder, read_labels, resolve
from gsbench.tasks import CamerasOf, Features, Modality, Protocol, Sampling, Task, ViewsFrom


def evaluate(
    model: str,
    data: str | Path | None = None,
    *,
    revision: str | None = None,
    modality: Modality | None = None,
    regime: int = 100,
    draw: int = 0,
    features: Features = "xyz",
    sampling: Sampling = "fps",
    num_points: int | None = None,
    num_views: int | None = None,
    views_from: ViewsFrom = "meshes",
    cameras: CamerasOf = "train",
    protocol: Protocol | None = None,
    pretext_views: int | None = None,
    seeds: Sequence[int] = (0,),
    device: Literal["auto", "cpu", "cuda"] = "auto",
    out: str | Path | None = None,
    checkpoints: str | Path | None = None,
    watch: Watch | None = None,
) -> list[Result]:
    """Trains a baseline once a seed, scores each last epoch on the test split, and writes a Result file each.

    A recipe of pairs is trained on all training objects without labels; the regime is that of the probe's labels, or of
    fine-tuning. Where it is scored on images, `features`, `sampling` and `num_points` say what it learnt from.

    Args:
        model: `NAME`, `NAME:VARIANT` or the path of a RECIPE.toml.
        data: `mini`, `modelnet10-gs`, a folder, or ORG/NAME on the Hub; None is the default data set.
        revision: of the data set; None is the newest.
        modality: what the model sees; None is the first of Gaussians, points and images that the data has and it takes.
        regime: per cent of the training labels.
        draw: which draw of that regime.
        features: channels of a Gaussian; points have `xyz` only.
        sampling: how an object's points are chosen.
        num_points: points or Gaussians an object; None is 1024, or the most that an object has if that is less.
        num_views: images an object; None is 12, or the most that an object has if that is less.
        views_from: what test images show; so do training images where the protocol is `supervised`, else they are of
            meshes.
        cameras: that test images are seen from; only renders of Gaussians have `novel` ones.
        protocol: None is `supervised`, or `probe` for a recipe of pairs.
        pretext_views: images an object that a recipe of pairs learns from; None is all, or what memory allows.
        seeds: one run each.
        device: where to run; `auto` is CUDA where there is a GPU.
        out: folder for the Result files, named for their task, model and seed, or None.
        checkpoints: folder from which an interrupted run goes on, and where trained models are kept and found, or None.
        watch: told of the run while it goes on.

    Raises:
        InputError: any argument, recipe or data set that is not as it must be, before training where it can be; or
            what training raises; or memory that ends.
    """
    wanted = Wanted(
        modality, regime, draw, features, sampling, num_points, num_views, views_from, cameras, protocol, pretext_views
    )
    source, kept = data if data is not None else default_data()[0], Path(checkpoints) if checkpoints else None
    job = _make_job(model, source, revision, wanted, seeds, device, kept, watch or Watch())
    for folder in (out, checkpoints):
        check_writable(folder)
    results = []
    try:
        for result in _results(job, seeds):
            results.append(result)
            if out is not None:
                save_result(result, Path(out) / f"{job.task.slug()}-{result.file_name()}")
    except torch.OutOfMemoryError:
        what = f"{job.recipe.name}: the memory of {job.device} ends while objects are scored"
        raise InputError(f"{what} (allowed: fewer points or views, or a smaller images.size)") from None
    return results


def _make_job(
    model: str,
    data: str | Path,
    revision: str | None,
    wanted: Wanted,
    seeds: Sequence[int],
    device: str,
    checkpoints: Path | None,
    watch: Watch,
) -> Job:
    recipe, path = find_recipe(model)
    folder = open_folder(resolve(data, revision, notify=watch.notice or warnings.warn))
    inputs: tuple[str, ...] = load_class(recipe, path).inputs  # type: ignore[attr-defined]
    modality = choose_modality(wanted.modality, inputs, folder, recipe)
    protocol = choose_protocol(wanted.protocol, recipe)
    count = choose_count(modality, wanted, recipe)
    regime, shape = (wanted.regime, wanted.draw), (wanted.features, wanted.sampling)
    task = make_task(folder, modality, *regime, *shape, count, wanted.views_from, wanted.cameras, protocol)
    _check_inputs(folder, task)
    pairs = None
    if recipe.supervision == "pairs":

        def begun(pairs: Pairs) -> bool:
            return any(pretext_training(recipe, seed, pairs).is_begun(checkpoints) for seed in seeds)

        pairs = plan(folder, recipe, inputs, wanted, begun, watch.notice)
    check_data(folder, (task, training_task(task), *((pairs.points, pairs.images) if pairs else ())), watch.notice)
    return Job(model, recipe, path, folder, task, pairs, choose_device(device), checkpoints, watch)


def _check_inputs(folder: Folder, task: Task) -> None:
    """Says before a long training what would be found out after it."""
    if task.protocol != "supervised":
        labels = read_labels(folder, "train")
        try:
            check_classes(np.array([labels[object_id] for object_id in training_ids(folder, task.regime, task.draw)]))
        except InputError as error:
            raise InputError(f"{folder.path}: regime {task.regime}, draw {task.draw}: {error}") from None
    if task.modality == "images":
        check_views(folder, training_task(task), "train")
        check_views(folder, task, "test")


def _results(job: Job, seeds: Sequence[int]) -> Iterator[Result]:
    encoders = [None] * len(seeds) if job.pairs is None else pretrain(job, seeds)
    data = Data(job)
    for seed, encoder in zip(seeds, encoders, strict=True):
        yield _as_result(job, seed, _score(job, seed, data, encoder), encoder)


def _score(job: Job, seed: int, data: Data, encoder: Encoder | None) -> Scored:
    if job.task.protocol == "probe":
        return probe(job, seed, data, encoder)
    return supervised(job, seed, data) if encoder is None else finetune(job, seed, data, encoder)


def _as_result(job: Job, seed: int, scored: Scored, encoder: Encoder | None) -> Result:
    recipe, pretext = job.recipe, encoder.about if encoder else None
    params = sum(parameter.numel() for parameter in scored.net.parameters())
    return Result(
        schema_version=SCHEMA_VERSION,
        task=job.task,
        model=ModelInfo(recipe.name, recipe.title, recipe.sha256(), params, recipe.pretrained),
        run=run_info(seed, job.device, scored.trained, scored.train_objects, scored.seconds),
        metrics=classification_metrics(scored.probabilities, scored.labels),
        reported=find_reported(recipe, job.task, pretext),
        predictions={i: row.tolist() for i, row in zip(scored.ids, scored.probabilities, strict=True)},
        pretext=pretext,
        stated=scored.stated | _of_renders(job),
    )


def _of_renders(job: Job) -> dict[str, float]:
    if job.task.views_from != "gaussians":
        return {}
    return {"psnr": render_psnr(job.folder, job.task, "test")}
