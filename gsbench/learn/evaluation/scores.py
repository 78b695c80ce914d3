"""From a trained model to predictions, and to the published figure beside them."""

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from gsbench.core.recipe import Recipe, Reported
from gsbench.core.results import PROBABILITY_DIGITS, Pretext
from gsbench.core.tasks import Task
from gsbench.core.types import Array
from gsbench.learn.calls import check_finite, logits_of
from gsbench.learn.data import Objects
from gsbench.learn.precision import exact_float32

_EVAL_BATCH = 32


@exact_float32()
@torch.no_grad()
def predict(model: nn.Module, objects: Objects, num_classes: int | None = None) -> Float64[Array, "n c"]:
    """Class probabilities of all objects, in float32 arithmetic, rounded as a Result file rounds them.

    Args:
        model: a Baseline, on the objects' device.
        objects: of one modality.
        num_classes: that there must be; None takes as many as the model has.

    Raises:
        InputError: the model raises, or its logits are no floats of that shape, or not finite.
    """
    model.eval()
    parts: list[torch.Tensor] = []
    for part in torch.arange(len(objects), device=objects.labels.device).split(_EVAL_BATCH):
        width = parts[0].shape[1] if parts else num_classes
        parts.append(logits_of(model, objects.batch(part), width))
    logits = torch.cat(parts).double().cpu()
    check_finite(model, "logits", logits.numpy(), objects.ids)
    return as_predictions(torch.softmax(logits, 1).numpy())


def as_predictions(probabilities: Float64[Array, "n c"]) -> Float64[Array, "n c"]:
    """Probabilities rounded as a Result file rounds them; each row still sums to 1 and has its largest where it was."""
    rows, largest = np.arange(len(probabilities)), probabilities.argmax(1)
    rounded = probabilities.round(PROBABILITY_DIGITS)
    # What rounding took from the sum goes to the largest; what would then be its equal gives way to it.
    rounded[rows, largest] += 1 - rounded.sum(1)
    equals = rounded >= rounded[rows, largest][:, None]
    equals[rows, largest] = False
    rounded -= equals * 10.0**-PROBABILITY_DIGITS
    rounded[rows, largest] += equals.sum(1) * 10.0**-PROBABILITY_DIGITS
    return np.asarray(rounded.round(PROBABILITY_DIGITS))


def find_reported(recipe: Recipe, task: Task, of_data: str | None, pretext: Pretext | None = None) -> Reported | None:
    """The published figure of the recipe that a task's score stands beside.

    `of_data` is the data set whose figures these may be, as `gsbench.store.origin.published_name` tells it. A figure
    of images that names features means those of the Gaussians that the encoder learnt from. None is published on novel
    cameras.
    """
    features = task.features or (pretext and pretext.features)
    for figure in recipe.reported:
        shape = (figure.modality, figure.regime, figure.protocol, "train")
        same_features = features in (None, figure.features)
        published = (figure.sampling, figure.num_views, figure.views_from)
        ours = (task.sampling, task.num_views, task.views_from)
        same_inputs = all(theirs in (None, own) for theirs, own in zip(published, ours, strict=True))
        scored = (task.modality, task.regime, task.protocol, task.cameras)
        if figure.dataset == of_data and same_features and same_inputs and shape == scored:
            return figure
    return None
