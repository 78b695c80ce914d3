"""How gsbench calls a model: what it raises, or returns wrongly, is told in one line."""

import contextlib
import importlib.util
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Batch


class Classifier(nn.Module):
    """A linear layer on an encoder's features, which batch norm brings to mean 0 and deviation 1.

    Args:
        encoder: a PairBaseline.
        width: of its features.
        num_classes: number of classes.
    """

    def __init__(self, encoder: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.last = nn.Linear(width, num_classes)

    def loss(self, batch: Batch, label_smoothing: float) -> Tensor:
        """Cross-entropy of a batch of one modality."""
        return F.cross_entropy(self.logits(batch), batch.labels, label_smoothing=label_smoothing)

    def embed(self, batch: Batch) -> Tensor:
        """Features `[b width]` of a batch of one modality."""
        return self.encoder.embed(batch)  # type: ignore[operator]

    def logits(self, batch: Batch) -> Tensor:
        """Class scores `[b num_classes]`."""
        features = self.embed(batch)
        with torch.autocast(features.device.type, enabled=False):
            return self.last(self.norm(features.float()))


_SHIPPED = "gsbench_baselines"
_SHOWN = 300  # characters of what a model raises


class ModelError(InputError):
    """A model that raises, or returns what it must not: the message names its file, its class and the method."""


@contextlib.contextmanager
def blamed(net: nn.Module, method: str) -> Iterator[None]:
    """What a third party's method raises is a ModelError; what one of gsbench's own raises is a fault, and stays so.

    Memory that ends on a GPU stays `torch.OutOfMemoryError`, and on a CPU becomes an InputError.
    """
    try:
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            raise ModelError(
                f"{_name(net)}.{method}: the machine's memory ends (allowed: fewer points or views, a smaller "
                "images.size, or a smaller train.batch_size)"
            ) from error
        if _is_shipped(type(_own(net))):
            raise
        what = " ".join(str(error).split())[:_SHOWN]
        raise ModelError(f"{_name(net)}.{method} raises {type(error).__name__}: {what}") from error


def loss_of(net: nn.Module, batch: Batch, label_smoothing: float) -> Float[Tensor, ""]:
    """The loss of a batch, a scalar that gradients come from.

    Raises:
        ModelError: it raises, or returns anything else.
    """
    with blamed(net, "loss"):
        loss = net.loss(batch, label_smoothing)  # type: ignore[operator]
    _check(net, "loss", loss, ())
    if not loss.requires_grad:
        raise ModelError(f"{_name(net)}.loss returns what depends on no parameter (must have a gradient)")
    return loss


def logits_of(net: nn.Module, batch: Batch, num_classes: int | None = None) -> Float[Tensor, "b c"]:
    """Class scores of a batch; ModelError as `loss_of`, and where there are not `num_classes` of them."""
    with blamed(net, "logits"):
        logits = net.logits(batch)  # type: ignore[operator]
    return _check(net, "logits", logits, (len(batch.ids), num_classes))


def features_of(net: nn.Module, batch: Batch, width: int | None = None) -> Float[Tensor, "b d"]:
    """Features of a batch by `embed`; ModelError as `loss_of`, and where they are not `width` channels."""
    with blamed(net, "embed"):
        features = net.embed(batch)  # type: ignore[operator]
    return _check(net, "embed", features, (len(batch.ids), width))


def match_of(net: nn.Module, images: Float[Tensor, "b d"], points: Float[Tensor, "b e"]) -> Float[Tensor, " b"]:
    """Log-odds that image features and point features are of one object; ModelError as `loss_of`."""
    with blamed(net, "same_object"):
        odds = net.same_object(images, points)  # type: ignore[operator]
    return _check(net, "same_object", odds, (len(images),))


def check_finite(net: nn.Module, method: str, values: Float[Array, "n *d"], ids: Sequence[str]) -> None:
    """Raises a ModelError that names the first object whose values are not all finite numbers."""
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(1)
    if bad.any():
        raise ModelError(
            f"{_name(net)}.{method} is not finite for {ids[int(bad.argmax())]}, and {bad.sum()} of {len(bad)} in all "
            "(must be finite: the model has diverged, a lower train.lr may help)"
        )


def _check(net: nn.Module, method: str, value: object, shape: tuple[int | None, ...]) -> Tensor:
    """The value, where it is a tensor of floats of that shape; None is any length of at least 1."""
    if isinstance(value, Tensor) and value.is_floating_point() and value.ndim == len(shape):
        lengths = zip(value.shape, shape, strict=True)
        if all(length > 0 if wanted is None else length == wanted for length, wanted in lengths):
            return value
    found = f"{value.dtype} of shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    wanted = "a scalar" if shape == () else f"of shape [{', '.join('any' if n is None else str(n) for n in shape)}]"
    raise ModelError(f"{_name(net)}.{method} returns {found} (must be a tensor of floats, {wanted})")


def _own(net: nn.Module) -> nn.Module:
    """The model that a recipe names: of a fine-tuned one, the encoder."""
    return net.encoder if isinstance(net, Classifier) else net


def _is_shipped(kind: type) -> bool:
    """Whether a model's class comes with gsbench."""
    spec, file = importlib.util.find_spec(_SHIPPED), _file(kind)
    roots = list(spec.submodule_search_locations or []) if spec else []
    return file is not None and any(file.is_relative_to(Path(root).resolve()) for root in roots)


def _file(kind: type) -> Path | None:
    try:
        return Path(inspect.getfile(kind)).resolve()
    except (TypeError, OSError):  # a class that stands in no file
        return None


def _name(net: nn.Module) -> str:
    kind = type(_own(net))
    file = _file(kind)
    return f"{file.name}: {kind.__name__}" if file else kind.__name__
