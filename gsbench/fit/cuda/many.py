"""`gsbench.fit.fit_many` on CUDA."""

from collections.abc import Sequence

import torch

from gsbench.fit.cuda.batch import fit_batch
from gsbench.fit.cuda.memory import free_bytes, objects_at_once
from gsbench.fit.cuda.prepared import prepare
from gsbench.fit.fitted import Fitted
from gsbench.fit.recipe import FitRecipe
from gsbench.parsing import InputError
from gsbench.render.splats_cuda import rasterize_tensors, require_gsplat
from gsbench.types import Views


def fit_many(
    views: Sequence[Views],
    recipe: FitRecipe,
    seeds: Sequence[int],
    held_out: Sequence[Views],
    at_once: int | None = None,
) -> list[Fitted]:
    """Fits objects in batches of `at_once`; None is as many as the GPU's memory holds.

    Raises:
        InputError: as `gsbench.fit.fit_many`, or `at_once` below 1.
        torch.OutOfMemoryError: the GPU does not hold a single object.
    """
    require_gsplat()
    if at_once is not None and at_once < 1:
        raise InputError(f"at_once: {at_once}, it must be at least 1")
    shapes = {each.rgba.shape for each in views}
    if len(shapes) > 1:
        raise InputError(f"views: a batch on CUDA needs equal numbers and sizes, it holds {sorted(shapes)}")
    if not views:
        return []
    device = torch.device("cuda")
    size = at_once or objects_at_once(views[0], held_out[0], recipe, free_bytes())
    objects = list(zip(views, held_out, seeds, strict=True))
    fitted = []
    for start in range(0, len(objects), size):
        batch = [prepare(each, kept, recipe, seed, device) for each, kept, seed in objects[start : start + size]]
        fitted += fit_batch(batch, recipe, rasterize_tensors)
    return fitted
