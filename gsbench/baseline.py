"""The Baseline protocol, and how a recipe becomes a model: by name for those shipped, by path for anybody's."""

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from gsbench.parsing import InputError, read_toml, suggest
from gsbench.recipe import Recipe, load_recipe
from gsbench.types import Array, Batch

SHIPPED = "gsbench_baselines"


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
        """The scalar training loss of a batch of points and images `[b 3 3 h w]`: see `gsbench.data.draw_pairs`."""

    def embed(self, batch: Batch) -> Array:
        """Features `[b d]` of a batch of one modality; of several views, the maximum over those of each alone."""

    def same_object(self, images: Array, points: Array) -> Array:
        """Log-odds `[b]` that image features and point features, from `embed`, are of one object."""


def shipped_recipes() -> dict[str, Path]:
    """Recipe name -> file of every baseline that comes with gsbench, sorted by name."""
    spec = importlib.util.find_spec(SHIPPED)
    roots = list(spec.submodule_search_locations or []) if spec else []
    files = [path for root in roots for path in sorted(Path(root).glob("*/*.toml"))]
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

    A module is looked up beside the recipe first (`model:Net` is `model.py` in its folder), then on the import path.

    Raises:
        InputError: no such module or class, or the class lacks a member of its protocol; the message says which.
    """
    import torch

    module_name, _, class_name = recipe.model.partition(":")
    if not module_name or not class_name:
        raise InputError(f"{path}: model is '{recipe.model}' (must be 'module:Class')")
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


def _import(name: str, recipe_path: Path) -> Any:
    beside = recipe_path.resolve().parent / f"{name}.py"
    if not beside.is_file():
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise InputError(f"{recipe_path}: model: cannot import '{name}' ({error})") from None
    qualified = f"gsbench_recipe_{abs(hash(beside))}.{name}"
    if qualified in sys.modules:
        return sys.modules[qualified]
    spec = importlib.util.spec_from_file_location(qualified, beside)
    assert spec is not None, "a .py file always has a spec"
    assert spec.loader is not None, "a .py file always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[qualified] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[qualified]
        raise InputError(f"{recipe_path}: model: {beside.name} fails on import ({error!r})") from None
    return module


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
