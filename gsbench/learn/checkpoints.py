"""Trained models as folders, here or on the Hugging Face Hub: safetensors, and a JSON of what they are.

Nothing in a checkpoint is executed. Its recipe names the class to fill, and that class comes from gsbench or from the
recipe that the caller names, never from the checkpoint; pickles are not read.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from gsbench.core.baseline import build_model, find_recipe, shipped_recipes
from gsbench.core.files import read_versioned, temporary_folder, write_atomic
from gsbench.core.parsing import InputError, parse
from gsbench.core.recipe import Recipe
from gsbench.core.tasks import Task
from gsbench.learn.calls import Classifier
from gsbench.learn.weights import (
    as_safetensors,
    check_shapes,
    check_weights,
    feature_width,
    parse_weights,
)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""The two files of a checkpoint."""

FORMAT_VERSION = 2
"""Of the JSON file; one of version 1, which is read as well, says nothing of the code."""

_MOST = {"in_channels": 2**16, "num_classes": 2**20}
"""Above these, a checkpoint's word is no checkpoint's."""

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
        code_sha256: of the code that trained it, see `gsbench.core.baseline.code_sha256`; None where it is unknown.
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
    code_sha256: str | None = None

    def __post_init__(self) -> None:
        for key, most in _MOST.items():
            if not 1 <= getattr(self, key) <= most:
                raise InputError(f"{key} is {getattr(self, key)} (allowed: 1 to {most})")
        for key in ("seed", "epochs", "seconds"):
            if not 0 <= getattr(self, key) < math.inf:
                raise InputError(f"{key} is {getattr(self, key)} (must be finite and at least 0)")
        if not self.tasks:
            raise InputError("tasks is empty (must name what the model was trained on)")


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
    files = _as_files(model, about)
    if not _place(folder, files):
        for name, data in files.items():
            write_atomic(folder / name, data)


def keep_pretrained(folder: Path, model: nn.Module, about: Checkpoint) -> bool:
    """As `save_pretrained`, but leaves a checkpoint that is there already, as one that another process just put there.

    Whoever reads the folder meanwhile sees no checkpoint or a whole one.

    Returns:
        Whether the checkpoint that is there now is this one.

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    if (folder / CONFIG).exists():
        return False
    files = _as_files(model, about)
    if _place(folder, files):
        return True
    if (folder / CONFIG).exists():
        return False
    for name, data in files.items():  # weights that somebody was killed beside
        write_atomic(folder / name, data)
    return True


def _as_files(model: nn.Module, about: Checkpoint) -> dict[str, bytes]:
    """The files in the order in which they are to be written: what names the weights comes after them."""
    weights = as_safetensors(model)
    config = _Config(FORMAT_VERSION, hashlib.sha256(weights).hexdigest(), about)
    return {WEIGHTS: weights, CONFIG: (json.dumps(dataclasses.asdict(config), indent=1) + "\n").encode()}


def _place(folder: Path, files: dict[str, bytes]) -> bool:
    """Makes a folder with some files, all at once; False where there is one that is not empty."""
    with contextlib.suppress(OSError):
        if any(folder.iterdir()):
            return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_folder(folder.parent)
    try:
        for name, data in files.items():
            write_atomic(temporary / name, data)
        temporary.chmod(0o755)
        temporary.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


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
            neither gsbench nor `model` has, weights of another architecture, or weights that are not finite; the
            message says which.
    """
    config_path, weights_path = _locate(str(source), revision)
    about, expected = _read_config(config_path)
    recipe, recipe_path = _trusted(str(source), about, model)
    weights = _read(weights_path)
    if hashlib.sha256(weights).hexdigest() != expected:
        raise InputError(f"{weights_path}: not the weights that {CONFIG} is about (their sha256 differs)")
    stored = parse_weights(weights, weights_path)

    def build() -> nn.Module:
        try:
            net: nn.Module = build_model(recipe, recipe_path, about.in_channels, about.num_classes, start=False)
        except InputError as error:
            raise InputError(f"{config_path}: no model comes of its recipe's options ({error})") from None
        if about.encoder_sha256 is None:
            return net
        return Classifier(net, feature_width(stored, weights_path), about.num_classes)

    check_shapes(build, stored, weights_path)
    net = build()
    check_weights(net, stored, weights_path)
    net.load_state_dict(stored)
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
    return _fetch_file(source, CONFIG, revision), _fetch_file(source, WEIGHTS, revision)


def _fetch_file(repo: str, file: str, revision: str | None) -> Path:
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
    config = parse(read_versioned(path, "format_version", FORMAT_VERSION, oldest=1), _Config, str(path))
    return config.checkpoint, config.weights_sha256


def _trusted(source: str, about: Checkpoint, model: str | None) -> tuple[Recipe, Path]:
    """The checkpoint's recipe, once it is for the class that gsbench or the caller's recipe has under its name."""
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
    return dataclasses.replace(recipe, variants={}), path
