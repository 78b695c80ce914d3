"""Figure 7: what an encoder makes of test objects, laid out in the plane by t-SNE."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from gsbench.core.parsing import InputError
from gsbench.core.types import Array
from gsbench.paper.figures.sheet import Sheet, require

PERPLEXITY = 30
_SEED = 0
_MARKERS = "osD^v"
_WIDTH, _CELL, _GAP = 7.6, 1.78, 0.09
_LEGEND_COLUMNS = 5


@dataclass(frozen=True, slots=True)
class Panel:
    """Features of the test objects, and what they are of in words."""

    title: str
    features: Float[Array, "n d"]


def draw_embedding(panels: Sequence[Panel], labels: Int[Array, " n"], classes: Sequence[str], about: str) -> Sheet:
    """Panels side by side, colored by class, each above its silhouette scores.

    Args:
        panels: up to four, of the same objects in the same order.
        labels: class indices of the objects.
        classes: names.
        about: what begins the caption: data and encoder.

    Raises:
        InputError: too few objects or classes to lay out, features that are not finite or all alike, or matplotlib or
            openTSNE is not installed.
    """
    require("matplotlib", "openTSNE")
    if len(labels) < 5 or len(np.unique(labels)) < 2:
        raise InputError(f"{len(labels)} test objects of {len(np.unique(labels))} classes (figure7 needs 5 of 2)")
    for panel in panels:
        if not np.isfinite(panel.features).all():
            raise InputError(f"{panel.title}: features that are not finite (the encoder has diverged)")
        if not np.ptp(panel.features, axis=0).any():
            raise InputError(f"{panel.title}: all objects have the same features (figure7 needs some to differ)")
    planes = [lay_out(panel.features) for panel in panels]
    both = zip((panel.features for panel in panels), planes, strict=True)
    scores = [[silhouette(values, labels) for values in pair] for pair in both]
    of_features, of_layouts = (", ".join(f"{value:.2f}" for value in column) for column in zip(*scores, strict=True))
    caption = (
        f"{about} t-SNE of the frozen features of the {len(labels):,} test objects (openTSNE, perplexity "
        f"{_perplexity(len(labels)):g}, started from their principal components), each panel by itself, so that "
        "places and distances do not compare across panels. Mean silhouette by class (-1 to 1, Euclidean) of the "
        f"features themselves, which is a property of the encoder: {of_features}; of their layout: {of_layouts}."
    )
    rows = math.ceil(len(classes) / _LEGEND_COLUMNS)
    sheet = Sheet(_WIDTH, 0.3 + _CELL + 0.22 + 0.17 * rows, caption)
    for number, (panel, plane) in enumerate(zip(panels, planes, strict=True)):
        left = (_WIDTH - len(panels) * (_CELL + _GAP) + _GAP) / 2 + number * (_CELL + _GAP)
        axes = sheet.axes(left, 0.28, _CELL, _CELL, panel.title)
        _scatter(axes, plane, labels, len(classes))
        note = "silhouette {:.2f} (layout {:.2f})".format(*scores[number])
        sheet.text(left + _CELL / 2, 0.28 + _CELL + 0.15, note, ha="center", va="baseline", size=7)
    sheet.legend(0.28 + _CELL + 0.2, [_style(index) for index in range(len(classes))], classes, _LEGEND_COLUMNS)
    return sheet


def lay_out(features: Float[Array, "n d"]) -> Float[Array, "n 2"]:
    """Features in the plane by t-SNE; equal features give the same plane."""
    from openTSNE import TSNE

    return np.asarray(
        TSNE(
            perplexity=_perplexity(len(features)),
            initialization="pca",
            negative_gradient_method="bh",
            random_state=_SEED,
            n_jobs=1,
        ).fit(features.astype(np.float64))
    )


def _perplexity(count: int) -> float:
    """The usual one, or less where there are fewer than three times as many neighbors."""
    return min(PERPLEXITY, (count - 1) // 3)


def silhouette(features: Float[Array, "n d"], labels: Int[Array, " n"]) -> float:
    """How much nearer objects are to their own class than to the next one: the mean silhouette, -1 to 1 (Rousseeuw)."""
    from sklearn.metrics import silhouette_score  # takes a second

    return float(silhouette_score(features, labels))


def _style(index: int) -> dict[str, Any]:
    """Color and shape of a class: both tell ten of them apart."""
    return {
        "color": f"C{index % 10}",
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 2.6,
        "markeredgewidth": 0,
        "linestyle": "none",
    }


def _scatter(axes: Any, plane: Float[Array, "n 2"], labels: Int[Array, " n"], classes: int) -> None:
    for index in range(classes):
        axes.plot(*plane[labels == index].T, alpha=0.75, **_style(index))
    middle, reach = (plane.max(0) + plane.min(0)) / 2, 0.54 * float(np.ptp(plane, axis=0).max())
    axes.set_xlim(middle[0] - reach, middle[0] + reach)
    axes.set_ylim(middle[1] - reach, middle[1] + reach)
    axes.set_xticks([])
    axes.set_yticks([])
