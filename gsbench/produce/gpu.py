"""Fitting on this machine's GPU in a build: workers draw the views, this process fits many objects at once.

What is fitted is kept in a file for each object, and the workers then make the objects as they do on a CPU, with that
file for a fit. While one batch is on the GPU, the views of the next are drawn.
"""

import contextlib
import errno
import functools
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gsbench.core.files import atomic_path
from gsbench.core.parsing import InputError
from gsbench.core.types import Gaussians, Views
from gsbench.meshes.split import MeshFile
from gsbench.produce.engine import Engine, Lost, WorkItem
from gsbench.produce.made import fitted_path, nothing_compiled, reason_of
from gsbench.produce.objects import draw_fit_views, seed_of
from gsbench.produce.preset import Preset
from gsbench.reconstruct import ClassicRecipe, FitRecipe, Fitted, fit
from gsbench.store.schema import GAUSSIAN_COLUMNS

if TYPE_CHECKING:
    from gsbench.reconstruct.cuda.optimize import Rasterize

TOO_LARGE = "the GPU's memory does not hold this object, even alone"


@dataclass(frozen=True, slots=True)
class Drawn:
    """An object that waits for its fit: its views, and those to score it on; or why there are none."""

    file: MeshFile
    views: Views | None
    held_out: Views | None
    reason: str | None = None


FitMany = Callable[[Sequence[Drawn], FitRecipe | ClassicRecipe], list[Fitted | str]]
"""Fits objects together; an object that cannot be fitted has a reason in its place."""


def fit_objects(
    files: Sequence[MeshFile],
    recipe: Preset,
    objects: Path,
    engine: Engine,
    progress: Callable[[int, int], None],
    fit_many: FitMany | None = None,
    at_once: int | None = None,
) -> None:
    """Fits every object that is not fitted yet, and keeps its Gaussians for `kept_fit`.

    Args:
        files: the meshes.
        recipe: the preset.
        objects: the folder of the objects' files.
        engine: draws the views.
        progress: called with how many are fitted, and how many there are.
        fit_many: fits a batch; None is `fit_on_cuda`.
        at_once: objects in a batch at most; None is as many as the GPU's memory holds.

    Raises:
        InputError: a worker dies of an object every time.
        OSError: `objects` cannot be written or the disk is full.
    """
    missing = [file for file in files if not _is_fitted(fitted_path(objects, file.object_id))]
    done = len(files) - len(missing)
    progress(done, len(files))
    tasks = [WorkItem(file.object_id, draw, (file, recipe), True) for file in missing]
    by_id = {file.object_id: file for file in missing}
    together = fit_many or fit_on_cuda
    batch: list[Drawn] = []
    with ThreadPoolExecutor(1) as gpu:
        running: Future[int] | None = None
        for object_id, result in engine.run(tasks):
            drawn = Drawn(by_id[object_id], None, None, result.reason) if isinstance(result, Lost) else result
            batch.append(drawn)
            at_once = at_once or _objects_at_once(drawn, recipe, fit_many)
            if len(batch) >= (at_once or 1):
                done += running.result() if running else 0  # so that no more than two batches are held
                progress(done, len(files))
                running, batch = gpu.submit(_fit_and_keep, batch, recipe, objects, together), []
        for last in (running, gpu.submit(_fit_and_keep, batch, recipe, objects, together)):
            done += last.result() if last else 0
            progress(done, len(files))


def _is_fitted(path: Path) -> bool:
    """Whether it is known what comes of an object's fit; another day the GPU may hold it."""
    if not path.exists():
        return False
    with np.load(path) as kept:
        return "reason" not in kept or json.loads(kept["reason"].item()) != TOO_LARGE


def draw(file: MeshFile, recipe: Preset) -> Drawn:
    """The task of a worker: the views that an object is fitted to.

    Raises:
        FreshProcessNeeded: something was compiled on the way.
        MemoryError: there is too little memory.
    """
    with nothing_compiled():
        try:
            views, between = draw_fit_views(file, recipe)
        except (InputError, OSError):  # the object will be set aside for it when it is made
            return Drawn(file, None, None, "not drawn")
    return Drawn(file, views, between[:1])


def _objects_at_once(drawn: Drawn, recipe: Preset, fit_many: FitMany | None) -> int | None:
    """How many objects the GPU holds, by the first that was drawn; None while there is none."""
    if drawn.views is None or drawn.held_out is None:
        return None
    if not isinstance(recipe.fit, FitRecipe) or fit_many is not None:
        return 1
    from gsbench.reconstruct.cuda.batch import free_bytes, objects_at_once  # here, since it loads torch

    return objects_at_once(drawn.views, drawn.held_out, recipe.fit, free_bytes())


def _fit_and_keep(batch: Sequence[Drawn], recipe: Preset, objects: Path, fit_many: FitMany) -> int:
    """Fits a batch and keeps what comes of it; returns how many objects that are."""
    drawn = [each for each in batch if each.views is not None]
    fitted = iter(fit_many(drawn, recipe.fit) if drawn else ())
    for each in batch:
        _keep(fitted_path(objects, each.file.object_id), each.reason or next(fitted))
    return len(batch)


def fit_on_cuda(
    batch: Sequence[Drawn],
    recipe: FitRecipe | ClassicRecipe,
    device: str = "cuda",
    rasterize: "Rasterize | None" = None,
) -> list[Fitted | str]:
    """Fits objects all at once where the recipe starts from hulls, else one by one.

    Args:
        batch: objects whose views are there.
        recipe: of every fit.
        device: of torch; CUDA_VISIBLE_DEVICES chooses among several.
        rasterize: draws on it; None is gsplat.
    """
    import torch

    with contextlib.suppress(torch.OutOfMemoryError):
        return _fit_together(batch, recipe, device, rasterize)
    # Only here has the exception let go of the failed attempt's tensors.
    torch.cuda.empty_cache()
    half = len(batch) // 2
    if not half:
        return [TOO_LARGE]
    parts = (fit_on_cuda(part, recipe, device, rasterize) for part in (batch[:half], batch[half:]))
    return [result for part in parts for result in part]


def _fit_together(
    batch: Sequence[Drawn], recipe: FitRecipe | ClassicRecipe, device: str, rasterize: "Rasterize | None"
) -> list[Fitted | str]:
    """As `fit_on_cuda`; torch.OutOfMemoryError where the device does not hold some object of the batch."""
    import torch

    from gsbench.reconstruct.cuda.batch import fit_batch
    from gsbench.reconstruct.cuda.hull import prepare
    from gsbench.render.splats.cuda import rasterize_tensors

    results: dict[int, Fitted | str] = {}
    prepared = {}
    for number, each in enumerate(batch):
        assert each.views is not None
        assert each.held_out is not None
        seed = seed_of(each.file.object_id)
        try:
            if isinstance(recipe, FitRecipe):
                prepared[number] = prepare(each.views, each.held_out, recipe, seed, torch.device(device))
            else:
                results[number] = fit(each.views, recipe, seed, each.held_out, device)
        except InputError as error:
            results[number] = reason_of(error, each.file)
    if prepared:
        assert isinstance(recipe, FitRecipe)
        fitted = fit_batch(list(prepared.values()), recipe, rasterize or rasterize_tensors)
        results |= dict(zip(prepared, fitted, strict=True))
    return [results[number] for number in range(len(batch))]


def _keep(path: Path, fitted: Fitted | str) -> None:
    with atomic_path(path) as temporary:
        if isinstance(fitted, str):
            np.savez(temporary, reason=np.array(json.dumps(fitted)))
        else:
            fields = {name: getattr(fitted.gaussians, name) for name in GAUSSIAN_COLUMNS}
            np.savez(temporary, **fields, scores=np.array([fitted.psnr, fitted.ssim]))


def kept_fit(objects: Path, file: MeshFile) -> "functools.partial[Fitted]":
    """What takes the place of `gsbench.reconstruct.fit` for an object that `fit_objects` has fitted; can be pickled."""
    return functools.partial(_load, fitted_path(objects, file.object_id))


def _load(path: Path, views: Views, recipe: FitRecipe | ClassicRecipe, seed: int, held_out: Views) -> Fitted:
    """What is kept of an object's fit; an InputError if it cannot be fitted, an OSError if it can another day."""
    with np.load(path) as kept:
        if "reason" in kept:
            reason = str(json.loads(kept["reason"].item()))
            raise OSError(errno.ENOMEM, reason) if reason == TOO_LARGE else InputError(reason)
        gaussians = Gaussians(*(kept[name] for name in GAUSSIAN_COLUMNS))
        return Fitted(gaussians, *kept["scores"].tolist())
