"""Trained models as folders, here or on the Hugging Face Hub: safetensors, and a JSON of what they are.

Nothing in a checkpoint is executed. Its recipe names the class to fill, and that class comes from gsbench or from the
recipe that the caller names, never from the checkpoint; pickles are not read.
"""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from gsbench.baseline import build_model, find_recipe, shipped_recipes
from gsbench.classifier import Classifier
from gsbench.parsing import InputError, parse, read_versioned
from gsbench.recipe import Recipe
from gsbench.results import write_atomic
from gsbench.tasks import Task

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""The two files of a checkpoint."""

FORMAT_VERSION = 1

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a trained model is: enough to build it again, and to tell whether it is the one wanted.

    Attributes:
        recipe: that it was trained by.
        tasks: what it was trained on, one for each modality that it saw.
        seed: of its training.
        in_channels: channels of a point, a Gaussian or an image.
        num_classes: number of classes of the data set.
        epochs: passes over the training set.
        seconds: that they took.
        precision: of the training's products.
        encoder_sha256: of the weights of the encoder that fine-tuning started from: the model is a `Classifier` on one.
            None where nothing was fine-tuned.
    """

    recipe: Recipe
    tasks: tuple[Task, ...]
    seed: int
    in_channels: int
    num_classes: int
    epochs: int
    seconds: float
    precision: str
    encoder_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class _Config:
    """The JSON file: a checkpoint, and the hash of the weights that it is about."""

    format_version: int
    weights_sha256: str
    checkpoint: Checkpoint


def save_pretrained(folder: Path, model: nn.Module, about: Checkpoint) -> None:
    """Writes a model and what it is; `hf upload ORG/NAME FOLDER` puts it on the Hub.

    Args:
        folder: made if need be; a checkpoint in it is replaced.
        model: whose `state_dict` is kept.
        about: what it is.

    Raises:
        OSError: the folder cannot be written or the disk is full. A checkpoint that was there is then as it was, or is
            refused when it is read.
    """
    weights = _as_safetensors(model)
    config = _Config(FORMAT_VERSION, hashlib.sha256(weights).hexdigest(), about)
    write_atomic(folder / WEIGHTS, weights)
    write_atomic(folder / CONFIG, (json.dumps(dataclasses.asdict(config), indent=1) + "\n").encode())


def weights_sha256(model: nn.Module) -> str:
    """Hex digest of a model's weights, that of the file `save_pretrained` makes of them."""
    return hashlib.sha256(_as_safetensors(model)).hexdigest()


def _as_safetensors(model: nn.Module) -> bytes:
    return safetensors.torch.save({name: value.cpu().contiguous() for name, value in model.state_dict().items()})


def from_pretrained(
    source: str | Path, model: str | None = None, revision: str | None = None
) -> tuple[nn.Module, Checkpoint]:
    """Builds the model of a checkpoint, on the CPU and in evaluation mode, and fills it.

    Args:
        source: a folder that `save_pretrained` wrote, or `ORG/NAME` on the Hub.
        model: recipe that says where the model's class is, as `--model` takes it; None for a baseline of gsbench.
        revision: Hub revision; None is its newest.

    Returns:
        The model, and what it is.

    Raises:
        InputError: no such folder or model on the Hub, files that are damaged or do not belong together, a class that
            neither gsbench nor `model` has, or weights of another architecture; the message says which.
    """
    config_path, weights_path = _locate(str(source), revision)
    about, expected = _read_config(config_path)
    net = _build(str(source), about, model)
    weights = _read(weights_path)
    if hashlib.sha256(weights).hexdigest() != expected:
        raise InputError(f"{weights_path}: not the weights that {CONFIG} is about (their sha256 differs)")
    try:
        stored = safetensors.torch.load(weights)
    except safetensors.SafetensorError as error:
        raise InputError(f"{weights_path}: no safetensors ({error})") from None
    if about.encoder_sha256 is not None:
        net = Classifier(net, _features(stored, weights_path), about.num_classes)
    _fill(net, stored, weights_path)
    return net.eval(), about


def load_checkpoint(folder: Path) -> Checkpoint:
    """What the model in a folder is, without its weights.

    Raises:
        InputError: no checkpoint, or a damaged one; the message names the file.
    """
    return _read_config(folder / CONFIG)[0]


def _locate(source: str, revision: str | None) -> tuple[Path, Path]:
    if Path(source).is_dir():
        if revision is not None:
            raise InputError(f"{source}: revision {revision} asked for, a folder has none (allowed: leave it out)")
        return Path(source) / CONFIG, Path(source) / WEIGHTS
    if not _REPO.fullmatch(source):
        raise InputError(f"{source}: no such folder (allowed: a checkpoint's folder, or ORG/NAME on the Hub)")
    return _download(source, CONFIG, revision), _download(source, WEIGHTS, revision)


def _download(repo: str, file: str, revision: str | None) -> Path:
    import huggingface_hub  # takes .1 s

    try:
        return Path(huggingface_hub.hf_hub_download(repo, file, revision=revision, etag_timeout=_HUB_SECONDS))
    except Exception as error:  # the Hub's client and the HTTP libraries below it share no base class
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(
            f"{repo}: no such folder, and {file} is not to be had from the Hugging Face Hub "
            f"(offline, or no such model): {reason}"
        ) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}; a checkpoint has {CONFIG} and {WEIGHTS})"
        ) from None


def _read_config(path: Path) -> tuple[Checkpoint, str]:
    config = parse(read_versioned(path, "format_version", FORMAT_VERSION), _Config, str(path))
    return config.checkpoint, config.weights_sha256


def _build(source: str, about: Checkpoint, model: str | None) -> nn.Module:
    """An unfilled model, of the class that gsbench or the caller's recipe has under the checkpoint's name for it."""
    recipe = about.recipe
    if model is None and recipe.name.partition(":")[0] not in shipped_recipes():
        raise InputError(
            f"{source}: recipe '{recipe.name}' is no baseline of gsbench, and code is never taken from a checkpoint "
            "(allowed: say as `model` by which recipe it was trained)"
        )
    trusted, path = find_recipe(model or recipe.name)
    for key in ("model", "supervision", "pretrained"):
        theirs, ours = getattr(recipe, key), getattr(trusted, key)
        if theirs != ours:
            raise InputError(f"{source}: {key} of its recipe is {theirs!r} (must be {ours!r}, as in {path})")
    recipe = dataclasses.replace(recipe, variants={})
    return build_model(recipe, path, about.in_channels, about.num_classes, start=False)


def _features(stored: dict[str, Tensor], path: Path) -> int:
    """Width of the features that a stored classifier is on."""
    weight = stored.get("last.weight")
    if weight is None or weight.ndim != 2:
        raise InputError(f"{path}: lacks last.weight of two dimensions (must have the weights of a fine-tuned encoder)")
    return weight.shape[1]


def _fill(net: nn.Module, stored: dict[str, Tensor], path: Path) -> None:
    own = net.state_dict()
    for wrong, names in (("lacks", own.keys() - stored.keys()), ("has the unknown", stored.keys() - own.keys())):
        if names:
            raise InputError(f"{path}: {wrong} {min(names)}, {len(names)} in all (must have the weights of its recipe)")
    for name, value in stored.items():
        for what, found, needed in (
            ("shape", list(value.shape), list(own[name].shape)),
            ("type", value.dtype, own[name].dtype),
        ):
            if found != needed:
                raise InputError(f"{path}: {name} has {what} {found} (must be {needed})")
    net.load_state_dict(stored)
