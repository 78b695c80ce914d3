"""Batches as large as memory allows, and larger."""

import dataclasses

import numpy as np
import pytest
import torch

from gsbench.reconstruct import FitRecipe, Stage
from gsbench.reconstruct.cuda.batch import MOST_OBJECTS, fit_batch, objects_at_once
from gsbench.reconstruct.cuda.hull import prepare
from gsbench.reconstruct.cuda.optimize import to_raw
from tests.render.splat_reference import FIELDS

from .conftest import RECIPE, SHORT, SIZE


def test_a_batch_is_as_large_as_memory_allows(views, held_out):
    def at_once(free_bytes: float, recipe: FitRecipe = RECIPE) -> int:
        return objects_at_once(views, held_out, recipe, int(free_bytes))

    sizes = [at_once(free) for free in np.geomspace(1e3, 1e12, 40)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (1, MOST_OBJECTS)
    finer = dataclasses.replace(RECIPE, stages=(Stage(32, 1), Stage(32, 1)))
    more = dataclasses.replace(RECIPE, num_gaussians=10_000)
    assert max(at_once(3e7, finer), at_once(3e7, more)) < at_once(3e7) < MOST_OBJECTS


def test_the_estimate_covers_what_an_object_holds(views, held_out):
    prepared = prepare(views, held_out, RECIPE, 0, torch.device("cpu"))
    raw, _ = to_raw([prepared.start], torch.device("cpu"))
    held = sum(tensor.nbytes for tensor in (*prepared.targets, prepared.held_out, prepared.targets[-1]))
    held += 4 * sum(tensor.nbytes for tensor in raw.values()) + 2 * 4 * 4 * SIZE * SIZE
    for count in (2, 20):
        area = SIZE * SIZE
        shared = area * (4 * 12 + 480 + 3 * 160)
        assert objects_at_once(views, held_out, RECIPE, int((shared + count * held) / 0.9)) <= count


def test_a_batch_beyond_memory_is_halved(views, flat, held_out, device, rasterize, caplog):
    calls = []

    def small(means, *rest):
        calls.append(len(means))
        if len(means) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return rasterize(means, *rest)

    objects = [prepare(each, held_out, SHORT, seed, device) for each, seed in ((views, 0), (flat, 1), (views, 2))]
    fitted = fit_batch(objects, SHORT, small)
    assert calls[:2] == [3, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "the GPU's memory does not hold 3 objects at once, going on with 1",
        "the GPU's memory does not hold 2 objects at once, going on with 1",
    ]
    if device.type == "cpu":
        (alone,) = fit_batch(objects[1:2], SHORT, rasterize)
        assert all(np.array_equal(getattr(fitted[1].gaussians, f), getattr(alone.gaussians, f)) for f in FIELDS)
        assert (fitted[1].psnr, fitted[1].ssim) == (alone.psnr, alone.ssim)


def test_an_object_beyond_memory_is_told(views, held_out):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        fit_batch([prepare(views, held_out, RECIPE, 0, torch.device("cpu"))], RECIPE, full)
