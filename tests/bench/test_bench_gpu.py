"""The fit of the full preset on CUDA, views at 800x800: objects a second, PSNR, and where time goes.

Objects are a real one of each class where GSBENCH_MODELNET10 names the meshes, else procedural ones; a batch larger
than ten holds them again and again, each time with another seed.
"""

import dataclasses
import os
from collections.abc import Callable

import numpy as np
import pytest
import torch

from gsbench.core.types import Mesh, Views
from gsbench.meshes.load import load_mesh
from gsbench.meshes.shapes import LABELS, make_shape
from gsbench.meshes.split import list_meshes
from gsbench.meshes.surface import normalize
from gsbench.produce.preset import load_preset
from gsbench.reconstruct import Stage
from gsbench.reconstruct.cuda.batch import fit_many, free_bytes, objects_at_once
from gsbench.reconstruct.cuda.hull import DeviceObject, prepare
from gsbench.reconstruct.cuda.optimize import optimize
from gsbench.render.mesh import render_views
from gsbench.render.splats.cuda import rasterize_tensors

pytestmark = pytest.mark.gpu
FULL = load_preset("full")


def meshes() -> list[Mesh]:
    root = os.environ.get("GSBENCH_MODELNET10")
    if not root:
        return [normalize(make_shape(label, 1)) for label in LABELS]
    first = {file.label: file.path for file in reversed(list_meshes(root))}
    return [normalize(load_mesh(first[label])) for label in sorted(first)]


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Views, Views]]:
    """Views and held-out views of ten objects."""
    rig = FULL.rig
    between = rig.cameras(rig.size, phase=0.5)[np.linspace(0, rig.views - 2, rig.held_out).round().astype(int)]
    every = rig.cameras(rig.size)
    return [tuple(render_views(mesh, cameras, FULL.render) for cameras in (every, between)) for mesh in meshes()]


@pytest.fixture(scope="module")
def prepared(drawn: list[tuple[Views, Views]]) -> Callable[[int], list[DeviceObject]]:
    """So many objects on the device."""
    device = torch.device("cuda")
    ten = [prepare(views, held_out, FULL.fit, 0, device) for views, held_out in drawn]
    return lambda count: [ten[place % len(ten)] for place in range(count)]


@pytest.mark.parametrize("at_once", [1, 8, 32, 64])
def test_fit(benchmark, drawn, at_once):
    """From views on the host to scored Gaussians on the host; the meshes are drawn before."""
    views, held_out = zip(*(drawn[place % len(drawn)] for place in range(at_once)), strict=True)
    room = objects_at_once(views[0], held_out[0], FULL.fit, free_bytes())
    if room < at_once:
        pytest.skip(f"the GPU's memory holds {room} objects")
    torch.cuda.reset_peak_memory_stats()
    arguments = (views, FULL.fit, range(at_once), held_out, at_once)
    fitted = benchmark.pedantic(fit_many, arguments, rounds=1, warmup_rounds=1 if at_once == 1 else 0)
    benchmark.extra_info["objects_per_second"] = at_once / benchmark.stats.stats.min
    benchmark.extra_info["held_out_psnr"] = [round(each.psnr, 2) for each in fitted[: len(drawn)]]
    benchmark.extra_info["mean_psnr"] = float(np.mean([each.psnr for each in fitted]))
    benchmark.extra_info["peak_gigabytes"] = torch.cuda.max_memory_allocated() / 1e9
    assert benchmark.extra_info["mean_psnr"] > 30


@pytest.mark.parametrize("at_once", [1, 8, 32, 64])
@pytest.mark.parametrize("stage", range(len(FULL.fit.stages)))
def test_steps_of_a_stage(benchmark, prepared, stage, at_once):
    """50 steps at one resolution, all bands of the colors in use."""
    resolution = FULL.fit.stages[stage].resolution
    recipe = dataclasses.replace(FULL.fit, stages=(Stage(resolution, 50),), sh_start=0.0)
    objects = [
        dataclasses.replace(
            each, targets=each.targets[stage : stage + 1], cameras=each.cameras[stage : stage + 1],
            orders=(np.tile(each.orders[stage], 50)[:50],),
        )
        for each in prepared(at_once)
    ]  # fmt: skip
    fitted = benchmark.pedantic(optimize, (objects, recipe, rasterize_tensors), rounds=2, warmup_rounds=1)
    benchmark.extra_info["milliseconds_a_step"] = benchmark.stats.stats.min / 50 * 1e3
    assert len(fitted) == at_once


def test_prepare(benchmark, drawn):
    """Upload, hull and targets of one object."""
    views, held_out = drawn[0]

    def once() -> DeviceObject:
        prepared = prepare(views, held_out, FULL.fit, 0, torch.device("cuda"))
        torch.cuda.synchronize()
        return prepared

    assert len(benchmark.pedantic(once, rounds=5, warmup_rounds=1).start) == FULL.fit.num_gaussians
