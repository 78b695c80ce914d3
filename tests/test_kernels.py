"""Kernels give the same bits whether they were compiled in this process or come from numba's cache.

A helper that LLVM does not inline is a symbol of its own, in every kernel that calls it and where it was compiled; the
loader takes any one of them for all. They need not round alike where multiply-adds may be contracted.
"""

import ast
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
KERNELS = sorted((ROOT / "gsbench").rglob("*kernels.py"))
FIT = """
import hashlib, sys
import numpy as np
from gsbench.reconstruct import ClassicRecipe, FitRecipe, Stage, fit
from gsbench.core.geometry import spiral_rig
from gsbench.core.types import Views

rgba = np.zeros((8, 32, 32, 4), np.uint8)
rgba[:, 8:24, 10:22] = np.random.default_rng(0).integers(1, 256, (8, 16, 12, 4))
rgba[..., 3] = np.where(rgba[..., 3], 255, 0)
views = Views(rgba, spiral_rig(8, 2.8, 45.0, 1.0, -30.0, 40.0, 32, 32))
hull = FitRecipe((Stage(32, 20),), num_gaussians=100, sh_degree=3, hull_resolution=24)
classic = ClassicRecipe(iterations=20, init_points=100, densify_from=5, densify_every=5)
for recipe in (hull, classic):
    fitted = fit(views, recipe, 0, views)
    digest = hashlib.sha256(fitted.gaussians.means.tobytes() + fitted.gaussians.sh.tobytes())
    print(digest.hexdigest(), fitted.psnr, fitted.ssim)
"""


def contracts(source: str) -> bool:
    return "simd16_kernels" in source or "contract" in source


def helpers(tree: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """The functions under `njit` that are no kernels of their own, with the options that they name."""
    for node in tree.body:
        for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            call = decorator.func if isinstance(decorator, ast.Call) else decorator
            if isinstance(call, ast.Name) and call.id == "njit":
                keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
                options = {keyword.arg or "" for keyword in keywords}
                if "cache" not in options:
                    yield node.name, options


def test_helpers_of_contracted_kernels_are_inlined():
    assert len([path for path in KERNELS if contracts(path.read_text())]) > 5
    for path in KERNELS:
        source = path.read_text()
        if contracts(source):
            for name, options in helpers(ast.parse(source)):
                assert options & {"forceinline", "inline"}, f"{path}: {name}: say forceinline=True"


def test_the_rule_finds_what_breaks_it():
    tree = ast.parse("@njit\ndef f(): pass\n@njit(cache=True)\ndef g(): pass\n@njit(forceinline=True)\ndef h(): pass\n")
    assert dict(helpers(tree)) == {"f": set(), "h": {"forceinline"}}


@pytest.mark.slow
def test_compiled_and_cached_kernels_agree(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", FIT]
    outputs = [
        subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment).stdout
        for _ in range(2)
    ]
    assert list(tmp_path.iterdir()), "the first run filled the cache"
    assert outputs[0] == outputs[1]


def fit_an_object() -> None:
    """Draws, fits and scores an object of both kinds of recipe."""
    from gsbench.meshes.off import save_off
    from gsbench.meshes.shapes import make_shape
    from gsbench.meshes.split import MeshFile
    from gsbench.produce.objects import build_object
    from gsbench.produce.preset import load_preset

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chair_0000.off"
        save_off(path, make_shape("chair", 0))
        build_object(MeshFile("chair_0000", "chair", "train", path), load_preset(str(ROOT / "tests/tiny_preset.toml")))
    exec(FIT, {"print": lambda *_: None})


def train_a_model() -> None:
    """Trains PointNet++ on few objects."""
    import gsbench

    gsbench.evaluate("pointnet++:smoke", "mini", regime=1, num_points=64)


if __name__ == "__main__":  # compiles what tests use, before workers do so at the same time
    {"fit": fit_an_object, "train": train_a_model}[sys.argv[1]]()
