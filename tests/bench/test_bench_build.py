"""Seconds an object on one core, to draw its views and to fit them, with the PSNR of held-out views; lite and full.

Objects are ten of ModelNet10's test split, one a class, where GSBENCH_MODELNET10 names the meshes, else ten procedural
ones; a round is an object. On a loaded machine `--benchmark-timer=time.process_time` tells more than the wall clock.
"""

import os

import numpy as np
import pytest

from gsbench.core.types import Mesh, Views
from gsbench.meshes.load import load_mesh
from gsbench.meshes.shapes import LABELS, make_shape
from gsbench.meshes.split import list_meshes
from gsbench.meshes.surface import normalize
from gsbench.produce.preset import Preset, evenly_spaced, load_preset
from gsbench.reconstruct import fit
from gsbench.render.mesh import render_views

pytestmark = pytest.mark.slow

# chair_0920 is made of wires.
IDS = (
    *("bathtub_0112", "bed_0529", "chair_0920", "desk_0272", "dresser_0219"),
    *("monitor_0525", "night_stand_0253", "sofa_0761", "table_0462", "toilet_0394"),
)


@pytest.fixture(scope="module")
def meshes() -> list[Mesh]:
    root = os.environ.get("GSBENCH_MODELNET10")
    if not root:
        return [normalize(make_shape(label, 1)) for label in LABELS]
    paths = {file.object_id: file.path for file in list_meshes(root)}
    return [normalize(load_mesh(paths[name])) for name in IDS]


@pytest.fixture(params=["lite", pytest.param("full", marks=pytest.mark.slow)])
def preset(request) -> Preset:
    return load_preset(request.param)


def draw(mesh: Mesh, preset: Preset) -> tuple[Views, Views]:
    """All views of a build's rig, and those that score the fit."""
    rig = preset.rig
    between = rig.cameras(rig.size, phase=0.5)[evenly_spaced(rig.views - 1, rig.held_out)]
    return render_views(mesh, rig.cameras(rig.size), preset.render), render_views(mesh, between, preset.render)


@pytest.fixture
def objects(benchmark, meshes: list[Mesh]) -> list[Mesh]:
    """Ten when time is taken, one when the code is only run."""
    return meshes[:1] if benchmark.disabled else meshes


def test_draw(benchmark, objects, preset):
    draw(objects[0], preset)  # numba compiles, or loads what it compiled
    waiting = iter(objects)
    views, held_out = benchmark.pedantic(draw, setup=lambda: ((next(waiting), preset), {}), rounds=len(objects))
    assert (len(views), len(held_out)) == (preset.rig.views, preset.rig.held_out)


def test_fit(benchmark, objects, preset):
    """From views to scored Gaussians; the meshes are drawn before."""
    fitted = []

    def setup():
        views, held_out = draw(objects[len(fitted)], preset)
        return (views, preset.fit, 0, held_out), {}

    def run(*arguments):
        fitted.append(fit(*arguments))

    fit(*setup()[0])  # as above
    benchmark.pedantic(run, setup=setup, rounds=len(objects))
    psnrs = [each.psnr for each in fitted]
    benchmark.extra_info["held_out_psnr"] = {"mean": float(np.mean(psnrs)), "worst": min(psnrs)}
    assert np.mean(psnrs) > 30
