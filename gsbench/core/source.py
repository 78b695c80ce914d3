"""Which source files a module runs, found from the imports in them, and the hash of those files.

The files are read, not imported, so that the same rule finds those of a checkout, of an installed package and of an
older commit. Followed are the packages that the caller names; other people's have versions. An import that stands in a
string (`importlib.import_module`) is not seen, one for type checkers alone does not count.

The hash is of the files' bytes, comments included: bytes are the same for every version of Python, which a syntax tree
is not, and anybody can compare them. A changed comment then counts as changed code, which costs a training that was not
needed; the other mistake would be a score beside code that did not make it.
"""

import ast
import builtins
import functools
import hashlib
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from gsbench.core.parsing import InputError

LIBRARY, BASELINES = "gsbench", "gsbench_baselines"
"""The packages whose source is ours."""

RECIPE = "recipe"
"""The package that stands for a recipe's folder, wherever that is."""

Read = Callable[[str], bytes | None]
"""Gives a file by its path from the package on, such as `gsbench/train.py`; None where there is none."""


@functools.cache
def source_location(package: str) -> Path | None:
    """The folder of a package that can be imported, or a module's file, without importing it; None: there is none."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.has_location and spec.origin else None


def reader(recipe: Path | None = None) -> Read:
    """Reads the source of what can be imported here, and of a recipe's folder as the package `RECIPE`.

    A recipe may change while a process runs, and is read anew. What this process has imported of packages stays as it
    was, so their files are read once.
    """

    def read(path: str) -> bytes | None:
        package, _, inside = path.partition("/")
        if package == RECIPE:
            return _read(recipe / inside) if recipe else None
        return _read_once(path)

    return read


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


@functools.cache
def _read_once(path: str) -> bytes | None:
    package, _, inside = path.partition("/")
    folder = source_location(package.removesuffix(".py"))
    return _read(folder / inside if inside else folder) if folder else None  # a module of one file is that file


def find_sources(read: Read, modules: Collection[str], packages: Collection[str]) -> dict[str, bytes]:
    """The files that importing some modules runs, as far as they are of some packages.

    Args:
        read: gives the files.
        modules: whose imports are followed, by their dotted names.
        packages: to which they lead.

    Returns:
        Path from the package on -> bytes. `gsbench/__init__.py` is left out: it defines nothing, and names what other
        files do.

    Raises:
        InputError: no such module, or a file that is no Python; the message names it.
    """
    public = public_modules(read)
    found: dict[str, bytes] = {}
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in seen or module.partition(".")[0] not in packages:
            continue
        seen.add(module)
        waiting.append(module.rpartition(".")[0])  # importing a module runs the packages that it is in
        path = _file_of(read, module)
        data = read(path) if path else None
        if path is None or data is None:
            if module in modules:
                raise InputError(f"{module}: no such module (must be a .py file, or a folder with __init__.py)")
            continue  # a folder without __init__.py
        if module == LIBRARY:
            continue
        found[path] = data
        for source, names in _imports(data, module, path):
            if module.partition(".")[0] == RECIPE and is_beside(read, source.partition(".")[0]):
                source = f"{RECIPE}.{source}"
            waiting.append(source)
            if source == LIBRARY:
                waiting += [public.get(name, f"{LIBRARY}.{name}") for name in names]
            waiting += [f"{source}.{name}" for name in names if has_module(read, f"{source}.{name}")]
    return found


def sources_sha256(found: Mapping[str, bytes]) -> str:
    """Hex digest of files and their paths, whatever the checkout made of line ends."""
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(path.encode() + b"\0" + found[path].replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()


def public_modules(read: Read) -> dict[str, str]:
    """Where gsbench's public names come from: the table in its `__init__.py`; empty where there is none."""
    data = read(f"{LIBRARY}/__init__.py")
    for node in _parse(data, LIBRARY).body if data is not None else ():
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return dict(ast.literal_eval(node.value))
    return {}


def is_beside(read: Read, name: str) -> bool:
    """Whether `import name` in a recipe's module means the file beside it: not where Python or gsbench has the name."""
    taken = name in sys.stdlib_module_names or name in (LIBRARY, BASELINES)
    return bool(name) and not taken and has_module(read, f"{RECIPE}.{name}")


def has_module(read: Read, module: str) -> bool:
    """Whether there is a file that importing a module runs, by its dotted name."""
    return _file_of(read, module) is not None


def _file_of(read: Read, module: str) -> str | None:
    stem = module.replace(".", "/")
    return next((path for path in (f"{stem}/__init__.py", f"{stem}.py") if read(path) is not None), None)


@functools.lru_cache(1024)
def _imports(data: bytes, module: str, path: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What a module imports: dotted names of modules, each with the names taken from it."""
    package = module.split(".") if path.endswith("/__init__.py") else module.split(".")[:-1]
    found: list[tuple[str, tuple[str, ...]]] = []
    for node in _import_statements(_parse(data, path).body):
        if isinstance(node, ast.Import):
            found += [(alias.name, ()) for alias in node.names]
        else:
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found.append((source, tuple(alias.name for alias in node.names)))
    return tuple(found)


def _import_statements(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Those of a block and of the blocks in it; expressions, which are most of a file, hold none."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
            continue
        for block in ("body", "orelse", "finalbody") if not _is_for_types(node) else ("orelse",):
            yield from _import_statements(getattr(node, block, []))
        for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            yield from _import_statements(part.body)


def _is_for_types(node: ast.stmt) -> bool:
    test = node.test if isinstance(node, ast.If) else None
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _parse(data: bytes, path: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python gives them when it runs the file
            return ast.parse(data)
    except SyntaxError as error:
        raise InputError(f"{path}: line {error.lineno} is no Python ({error.msg})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path}: is no Python ({type(error).__name__})") from None


_PREFIX = "gsbench_recipe_"
_FOLDERS: dict[str, Path] = {}
"""Package -> the recipe's folder."""


def import_beside(folder: Path, module: str, code: str) -> ModuleType:
    """Imports a module of a recipe's folder.

    Args:
        folder: the recipe's.
        module: its name within the folder.
        code: the hash of its code: once that has changed, all of it is imported anew.
    """
    package = _PREFIX + hashlib.sha256(f"{folder}\0{code}".encode()).hexdigest()[:16]
    _FOLDERS[package] = folder
    return importlib.import_module(f"{package}.{module}")


class _Loader(SourceFileLoader):
    """Runs a module as it stands now, and lets it import its neighbors as a script's modules do."""

    def get_code(self, fullname: str) -> CodeType:
        # Python's own cache tells versions apart by size and second alone, so it may give the code before an edit.
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import_for(module.__name__.partition(".")[0])}
        super().exec_module(module)


def _import_for(package: str) -> Any:
    """What `import` does in a recipe's modules: `import layers` means the file beside them, if there is one."""
    read = reader(_FOLDERS[package])

    def import_(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level == 0 and is_beside(read, name.partition(".")[0]):
            globals, level = {"__name__": package, "__package__": package, "__path__": []}, 1
        return builtins.__import__(name, globals, locals, fromlist or (), level)

    return import_


class _Finder:
    """Finds recipes' packages and the modules in them."""

    @staticmethod
    def find_spec(name: str, path: Iterable[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, inside = name.partition(".")
        if package not in _FOLDERS:
            return None
        if inside:
            return FileFinder(next(iter(path or ()), ""), (_Loader, [".py"])).find_spec(name)
        folder = _FOLDERS[package]
        own = folder / "__init__.py"
        spec = ModuleSpec(name, _Loader(name, str(own)) if own.is_file() else None, origin=str(own), is_package=True)
        spec.submodule_search_locations = [str(folder)]
        spec.has_location = own.is_file()
        return spec


sys.meta_path.insert(0, _Finder)  # before the one that would take any file on the path of a package
