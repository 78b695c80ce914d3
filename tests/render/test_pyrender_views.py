"""pyrender as the referee: both renderers draw the same picture, and what is missing is named where it is.

Where there is no OpenGL the comparisons are skipped.
"""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gsbench.core.geometry import spiral_rig
from gsbench.core.types import Cameras, Mesh
from gsbench.meshes.load import load_mesh
from gsbench.meshes.shapes import LABELS, make_shape
from gsbench.meshes.split import list_meshes
from gsbench.meshes.surface import normalize
from gsbench.render.mesh import render_views
from tests.render.mesh_scenes import SETUP

REFEREE = dataclasses.replace(SETUP, renderer="pyrender")


def over_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:].astype(np.float64) / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


def difference(mesh: Mesh, cameras: Cameras) -> tuple[float, float]:
    """Mean absolute difference of colors over white and of alpha, in gray levels, over whole images."""
    try:
        referee = render_views(mesh, cameras, REFEREE).rgba
    except ValueError as error:
        pytest.skip(str(error))
    ours = render_views(mesh, cameras, SETUP).rgba
    colors = np.abs(over_white(ours) - over_white(referee)).mean()
    return float(colors), float(np.abs(ours[..., 3].astype(int) - referee[..., 3]).mean())


@pytest.mark.parametrize("label", LABELS)
def test_procedural_objects_look_as_pyrender_draws_them(label: str) -> None:
    mesh = normalize(make_shape(label, 7))
    for size, views in ((224, 3), (800, 1)):
        colors, alpha = difference(mesh, spiral_rig(views + 1, 3.0, 40.0, 1.0, -20.0, 70.0, size, size)[:views])
        assert colors < 0.6
        assert alpha < 0.6


@pytest.mark.modelnet
@pytest.mark.slow
def test_real_objects_look_as_pyrender_draws_them(modelnet10: Path) -> None:
    files = list_meshes(modelnet10)
    differences = [
        difference(normalize(load_mesh(file.path)), spiral_rig(2, 3.0, 40.0, 0.3, 10.0, 40.0, size, size))
        for file in files[:: max(len(files) // 40, 1)]
        for size in (224, 800)
    ]
    assert np.max(differences) < 1
    assert np.mean(differences) < 0.3


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        ("import sys; sys.modules['pyrender'] = sys.modules['pyrender.renderer'] = None", "pip install"),
        (
            "from OpenGL.platform import ctypesloader\n"
            "def missing(*_, **__): raise ImportError('Unable to load EGL')\n"
            "ctypesloader.loadLibrary = missing",
            "apt-get install -y libegl1",
        ),
    ],
    ids=["pyrender", "EGL"],
)
def test_what_is_missing_is_named_with_the_line_that_installs_it(breakage: str, message: str) -> None:
    script = f"{breakage}\ntry:\n    import gsbench.render.mesh.gl\nexcept ValueError as error:\n    print(error)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert message in result.stdout
    assert result.stdout.count("\n") == 1
