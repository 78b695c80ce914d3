"""Test-wide settings: nothing uses more than a core, and shapes and types are checked where that is asked for."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable
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
    `parsing` and `files`, which check types value by value themselves: they took a quarter of the time of tests that
    read recipes.

    The hook also takes what lies below a name, so packages are named by their modules.
    """
    return sorted(
        ".".join((package, *path.relative_to(ROOT / folder).with_suffix("").parts))
        for package, folder in PACKAGES.items()
        for path in (ROOT / folder).rglob("*.py")
        if "kernels" not in path.name and path.name not in ("__init__.py", "parsing.py", "files.py")
    )


def _weave_checks_in() -> None:
    from jaxtyping import install_import_hook  # here, since it loads numpy

    # An int passes for a float, as it does for mypy.
    install_import_hook(_checked_modules(), "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


if os.environ.get("GSBENCH_TYPE_CHECKS") == "1":  # `make test-types`: they take as long as the tests themselves
    _weave_checks_in()


PARTS = 10
"""Into how many parts the slow tests are split, of which `.ci/run` runs one a commit."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--part", metavar="COMMIT", help=f"of the tests chosen, the {PARTS}th part that is a commit's turn"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Compiles the kernels once before several workers start, which would all compile the same."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        return
    stamp = ROOT / ".pytest_cache" / f"kernels-{_kernels_sha256()}"
    if stamp.exists():
        return
    done = [subprocess.Popen([sys.executable, "-m", "tests.test_kernels", what], cwd=ROOT) for what in ("fit", "train")]
    if not any(process.wait() for process in done):
        stamp.parent.mkdir(exist_ok=True)
        stamp.touch()


def _kernels_sha256() -> str:
    """Of all modules with kernels, and of the machine that they are compiled for."""
    files = sorted(path for folder in PACKAGES.values() for path in (ROOT / folder).rglob("*kernels.py"))
    parts = [*(path.read_bytes() for path in files), sys.version.encode(), platform.processor().encode()]
    return hashlib.sha256(b"".join([*parts, os.environ.get("NUMBA_CACHE_DIR", "").encode()])).hexdigest()[:16]


def part_of(node_id: str) -> int:
    """Which of the parts a test belongs to, whatever other tests there are."""
    return int(hashlib.sha256(node_id.encode()).hexdigest(), 16) % PARTS


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest tests come first, so that no core waits for another's at the end.

    Tests marked `gpu` that were asked for are skipped where there is none, before any fixture is made.
    """
    if commit := config.getoption("--part"):
        turn = int(commit, 16) % PARTS
        config.hook.pytest_deselected(items=[item for item in items if part_of(item.nodeid) != turn])
        items[:] = [item for item in items if part_of(item.nodeid) == turn]
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


@pytest.fixture
def memory_taken() -> Callable[[], int]:
    """How many bytes of memory this process has taken at most since, beside what it had; earlier tests do not count."""

    def status(key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith(f"{key}:"))
        return 1024 * int(line.split()[1])

    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    return lambda: status("VmHWM") - before
