"""The shape of the code: which module may import which, what stays free of torch, and how large a piece may be."""

import ast
import graphlib
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"gsbench": "gsbench", "gsbench_baselines": "baselines"}

# The rooms from the top down. A module imports from lower rows and from its own room only.
ROWS = (
    ("__main__",),
    ("cli",),
    ("paper",),
    ("board", "learn", "produce"),
    ("reconstruct", "store"),
    ("meshes", "render"),
    ("formats",),
    ("core",),
)
LEVELS = {name: level for level, row in enumerate(ROWS) for name in row}
FOR_BASELINES = {"core", "render"}
SOURCES = sorted((path, package) for package, folder in PACKAGES.items() for path in (ROOT / folder).rglob("*.py"))
FILE_LINES, FUNCTION_LINES = 310, 70  # the aim is 300 and 50


def name_of(path: Path, package: str) -> str:
    parts = path.relative_to(ROOT / PACKAGES[package]).with_suffix("").parts
    return ".".join((package, *(part for part in parts if part != "__init__")))


def modules_imported(tree: ast.AST, module: str, is_package: bool, names: bool = False) -> Iterator[str]:
    """`names`: with what is imported from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: len(module.split(".")) - node.level + is_package] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # `from gsbench import geometry` imports a module, `from gsbench import __version__` does not.
            yield from (f"{source}.{alias.name}" for alias in node.names) if names or source == "gsbench" else (source,)


def part_of(module: str) -> str | None:
    """The part of gsbench that a module belongs to, a key of LEVELS; None for `gsbench` itself and for others."""
    package, _, rest = module.partition(".")
    part = rest.split(".")[0]
    return part if package == "gsbench" and part in LEVELS else None


def may_import(module: str, other: str) -> bool:
    if module == "gsbench":
        return (
            part_of(other) is None or other == "gsbench.core.environment"
        )  # which must come before whatever loads torch or numba
    mine, theirs = part_of(module), part_of(other)
    if module.startswith("gsbench_baselines"):
        return theirs is None or theirs in FOR_BASELINES
    if theirs is None or theirs == mine:
        return not other.startswith("gsbench_baselines")
    return mine is not None and LEVELS[theirs] > LEVELS[mine]


def wrong_imports(module: str, imported: Iterable[str]) -> list[str]:
    return [other for other in imported if not may_import(module, other)]


def test_imports_point_down():
    wrong = {}
    for path, package in SOURCES:
        module = name_of(path, package)
        if package == "gsbench" and module != "gsbench":
            assert module.split(".")[1] in LEVELS, f"{path}: say in ROWS where this part of gsbench stands"
        imported = modules_imported(ast.parse(path.read_text()), module, path.name == "__init__.py")
        wrong[module] = wrong_imports(module, imported)
    assert {module: found for module, found in wrong.items() if found} == {}


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("gsbench.learn.train", "from gsbench.core.tasks import Task", []),
        ("gsbench.core.tasks", "def f():\n    from gsbench.store.folder import Folder", ["gsbench.store.folder"]),
        ("gsbench.store.shards", "import gsbench.board.table", ["gsbench.board.table"]),
        ("gsbench.store.shards", "from gsbench.store import schema", []),
        ("gsbench.store.shards", "from gsbench import __version__, learn", ["gsbench.learn"]),
        ("gsbench.store.shards", "from ..learn import train", ["gsbench.learn"]),
        ("gsbench.board.table", "from gsbench.learn.train import train", ["gsbench.learn.train"]),
        ("gsbench.cli.scoring", "import gsbench_baselines.pointnet", ["gsbench_baselines.pointnet"]),
        ("gsbench_baselines.x", "from gsbench.core.types import Batch\nimport gsbench.learn", ["gsbench.learn"]),
    ],
)
def test_the_rule_finds_what_breaks_it(module, source, wrong):
    assert wrong_imports(module, modules_imported(ast.parse(source), module, is_package=False)) == wrong


def test_no_two_modules_import_each_other():
    """Directly or by way of others, so that each can be read after what it stands on."""
    trees = {name_of(path, package): (path, ast.parse(path.read_text())) for path, package in SOURCES}
    graph = {
        module: {
            other
            for imported in modules_imported(tree, module, path.name == "__init__.py", names=True)
            for other in (imported, imported.rpartition(".")[0])
            if other in trees and other != module
        }
        for module, (path, tree) in trees.items()
    }
    for module, others in graph.items():  # `from gsbench.render import splats` needs the module, not what is above it
        others -= {other.rpartition(".")[0] for other in others if module.startswith(other.rpartition(".")[0])}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises a CycleError that names them


def test_gsbench_names_no_baseline():
    """A baseline that ships and one that does not take the same way: through its recipe."""
    names = {path.name for path in (ROOT / "baselines").iterdir() if path.is_dir() and (path / "model.py").exists()}
    assert names, "there are baselines"
    for path, package in SOURCES:
        if package == "gsbench":
            strings = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
            assert not strings & names, path


def test_sizes():
    large = []
    for path, _ in SOURCES:
        text = path.read_text()
        large += [str(path)] * (text.count("\n") > FILE_LINES)
        functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))
        large += [f"{path}: {node.name}" for node in functions if node.end_lineno - node.lineno > FUNCTION_LINES]
    assert large == []


def test_every_package_is_in_the_wheel():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {name_of(path, package) for path, package in SOURCES if path.name == "__init__.py"}
    assert found <= listed, "a package that pyproject.toml does not list is missing from the wheel"


def loaded_by(code: str) -> set[str]:
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "code",
    [
        "import gsbench",
        "import gsbench.core.types, gsbench.core.recipe, gsbench.core.tasks, gsbench.core.results",
        "import gsbench.core.metrics, gsbench.board, gsbench.core.baseline",
        "import gsbench.store.folder, gsbench.produce.verification",
        "import gsbench.formats.ply, gsbench.formats.spz, gsbench.formats.gltf, gsbench.store.schema",
        "from gsbench.cli import main; main(['models'])",
        "from gsbench.cli import main; main(['leaderboard', '--check'])",
    ],
)
def test_no_torch(code):
    assert not loaded_by(code) & {"torch", "datasets", "numba"}


def test_help_loads_nothing_heavy():
    loaded = loaded_by("from gsbench.cli import main; main(['--help'])")
    assert not loaded & {"torch", "datasets", "numba", "numpy", "pyarrow", "rich", "tabulate"}


def test_public_names_stay_themselves() -> None:
    """A public function must not share its name with a module: importing that would put it in the function's place."""
    code = "import gsbench; a = gsbench.evaluate; b = gsbench.evaluate; assert a is b; assert callable(b)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
