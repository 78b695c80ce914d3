"""Weights to start from: safetensors with torchvision's names, from a file or the Hugging Face Hub."""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from gsbench.core.parsing import InputError

HUB = "hub:"
FILE = "model.safetensors"
"""The file of a model on the Hub."""

_SECONDS = 4.0

_FOREIGN = {"pre_logits.fc1.": "classifier.0.", "pre_logits.fc2.": "classifier.3.", "head.fc.": "classifier.6."}
"""timm's names of VGG's last layers; two are convolutions there, of the same numbers in the same order."""

_log = logging.getLogger(__name__)


def load_weights(model: nn.Module, source: str, classifier: str) -> None:
    """Fills a model with stored weights.

    `timm/resnet18.tv_in1k` and `timm/vgg11.tv_in1k` on the Hub hold torchvision's ImageNet weights.

    Args:
        model: names and shapes are torchvision's.
        source: `hub:ORG/NAME`, of which `model.safetensors` is taken, or a file of safetensors.
        classifier: the model's layer that keeps its start where the stored one has another number of classes; a
            warning is logged then. A model without that layer leaves the stored one alone.

    Raises:
        InputError: no such file, the Hub cannot be reached or has no such model, or names or shapes are not the
            model's; the message names the first of them.
    """
    stored = dict(_named(name, value) for name, value in _read(source).items())
    own = model.state_dict()
    if dropped := _without_classifier(stored, own, classifier):
        _log.warning("%s: %s is not taken, it has another number of classes", source, dropped)
    missing = [name for name in own if name not in stored and not _may_miss(name, classifier if dropped else None)]
    unknown = [name for name in stored if name not in own]
    for wrong, names in (("lacks", missing), ("has the unknown", unknown)):
        if names:
            raise InputError(f"{source}: {wrong} {names[0]}, {len(names)} in all (must have torchvision's names)")
    for name, value in stored.items():
        if value.shape != own[name].shape:
            raise InputError(f"{source}: {name} is {list(value.shape)} (must be {list(own[name].shape)})")
    with torch.no_grad():
        for name, value in stored.items():
            own[name].copy_(value)


def _named(name: str, value: Tensor) -> tuple[str, Tensor]:
    """A weight by torchvision's name, in its shape."""
    for theirs, ours in _FOREIGN.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs), value.flatten(1) if value.ndim == 4 else value
    return name, value


def _without_classifier(stored: dict[str, Tensor], own: dict[str, Tensor], classifier: str) -> str | None:
    """Takes the classifier out of `stored` where it is not the model's; its name if the model has another one."""
    weight = f"{classifier}.weight"
    if weight not in stored or (weight in own and stored[weight].shape[0] == own[weight].shape[0]):
        return None
    for name in (weight, f"{classifier}.bias"):
        stored.pop(name, None)
    return classifier if weight in own else None


def _may_miss(name: str, classifier: str | None) -> bool:
    """The counter of batch norm is in newer files only."""
    return name.endswith("num_batches_tracked") or (classifier is not None and name.startswith(f"{classifier}."))


def _read(source: str) -> dict[str, Tensor]:
    import safetensors.torch

    path = _fetch_weights(source) if source.startswith(HUB) else Path(source)
    try:
        return safetensors.torch.load_file(path)
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror or error})") from None
    except safetensors.SafetensorError as error:
        raise InputError(f"{source}: no safetensors ({error})") from None


def _fetch_weights(source: str) -> Path:
    import huggingface_hub  # takes .1 s

    repo = source.removeprefix(HUB)
    try:
        return Path(huggingface_hub.hf_hub_download(repo, FILE, etag_timeout=_SECONDS))
    except Exception as error:  # the Hub's client and the HTTP libraries below it share no base class
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(
            f"{source}: {FILE} is not to be had from the Hugging Face Hub (offline, or no such model): {reason}"
        ) from None
