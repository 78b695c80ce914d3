"""A recipe's folder as a package of its own, so that its modules find each other and nobody else's."""

import builtins
import hashlib
import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from gsbench.core.source import is_beside, reader

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
    """Runs a module as it stands now, and lets it import its neighbours as a script's modules do."""

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
