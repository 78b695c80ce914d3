"""Trains a baseline on a task and scores it on the test split: the function behind `gsbench eval`."""

import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

import gsbench
from gsbench.baseline import Baseline, build_model, find_recipe, load_class
from gsbench.data import Objects, most_inputs, open_objects
from gsbench.metrics import classification_metrics
from gsbench.recipe import Recipe, Reported
from gsbench.results import PROBABILITY_DIGITS, SCHEMA_VERSION, ModelInfo, Result, RunInfo, save_result
from gsbench.store.folder import Folder, default_data, open_folder, resolve
from gsbench.tasks import Features, Modality, Sampling, Task, ViewsFrom
from gsbench.train import Progress, Trained, train
from gsbench.types import Array

DEFAULT_POINTS, DEFAULT_VIEWS = 1024, 12

_EVAL_BATCH = 32


def evaluate(
    model: str,
    data: str | Path | None = None,
    *,
    modality: Modality | None = None,
    regime: int = 100,
    draw: int = 0,
    features: Features = "xyz",
    sampling: Sampling = "fps",
    num_points: int | None = None,
    num_views: int | None = None,
    views_from: ViewsFrom = "meshes",
    seeds: Sequence[int] = (0,),
    device: Literal["auto", "cpu", "cuda"] = "auto",
    out: str | Path | None = None,
    checkpoints: str | Path | None = None,
    progress: Progress | None = None,
    reading: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """Trains a baseline once a seed, scores each last epoch on the test split, and writes a Result file each.

    Args:
        model: `NAME`, `NAME:VARIANT` or the path of a RECIPE.toml.
        data: `mini`, `modelnet10-gs`, a folder, or ORG/NAME on the Hub; None is the default data set.
        modality: what the model sees; None is the first of Gaussians, points and images that the data has and it takes.
        regime: per cent of the training labels.
        draw: which draw of that regime.
        features: channels of a Gaussian; points have `xyz` only.
        sampling: how an object's points are chosen.
        num_points: points or Gaussians an object; None is 1024, or the most that an object has if that is less.
        num_views: images an object; None is 12, or the most that an object has if that is less.
        views_from: what the images show.
        seeds: one run each.
        device: where to run; `auto` is CUDA where there is a GPU.
        out: folder for the Result files, named for their task, model and seed, or None.
        checkpoints: folder for checkpoints, from which an interrupted run goes on, or None.
        progress: told of each training step.
        reading: told of images read and images in all, of one split after the other.

    Returns:
        A Result for each seed.

    Raises:
        ValueError: any argument, recipe or data set that is not as it must be; raised before training where it can be.
    """
    recipe, recipe_path = find_recipe(model)
    folder = open_folder(resolve(str(data) if data is not None else default_data()[0]))
    baseline = cast(type[Baseline], load_class(recipe, recipe_path))
    kind = choose_modality(modality, baseline.inputs, folder, recipe)
    count = _count(kind, num_points, num_views, recipe)
    task = make_task(folder, kind, regime, draw, features, sampling, count, views_from)
    place = _device(device)
    train_objects, test_objects = (
        open_objects(folder, task, split, recipe.images, reading, recipe.points.min_opacity).to(place)
        for split in ("train", "test")
    )
    for path in (out, checkpoints):
        _check_writable(path)
    num_classes = len(folder.manifest.classes)
    results = []
    for seed in seeds:
        torch.manual_seed(seed)
        net = build_model(recipe, recipe_path, train_objects.channels, num_classes).to(place)
        name = f"{task.slug()}-{recipe.name}-s{seed}.pt".replace(":", "-").replace("/", "-")
        checkpoint = Path(checkpoints) / name if checkpoints else None
        trained = train(net, train_objects, recipe, seed, place, checkpoint, progress)
        result = _score(net, recipe, task, test_objects, _run_info(seed, place, trained, len(train_objects)))
        if out is not None:
            save_result(result, Path(out) / f"{task.slug()}-{result.file_name()}")
        results.append(result)
    return results


def _count(kind: Modality, num_points: int | None, num_views: int | None, recipe: Recipe) -> int | None:
    """Which of the two numbers of inputs counts; a ValueError where the other one is given."""
    images = kind == "images"
    name, unused = ("num_points", num_points) if images else ("num_views", num_views)
    if unused is not None:
        raise ValueError(f"{name} is {unused}, and {recipe.name} sees {kind} (allowed: leave it out)")
    return num_views if images else num_points


def _score(net: nn.Module, recipe: Recipe, task: Task, test: Objects, run: RunInfo) -> Result:
    start = time.perf_counter()
    probabilities = predict(net, test)
    run = replace(run, eval_seconds=round(time.perf_counter() - start, 3))
    return Result(
        schema_version=SCHEMA_VERSION,
        task=task,
        model=ModelInfo(
            recipe.name, recipe.title, recipe.sha256(), sum(p.numel() for p in net.parameters()), recipe.pretrained
        ),
        run=run,
        metrics=classification_metrics(probabilities, test.labels.cpu().numpy()),
        reported=find_reported(recipe, task),
        predictions={i: row.tolist() for i, row in zip(test.ids, probabilities, strict=True)},
    )


@torch.no_grad()
def predict(model: nn.Module, objects: Objects) -> Float64[Array, "n c"]:
    """Class probabilities of all objects, in float32 arithmetic, rounded as a Result file rounds them."""
    model.eval()
    index = torch.arange(len(objects), device=objects.labels.device)
    logits = torch.cat([model.logits(objects.batch(part)) for part in index.split(_EVAL_BATCH)])  # type: ignore[operator]
    probabilities = torch.softmax(logits.double(), 1).cpu().numpy().round(PROBABILITY_DIGITS)
    # What rounding took from the sum goes to the largest, so that it stays the largest.
    rows, largest = np.arange(len(probabilities)), probabilities.argmax(1)
    probabilities[rows, largest] += 1 - probabilities.sum(1)
    return np.asarray(probabilities.round(PROBABILITY_DIGITS))


def find_reported(recipe: Recipe, task: Task) -> Reported | None:
    """The published figure of the recipe that a task's score stands beside.

    A figure on `modelnet10` is matched by any data set made from it, such as `modelnet10-gs`.
    """
    for figure in recipe.reported:
        same_data = task.dataset == figure.dataset or task.dataset.startswith(f"{figure.dataset}-")
        shape = (figure.modality, figure.regime, figure.protocol)
        same_features = task.features in (None, figure.features)
        published = (figure.sampling, figure.num_views, figure.views_from)
        ours = (task.sampling, task.num_views, task.views_from)
        same_inputs = all(theirs in (None, own) for theirs, own in zip(published, ours, strict=True))
        if same_data and same_features and same_inputs and shape == (task.modality, task.regime, task.protocol):
            return figure
    return None


def choose_modality(modality: Modality | None, inputs: Sequence[str], folder: Folder, recipe: Recipe) -> Modality:
    """What a model sees of a data set: `modality`, or the first of Gaussians, points and images that both have.

    Raises:
        ValueError: the model does not take it, or the data set does not have it.
    """
    has = ["images" if config == "views" else config for config in folder.manifest.counts]
    for candidate in cast(tuple[Modality, ...], ("gaussians", "points", "images")):
        if modality in (None, candidate) and candidate in inputs and candidate in has:
            return candidate
    asked = f"modality is {modality}, " if modality else ""
    raise ValueError(f"{asked}{recipe.name} takes {', '.join(inputs)}, {folder.path} has {', '.join(has)} (must share)")


def make_task(
    folder: Folder,
    modality: Modality,
    regime: int,
    draw: int,
    features: Features,
    sampling: Sampling,
    count: int | None,
    views_from: ViewsFrom,
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
    """
    images = modality == "images"
    if count is None:
        count = min(DEFAULT_VIEWS if images else DEFAULT_POINTS, most_inputs(folder, modality, views_from))
    return Task(
        dataset=folder.manifest.name,
        revision=folder.manifest.version,
        fingerprint=folder.manifest.fingerprint(),
        split="test",
        modality=modality,
        protocol="supervised",
        regime=regime,
        draw=draw,
        features=None if images else features,
        sampling=None if images else sampling,
        num_points=None if images else count,
        num_views=count if images else None,
        views_from=views_from if images else None,
    )


def _device(device: str) -> torch.device:
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is '{device}' (allowed: auto, cpu, cuda)")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', and torch finds no GPU (allowed here: auto, cpu)")
    return torch.device(device)


def _check_writable(folder: str | Path | None) -> None:
    """Raises a ValueError now rather than an OSError after hours of training."""
    if folder is None:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written ({error.strerror})") from None


def _run_info(seed: int, device: torch.device, trained: Trained, train_objects: int) -> RunInfo:
    commit, dirty = _source_state()
    return RunInfo(
        seed=seed,
        device=_device_name(device),
        selection="last",
        epochs=trained.epochs,
        train_objects=train_objects,
        train_seconds=round(trained.seconds, 3),
        eval_seconds=0.0,
        peak_memory_mb=round(_peak_memory_mb(device), 1),
        precision=trained.precision,
        versions={
            "gsbench": gsbench.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": version("numpy"),
        },
        commit=commit,
        dirty=dirty,
    )


def _device_name(device: torch.device) -> str:
    """Kind and model of what the model ran on, such as `cpu: AMD EPYC, 2 threads`."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"cpu: {_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _peak_memory_mb(device: torch.device) -> float:
    """The most memory in use so far: of the GPU where one is used, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _source_state() -> tuple[str | None, bool | None]:
    """Commit of the checkout that gsbench runs from and whether it was changed; None if it is not a checkout."""
    source = Path(gsbench.__file__).resolve().parent
    try:
        commit = _git(source, "rev-parse", "HEAD")
        tracked = _git(source, "ls-files", "--", "__init__.py")
        changes = _git(source, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return (commit, bool(changes)) if tracked else (None, None)


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
