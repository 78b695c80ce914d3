"""A model's weights as safetensors, and whether stored ones fit it."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from gsbench.core.parsing import InputError


def weights_sha256(model: nn.Module) -> str:
    """Hex digest of a model's weights, that of the file `save_pretrained` makes of them."""
    return hashlib.sha256(as_safetensors(model)).hexdigest()


def as_safetensors(model: nn.Module) -> bytes:
    """The bytes of a safetensors file with a model's weights and buffers."""
    return safetensors.torch.save({name: value.cpu().contiguous() for name, value in model.state_dict().items()})


def parse_weights(data: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors in the bytes of a safetensors file; an InputError names `path` where they are none."""
    try:
        return safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:  # KeyError: of a new type
        raise InputError(f"{path}: no safetensors ({' '.join(str(error).split())})") from None


def feature_width(stored: dict[str, Tensor], path: Path) -> int:
    """Width of the features that a stored classifier is on."""
    weight = stored.get("last.weight")
    if weight is None or weight.ndim != 2:
        raise InputError(f"{path}: lacks last.weight of two dimensions (must have the weights of a fine-tuned encoder)")
    return weight.shape[1]


def check_shapes(build: Callable[[], nn.Module], stored: dict[str, Tensor], path: Path) -> None:
    """Refuses options that are not those of the weights before memory is asked for, as far as the class allows it."""
    try:
        with torch.device("meta"):
            net = build()
    except Exception:
        return  # some constructors want numbers; then the real one says what is wrong
    check_weights(net, stored, path)


def check_weights(net: nn.Module, stored: dict[str, Tensor], path: Path) -> None:
    """Refuses tensors that are not those of the model by name, shape, type, or because they are not finite."""
    own, learned = net.state_dict(), {name for name, _ in net.named_parameters(remove_duplicate=False)}
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
        # A buffer may hold infinities on purpose, such as those of a mask.
        if value.isnan().any() or (name in learned and not value.isfinite().all()):
            raise InputError(f"{path}: {name} is not finite (must be numbers: a training that diverged left none)")
