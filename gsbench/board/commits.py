"""Whether the code of an entry is that of the commit which it names, so that a later move of files condemns nobody."""

import collections
import functools
import io
import re
import subprocess
import tarfile
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from gsbench.core.baseline import module_beside, scoring_sha256
from gsbench.core.parsing import InputError
from gsbench.core.results import Result
from gsbench.core.source import BASELINES, LIBRARY

_COMMIT = re.compile("[0-9a-f]{40,64}")
_SECONDS = 60.0

Standing = Literal["match", "differ", "unknown", "not at hand"]


@dataclass(frozen=True, slots=True)
class CodeCheck:
    """What an entry's commit says of its code.

    Attributes:
        path: the entry's.
        standing: `unknown` where the entry states no code, `not at hand` where its commit's code cannot be had.
        why: in words.
    """

    path: Path
    standing: Standing
    why: str


def count_standings(checks: Iterable[CodeCheck]) -> str:
    """How many of each standing there are, in words."""
    counts = collections.Counter(check.standing for check in checks)
    return ", ".join(f"{counts[standing]} {standing}" for standing in get_args(Standing))


def check_code(entries: Iterable[tuple[Path, Result]], repository: Path) -> list[CodeCheck]:
    """Compares the code that entries state with that of the commits that they name.

    Args:
        entries: Results and their files.
        repository: a folder in the git repository that has the commits.
    """
    tree_at = functools.cache(functools.partial(_tree_at, repository))
    return [CodeCheck(path, *_compare(result, tree_at)) for path, result in entries]


def _compare(result: Result, tree_at: Callable[[str], dict[str, bytes] | None]) -> tuple[Standing, str]:
    stated, commit = result.model.code_sha256, result.run.commit
    if stated is None:
        return "unknown", "it states no code"
    if commit is None or result.run.dirty is not False:
        return "not at hand", "it is of no commit" if commit is None else "files were changed since its commit"
    tree = tree_at(commit)
    if tree is None:
        return "not at hand", f"no commit {commit} here"
    try:
        found = code_at(tree, result.model.name)
    except InputError as error:
        return "not at hand", f"at commit {commit}: {error}"
    if found == stated:
        return "match", ""
    return "differ", f"model.code_sha256 is {stated}, that of its commit {commit} is {found}"


def code_at(tree: dict[str, bytes], model: str) -> str:
    """As `gsbench.core.baseline.code_sha256`, of a shipped model at another version of gsbench.

    Args:
        tree: that version's files by their paths from the package on, recipes among them.
        model: `NAME` or `NAME:VARIANT`.

    Raises:
        InputError: no such model there, or a file that is no Python.
    """
    name, _, variant = model.partition(":")
    for path in sorted(tree):
        if not path.startswith(f"{BASELINES}/") or not path.endswith(".toml"):
            continue
        try:
            recipe = tomllib.loads(tree[path].decode())
        except ValueError:
            continue
        if recipe.get("name", Path(path).stem) == name:
            module = str(_model_of(recipe, variant)).partition(":")[0]
            folder = Path(path).parent.as_posix().replace("/", ".")
            return scoring_sha256(tree.get, module_beside(tree.get, module, folder))
    raise InputError(f"no model '{name}' comes with it")


def _model_of(recipe: dict[str, object], variant: str) -> object:
    """The model of a variant, or of the ones that it extends; the recipe is one that was valid when it was scored."""
    variants = recipe.get("variants")
    seen: set[str] = set()
    while isinstance(variants, dict) and variant in variants and variant not in seen:
        seen.add(variant)
        if "model" in variants[variant]:
            return variants[variant]["model"]
        variant = str(variants[variant].get("extends", ""))
    return recipe.get("model", "")


def _tree_at(repository: Path, commit: str) -> dict[str, bytes] | None:
    """The source of our packages at a commit; None where it is not at hand."""
    if not _COMMIT.fullmatch(commit):
        return None
    try:
        top = _git(repository, "rev-parse", "--show-toplevel").decode().strip()
        archive = _git(Path(top), "archive", "--format=tar", commit, "--", "*.py", "*.toml")
    except (OSError, subprocess.SubprocessError):
        return None
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        found = {name: file.read() for name, file in files.items() if file is not None}
    folders = _package_folders(found.get("pyproject.toml", b""))
    return {
        f"{package}/{name.removeprefix(f'{folder}/')}": data
        for package, folder in folders.items()
        for name, data in found.items()
        if name.startswith(f"{folder}/")
    }


def _package_folders(pyproject: bytes) -> dict[str, str]:
    """Where a version has our packages, as its own `package-dir` says."""
    try:
        told = tomllib.loads(pyproject.decode())["tool"]["setuptools"]["package-dir"]
    except (ValueError, KeyError, TypeError):
        told = {}
    below = f"{told['']}/" if told.get("") else ""
    return {package: str(told.get(package, f"{below}{package}")) for package in (LIBRARY, BASELINES)}


def _git(folder: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS).stdout
