"""The Baseline protocol, and how a recipe becomes a model: by name for those shipped, by path for anybody's."""

import importlib
import inspect
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from gsbench.core.files import read_toml
from gsbench.core.parsing import InputError, suggest
from gsbench.core.recipe import Recipe, load_recipe
from gsbench.core.source import (
    BASELINES,
    LIBRARY,
    RECIPE,
    Read,
    find_sources,
    has_module,
    import_beside,
    public_modules,
    reader,
    source_location,
    sources_sha256,
)
from gsbench.core.types import Array, Batch


@runtime_checkable
class Baseline(Protocol):
    """What gsbench trains and scores: a `torch.nn.Module` with these members.

    The constructor takes `in_channels` (channels of a point or Gaussian, or of an image), `num_classes` and the
    recipe's `[options]` as keywords. Where the recipe names weights to start from, it is told `pretrained=True`, and
    the model's `start_from` then takes them: their name as in the recipe, a file with its folder.

    Attributes:
        inputs: the modalities that it takes: some of `points`, `gaussians`, `images`.
    """

    inputs: ClassVar[tuple[str, ...]]

    def loss(self, batch: Batch, label_smoothing: float) -> Array:
        """The scalar training loss of a batch."""

    def embed(self, batch: Batch) -> Array:
        """Features `[b d]` of a batch, for probes and retrieval."""

    def logits(self, batch: Batch) -> Array:
        """Class scores `[b c]` of a batch."""


@runtime_checkable
class PairBaseline(Protocol):
    """What gsbench trains on pretext tasks, by a recipe of `supervision = "pairs"`: a `torch.nn.Module` as `Baseline`.

    The constructor takes `in_channels` (channels of a Gaussian) and the recipe's `[options]` as keywords; it is told of
    no classes, and of weights to start from as a `Baseline` is.

    Attributes:
        inputs: the modalities that it takes: images, and points or Gaussians.
    """

    inputs: ClassVar[tuple[str, ...]]

    def loss(self, batch: Batch, label_smoothing: float) -> Array:
        """The scalar training loss of a batch of points and images `[b 3 3 h w]`, see `gsbench.learn.data`."""

    def embed(self, batch: Batch) -> Array:
        """Features `[b d]` of a batch of one modality; of several views, the maximum over those of each alone."""

    def same_object(self, images: Array, points: Array) -> Array:
        """Log-odds `[b]` that image features and point features, from `embed`, are of one object."""


def shipped_recipes() -> dict[str, Path]:
    """Recipe name -> file of every baseline that comes with gsbench, sorted by name."""
    folder = source_location(BASELINES)
    files = sorted(folder.glob("*/*.toml")) if folder else []
    return dict(sorted((str(read_toml(path).get("name", path.stem)), path) for path in files))


def find_recipe(model: str) -> tuple[Recipe, Path]:
    """The recipe that `--model` means, and its file.

    Args:
        model: `NAME`, `NAME:VARIANT`, or a path `RECIPE.toml`, also followed by `:VARIANT`.

    Raises:
        InputError: no such recipe or variant; close names are suggested.
    """
    base, _, variant = model.partition(":")
    if base.endswith(".toml"):
        path = Path(base)
    else:
        shipped = shipped_recipes()
        if base not in shipped:
            known = ", ".join(shipped)
            raise InputError(
                f"--model: no baseline '{base}'{suggest(base, shipped)} (known: {known}, or a RECIPE.toml)"
            )
        path = shipped[base]
    return load_recipe(path, variant or None), path


def load_class(recipe: Recipe, path: Path) -> type:
    """The class that a recipe names as `module:Class`: a Baseline, or a PairBaseline by its `supervision`.

    A module is looked up beside the recipe first (`model:Net` is `model.py` in its folder), then on the import path. A
    recipe's folder is a package: its modules import each other as `from .layers import mlp`, or as a script's would,
    `from layers import mlp`, and do not meet those of another recipe.

    Raises:
        InputError: no such module or class, or the class lacks a member of its protocol; the message says which.
    """
    import torch

    module_name, class_name = _model_of(recipe, path)
    module = _import(module_name, path)
    kind = getattr(module, class_name, None)
    if not isinstance(kind, type):
        raise InputError(f"{path}: model: module '{module_name}' has no class '{class_name}'")
    pairs = recipe.supervision == "pairs"
    needed = ("inputs", "loss", "embed", "same_object" if pairs else "logits")
    missing = [name for name in needed if not hasattr(kind, name)]
    if missing or not issubclass(kind, torch.nn.Module):
        wrong = f"lacks {', '.join(missing)}" if missing else "is no torch.nn.Module"
        protocol = "PairBaseline" if pairs else "Baseline"
        raise InputError(
            f"{path}: model: {class_name} is not a {protocol}: it {wrong} "
            f"(needs {', '.join(needed)} where supervision is {recipe.supervision})"
        )
    return kind


def _model_of(recipe: Recipe, path: Path) -> tuple[str, str]:
    module, _, name = recipe.model.partition(":")
    if not all(part.isidentifier() for part in module.split(".")) or not name:
        raise InputError(f"{path}: model is '{recipe.model}' (must be 'module:Class')")
    return module, name


def _import(name: str, path: Path) -> Any:
    read = _reader(path)
    module = module_beside(read, name, _shipped_in(path))
    try:
        if module.partition(".")[0] != RECIPE:
            return importlib.import_module(module)
        digest = sources_sha256(find_sources(read, [module], [RECIPE]))
        return import_beside(path.resolve().parent, name, digest)
    except InputError as error:
        raise InputError(f"{path}: model: {error}") from None
    except Exception as error:
        if module == name and isinstance(error, ImportError):
            raise InputError(f"{path}: model: cannot import '{name}' ({error})") from None
        raise InputError(f"{path}: model: {name.replace('.', '/')}.py fails on import ({error!r})") from None


def code_sha256(recipe: Recipe, path: Path) -> str:
    """Hex digest of the code that decides a recipe's scores: its model's module and all of ours that `evaluate` runs.

    Found from the imports, see `gsbench.core.source`; the recipe itself has a digest of its own.

    Args:
        recipe: of the model.
        path: the recipe's file.

    Raises:
        InputError: no such module, or a file that is no Python.
    """
    name, _ = _model_of(recipe, path)
    try:
        return scoring_sha256(_reader(path), module_beside(_reader(path), name, _shipped_in(path)))
    except InputError as error:
        raise InputError(f"{path}: model: {error}") from None


def scoring_sha256(read: Read, model: str) -> str:
    """Hex digest of a model's module and of what `gsbench.evaluate` runs, and of all that these import of ours.

    Args:
        read: gives the files, of this or of another version of gsbench.
        model: the module's name among them.

    Raises:
        InputError: there is no such module, or a file is no Python.
    """
    evaluate = public_modules(read).get("evaluate", LIBRARY)
    return sources_sha256(find_sources(read, [evaluate, model], {LIBRARY, BASELINES, RECIPE, model.partition(".")[0]}))


def module_beside(read: Read, name: str, folder: str = RECIPE) -> str:
    """The full name of a recipe's module: of one in the recipe's folder, else on the import path.

    Args:
        read: gives the files.
        name: of the module, as the recipe has it.
        folder: the package that the recipe's folder is.
    """
    return f"{folder}.{name}" if has_module(read, f"{folder}.{name}") else name


def _reader(path: Path) -> Read:
    """Reads ours, the recipe's folder, and the packages on the import path that recipes name modules of."""
    return reader(path.resolve().parent)


def _shipped_in(path: Path) -> str:
    """The package that a recipe's folder is: its own name where it comes with gsbench."""
    root, folder = source_location(BASELINES), path.resolve().parent
    if root is None or not folder.is_relative_to(root.resolve()):
        return RECIPE
    return ".".join((BASELINES, *folder.relative_to(root.resolve()).parts))


def _check_type(value: object, annotation: object, where: str) -> None:
    """An InputError where a constructor asks for a plain type and an option, is of another."""
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    kinds = {"float": (int, float), "int": (int,), "str": (str,), "bool": (bool,)}.get(name)
    if kinds is None:
        return
    if not isinstance(value, kinds) or (isinstance(value, bool) and name != "bool"):
        raise InputError(f"{where}: {value!r} is not allowed (must be {name})")


def build_model(recipe: Recipe, path: Path, in_channels: int, num_classes: int, start: bool = True) -> Any:
    """Builds the recipe's model; one of pairs is not told `num_classes`.

    Args:
        recipe: of the model.
        path: the recipe's file.
        in_channels: as `Baseline` has it.
        num_classes: as `Baseline` has it.
        start: whether it is given the weights that the recipe starts from, if any; they may be a download.

    Raises:
        InputError: an option that the class does not take, or a value it refuses; or weights to start from that it does
            not take, or that cannot be had.
    """
    kind = load_class(recipe, path)
    parameters = inspect.signature(kind).parameters
    allowed = [name for name in parameters if name not in ("in_channels", "num_classes", "pretrained")]
    for key in recipe.options:
        if key not in allowed:
            raise InputError(
                f"{path}: options: unknown key '{key}'{suggest(key, allowed)} (allowed: {', '.join(allowed) or 'none'})"
            )
        _check_type(recipe.options[key], parameters[key].annotation, f"{path}: options: {key}")
    keywords = dict(recipe.options)
    if recipe.pretrained is not None:
        if "pretrained" not in parameters or not hasattr(kind, "start_from"):
            raise InputError(f"{path}: pretrained: {recipe.model} takes no weights to start from (must be left out)")
        keywords["pretrained"] = True
    if recipe.supervision == "labels":
        keywords["num_classes"] = num_classes
    try:
        net = kind(in_channels=in_channels, **keywords)
        if recipe.pretrained is not None and start:
            is_file = not recipe.pretrained.startswith("hub:")
            net.start_from(str(path.parent / recipe.pretrained) if is_file else recipe.pretrained)
        return net
    except ValueError as error:
        raise InputError(f"{path}: {'pretrained or ' if recipe.pretrained else ''}options: {error}") from None
    except Exception as error:  # an option of a type that the class cannot take ends anywhere in it
        raise InputError(
            f"{path}: {'pretrained or ' if recipe.pretrained else ''}options: {kind.__name__} raises "
            f"{type(error).__name__}: {error} (allowed: values that it takes)"
        ) from error
