"""Milliseconds for the 64 views of an object, by software beside pyrender; a real object of each class where they are.

One thread. `extra_info` holds CPU milliseconds an object, which other programs on the machine disturb less, and how far
the two pictures differ (mean absolute difference over white, in gray levels).
"""

import dataclasses
import os
import time

import numpy as np
import pytest

from gsbench.core.geometry import spiral_rig
from gsbench.core.types import Mesh
from gsbench.meshes.load import load_mesh
from gsbench.meshes.shapes import LABELS, make_shape
from gsbench.meshes.split import list_meshes
from gsbench.meshes.surface import normalize
from gsbench.render.mesh import RenderSetup, render_depth, render_views

pytestmark = pytest.mark.slow

SOFTWARE = RenderSetup()
PYRENDER = dataclasses.replace(SOFTWARE, renderer="pyrender")
VIEWS = 64


def rig(size):
    return spiral_rig(VIEWS, 3.0, 40.0, 5.0, -30.0, 75.0, size, size)


def procedural() -> list[Mesh]:
    return [normalize(make_shape(label, 0)) for label in LABELS]


def real() -> list[Mesh]:
    root = os.environ.get("GSBENCH_MODELNET10")
    if not root:
        pytest.skip("GSBENCH_MODELNET10 is not set: it names a folder of the real ModelNet10 meshes")
    one = {file.label: file for file in list_meshes(root)}
    return [normalize(load_mesh(file.path)) for file in one.values()]


def over_white(rgba):
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


@pytest.mark.parametrize("size", [224, 800])
@pytest.mark.parametrize("meshes", [procedural, real])
@pytest.mark.parametrize(
    "setup", [SOFTWARE, pytest.param(PYRENDER, marks=pytest.mark.slow)], ids=lambda setup: setup.renderer
)
def test_views(benchmark, setup, meshes, size):
    objects, cameras = meshes(), rig(size)
    try:
        render_views(objects[0], cameras[:2], setup)
    except ValueError as error:
        pytest.skip(str(error))
    spent = []

    def draw():
        start = time.process_time()
        for mesh in objects:
            render_views(mesh, cameras, setup)
        spent.append(time.process_time() - start)

    benchmark.pedantic(draw, rounds=3 if setup is SOFTWARE else 1)
    benchmark.extra_info["cpu_ms_an_object"] = 1000 * min(spent) / len(objects)
    benchmark.extra_info["faces"] = [len(mesh.faces) for mesh in objects]
    if setup is PYRENDER:
        few = cameras[::16]
        pictures = (over_white(render_views(objects[-1], few, s).rgba) for s in (SOFTWARE, PYRENDER))
        benchmark.extra_info["grey_levels_to_software"] = float(np.abs(np.subtract(*pictures)).mean())


@pytest.mark.parametrize("size", [224, 800])
def test_depth(benchmark, size):
    objects, cameras = procedural(), rig(size)
    depths = benchmark(lambda: [render_depth(mesh, cameras) for mesh in objects])
    assert all((depth > 0).any() for depth in depths)
