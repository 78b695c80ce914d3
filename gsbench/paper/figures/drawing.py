"""Pictures of Gaussians for the figures: from where, and as what."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from gsbench.core.geometry import intrinsics, look_at
from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Cameras, Gaussians
from gsbench.paper.figures.sheet import Sheet, require
from gsbench.render.splats import rasterize

_UP = np.array([0.0, 0.0, 1.0])
DISTANCE = 3.0
"""Of the cameras of these pictures from what they look at."""


def direction(azimuth_deg: float, elevation_deg: float) -> Float[Array, "3"]:
    """The unit vector towards an azimuth (from x to y) and an elevation."""
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    return np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])


def camera_at(
    towards: Float[Array, "3"],
    size: int,
    target: Float[Array, "3"] | None = None,
    extent: float = 1.0,
    distance: float = DISTANCE,
) -> Cameras:
    """One camera that a ball just fills the image of.

    Args:
        towards: unit vector from the target to the camera.
        size: width and height in pixels.
        target: center of the ball; None is the origin.
        extent: radius of the ball.
        distance: from the target to the camera.
    """
    center = np.zeros(3) if target is None else np.asarray(target, np.float64)
    viewmats = look_at((center + distance * np.asarray(towards))[None], center, _UP)
    fov = 2 * float(np.degrees(np.arcsin(extent / distance)))
    return Cameras(viewmats, intrinsics(1, fov, size, size), size, size)


def enlarged(camera: Cameras, size: int) -> Cameras:
    """The same camera with an image of `size` pixels."""
    scale = np.array([size / camera.width, size / camera.height, 1], np.float32)
    return Cameras(camera.viewmats, camera.Ks * scale[:, None], size, size)


def extent_of(gaussians: Gaussians) -> float:
    """Radius of the ball about the origin that holds nearly all of an object's Gaussians."""
    return float(np.quantile(np.linalg.norm(gaussians.means, axis=1), 0.998)) * 1.04


def project(points: Float[Array, "*n 3"], camera: Cameras) -> Float[Array, "*n 3"]:
    """Pixel coordinates and depth of points in the world."""
    seen = points @ camera.viewmats[0, :3, :3].T + camera.viewmats[0, :3, 3]
    pixels = seen @ camera.Ks[0].T
    return np.concatenate([pixels[..., :2] / pixels[..., 2:], seen[..., 2:]], axis=-1)


def picture(gaussians: Gaussians, camera: Cameras) -> Float32[Array, "h w 3"]:
    """What one camera sees, over white, by the rasterizer that scores Gaussians."""
    return rasterize(gaussians, camera).rgb[0].clip(0, 1)


def shrunk(gaussians: Gaussians, factor: float) -> Gaussians:
    """The Gaussians at a part of their size, so that each can be told from its neighbors."""
    return replace(gaussians, scales=(factor * gaussians.scales).astype(np.float32))


def draw_dots(
    axes: Any,
    positions: Float[Array, "n 3"],
    colors: Float[Array, "n 3"],
    radius: float,
    camera: Cameras,
    box: tuple[slice, slice],
) -> None:
    """Disks for where Gaussians are rather than what they look like, as vectors; nearer ones hide others.

    Args:
        axes: a panel; it then shows the pixels of `box` and nothing else.
        positions: in the world.
        colors: sRGB, 0..1.
        radius: of a ball in the world that a disk has the size of.
        camera: that sees them.
        box: rows and columns of its image.
    """
    from matplotlib.collections import EllipseCollection

    seen = project(positions, camera)
    order = np.argsort(-seen[:, 2], kind="stable")
    width = 2 * radius * camera.Ks[0, 0, 0] / seen[order, 2]
    places = seen[order, :2] - (box[1].start, box[0].start)
    disks = EllipseCollection(
        width, width, np.zeros(len(width)), units="xy", offsets=places, transOffset=axes.transData,
        facecolors=colors[order], linewidths=0,
    )  # fmt: skip
    axes.add_collection(disks)
    axes.set_xlim(0, box[1].stop - box[1].start)
    axes.set_ylim(box[0].stop - box[0].start, 0)
    axes.set_axis_off()


def faded(
    positions: Float[Array, "n 3"], towards: Float[Array, "3"], ink: tuple[float, float, float]
) -> Float[Array, "n 3"]:
    """A color for each position: ink in front, paler the further it is from the viewer."""
    depth = -positions @ np.asarray(towards)
    share = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-9)
    return np.asarray(ink) + (0.9 - np.asarray(ink)) * 0.7 * share[:, None]


def drawn_box(*images: Float[Array, "h w 3"]) -> tuple[slice, slice]:
    """The smallest square of the images, with a margin, outside which all of them are white."""
    drawn: Bool[Array, "h w"] = np.any([image.min(axis=-1) < 0.995 for image in images], axis=0)
    size = len(drawn)
    if not drawn.any():
        return slice(0, size), slice(0, size)
    rows, columns = (np.flatnonzero(drawn.any(axis=axis)) for axis in (1, 0))
    half = min(size / 2, max(np.ptp(rows), np.ptp(columns)) / 2 + 1 + 0.03 * size)
    centers = ((values[0] + values[-1] + 1) / 2 for values in (rows, columns))
    starts = [round(float(np.clip(center - half, 0, size - 2 * half))) for center in centers]
    side = int(2 * half)
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


PERPLEXITY = 30
_SEED = 0
_MARKERS = "osD^v<>pPX"
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
