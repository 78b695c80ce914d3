"""Test-wide settings: shapes and types of every annotated function are checked, and nothing uses more than a core."""

import os
import sys
from pathlib import Path

import pytest

import gsbench  # noqa: F401 -- before torch and numba, whose threads it sets up

# Before numpy, torch or numba are loaded: they read these once.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"gsbench": "gsbench", "gsbench_baselines": "baselines"}


def _checked_modules() -> list[str]:
    """Every module that type checks are woven into: all but numba's, whose code is compiled without annotations, and
    `parsing`, which checks types value by value itself: it took a quarter of the time of tests that read recipes.

    The hook also takes what lies below a name, so packages are named by their modules.
    """
    return sorted(
        ".".join((package, *path.relative_to(ROOT / folder).with_suffix("").parts))
        for package, folder in PACKAGES.items()
        for path in (ROOT / folder).rglob("*.py")
        if "kernels" not in path.name and path.name not in ("__init__.py", "parsing.py")
    )


def _weave_checks_in() -> None:
    from jaxtyping import install_import_hook  # here, since it loads numpy

    # An int passes for a float, as it does for mypy.
    install_import_hook(_checked_modules(), "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


if "--benchmark-enable" not in sys.argv:  # benchmarks time the code as users run it
    _weave_checks_in()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests come first, so that no core waits for another's at the end.

    Tests marked `gpu` that were asked for are skipped where there is none, before any fixture is made.
    """
    items.sort(key=lambda item: item.path.name != "test_readme.py")
    chosen = [item for item in items if item.get_closest_marker("gpu")]
    if chosen:
        from gsbench.render.splats.cuda import require_gsplat  # here, since it loads torch

        try:
            require_gsplat()
        except ValueError as error:
            for item in chosen:
                item.add_marker(pytest.mark.skip(reason=str(error)))


@pytest.fixture(scope="session")
def modelnet10() -> Path:
    """The folder of the real ModelNet10 meshes, for tests marked `modelnet`."""
    root = os.environ.get("GSBENCH_MODELNET10")
    if not root:
        pytest.skip("GSBENCH_MODELNET10 is not set: it names a folder of the real ModelNet10 meshes")
    return Path(root)
