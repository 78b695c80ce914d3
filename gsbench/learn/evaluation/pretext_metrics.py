"""Scores of the pretext tasks on the test objects: are views of one object near, do images and Gaussians match?"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor, nn

from gsbench.core.metrics import mean_and_std, require_finite
from gsbench.core.types import Array, Batch
from gsbench.learn.calls import check_finite, features_of, match_of
from gsbench.learn.data import Objects, draw_pairs
from gsbench.learn.precision import exact_float32

REPEATS = 5
"""How often pairs, and the points of each object, are drawn; the same for every model."""

FLOOR = 2 / 3
"""Cross-modality accuracy of always saying yes: of three pairs, two are of one object."""

_SCORES = ("mpd_positive", "mpd_negative", "mpd_ratio", "mpd_auc", "cross_modality_accuracy", "cross_modality_balanced")
SCORE_KEYS = ("cross_modality_floor", *(f"{key}{end}" for key in _SCORES for end in ("", "_low", "_high")))
"""The keys of `pretext_scores`."""

_BATCH = 32


@exact_float32()
@torch.no_grad()
def pretext_scores(
    net: nn.Module,
    objects: Objects,
    points: Callable[[int], Float32[Array, "n e"]],
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Scores of the published pretext tasks, each a mean over repeats, with `_low` and `_high` of its 95 % interval.

    In a repeat, each object gives two of its views and one of another object, of the same class or not, as in training,
    and points that are drawn anew.
    `mpd_positive` and `mpd_negative` are the mean distances of the first view's features from the second's and from
    the third's, `mpd_ratio` is the second over the first, and `mpd_auc` how likely a distance to another object is the
    larger one, which no scale changes. `cross_modality_accuracy` is how often the model is right in whether each of
    the three views and the object's Gaussians are of one object (`cross_modality_floor`: always yes), and
    `cross_modality_balanced` its mean over the two answers.

    Args:
        net: a PairBaseline on `device`.
        objects: points and images of the test objects, in main memory, so that the draws are those of every machine.
        points: sampling draw -> features of the same objects' points.
        device: of the model.
        progress: called with views whose features are taken, and views in all.

    Raises:
        InputError: the model raises, or returns what is no floats of the right shape, or not finite.
    """
    net.eval()
    repeats = []
    for repeat in range(REPEATS):
        seen = torch.from_numpy(points(repeat)).to(device)
        views = _views(net, objects, repeat, device, progress)
        odds = [match_of(net, view.to(device), seen).float().cpu().numpy() for view in views]
        check_finite(net, "same_object", np.stack(odds, 1), objects.ids)
        first, second, other = (view.numpy() for view in views)
        near, far = paired_distances(first, second), paired_distances(first, other)
        accuracy, balanced = match_metrics(np.concatenate(odds[:2]), odds[2])
        repeats.append(
            {
                "mpd_positive": float(near.mean()),
                "mpd_negative": float(far.mean()),
                "mpd_ratio": float(far.mean() / max(near.mean(), 1e-12)),
                "mpd_auc": auc(near, far),
                "cross_modality_accuracy": accuracy,
                "cross_modality_balanced": balanced,
            }
        )
    scores = {"cross_modality_floor": FLOOR}
    for key in _SCORES:
        scores[key], scores[f"{key}_low"], scores[f"{key}_high"] = mean_interval([values[key] for values in repeats])
    return scores


def _views(
    net: nn.Module, objects: Objects, repeat: int, device: torch.device, progress: Callable[[int, int], None] | None
) -> tuple[Float32[Tensor, "n d"], ...]:
    """Features of two views of each object and of one of another."""
    generator = torch.Generator().manual_seed(repeat)
    parts = []
    for index in torch.arange(len(objects)).split(_BATCH):
        images = draw_pairs(objects, index, generator).images
        assert images is not None, "pairs have images"
        alone = images.flatten(0, 1)[:, None].to(device)  # each view an object of its own
        batch = Batch(("",) * len(alone), torch.zeros(len(alone), dtype=torch.int64, device=device), images=alone)
        parts.append(features_of(net, batch).float().cpu().unflatten(0, images.shape[:2]))
        if progress:
            progress(repeat * len(objects) + int(index[-1]) + 1, REPEATS * len(objects))
    features = torch.cat(parts)
    check_finite(net, "embed", features.numpy(), objects.ids)
    return features.unbind(1)


_T95 = {2: 12.706205, 3: 4.302653, 4: 3.182446, 5: 2.776445, 6: 2.570582, 7: 2.446912, 8: 2.364624, 9: 2.306004}
"""97.5 % quantile of Student's t by number of values."""


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean of 2 to 9 repeats, and its 95 % interval by Student's t."""
    mean, spread = mean_and_std(values)
    assert spread is not None, "there are repeats"
    half = _T95[len(values)] * spread / math.sqrt(len(values))
    return mean, mean - half, mean + half


def paired_distances(a: Float[Array, "n d"], b: Float[Array, "n d"]) -> Float64[Array, " n"]:
    """Euclidean distance of each row of `a` from the same row of `b`; an InputError where they are not finite."""
    require_finite(a=a, b=b)
    return np.asarray(np.linalg.norm(a.astype(np.float64) - b, axis=1))


def auc(low: Float[Array, " n"], high: Float[Array, " m"]) -> float:
    """How likely a value of `high` is above one of `low`; equals count half. Depends on no scale.

    Raises:
        InputError: a value is not finite.
    """
    require_finite(low=low, high=high)
    ordered = np.sort(low)
    below, up_to = np.searchsorted(ordered, high, "left"), np.searchsorted(ordered, high, "right")
    return float((below + up_to).mean() / (2 * len(low)))


def match_metrics(same: Float[Array, " n"], different: Float[Array, " m"]) -> tuple[float, float]:
    """Accuracy of a yes-or-no answer, and its mean over the two kinds of pairs, which knows no majority.

    Args:
        same: log-odds of pairs that are of one object: right above 0.
        different: those of pairs that are not: right up to 0.

    Raises:
        InputError: log-odds that are not finite.
    """
    require_finite(same=same, different=different)
    right_same, right_different = same > 0, different <= 0
    accuracy = (right_same.sum() + right_different.sum()) / (len(same) + len(different))
    return float(accuracy), float((right_same.mean() + right_different.mean()) / 2)
