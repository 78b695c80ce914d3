"""Figure 4: where an object's Gaussians crowd."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Cameras, Gaussians
from gsbench.paper.figures.drawing import (
    camera_at,
    direction,
    draw_dots,
    drawn_box,
    extent_of,
    picture,
    project,
    shrunk,
)
from gsbench.paper.figures.gallery import draw_path, draw_sampling, draw_views
from gsbench.paper.figures.sheet import TIMES, Sheet, require, to_pixels
from gsbench.paper.figures.subject import objects_like, open_subject
from gsbench.render.splats import rasterize
from gsbench.store.folder import Folder, load_object

NEIGHBOURS = 8
"""Over how many neighbors the crowding at a Gaussian is measured."""

_REACH = 0.16
_SHRINK = 0.5
_SIZE = 720
_LOOK_SIZE = 96
_AT_SURFACE = 0.05
_ELEVATIONS_DEG, _AZIMUTHS = (20, 45, 70), 8


@dataclass(frozen=True, slots=True)
class Crowd:
    """Where Gaussians crowd, seen from one side, so that the two sides of a thin wall do not count as a crowd.

    Attributes:
        towards: unit vector to the side.
        seen: `[n]` which Gaussians of the object are at the surface that is seen from there.
        center: of the ball that holds the most of those.
        inside: `[m]` which of those it holds.
        density: `[m]` of those, Gaussians per unit area.
    """

    towards: Float[Array, "3"]
    seen: Bool[Array, " n"]
    center: Float[Array, "3"]
    inside: Bool[Array, " m"]
    density: Float[Array, " m"]

    @property
    def contrast(self) -> float:
        """How many times denser the median Gaussian of the ball stands than the median of the rest."""
        rest = self.density[~self.inside]
        return float(np.median(self.density[self.inside]) / np.median(rest if len(rest) else self.density))


def find_crowd(gaussians: Gaussians) -> Crowd:
    """The side and the place, of those all around the object, where the most Gaussians are in one small ball."""
    azimuths = np.arange(_AZIMUTHS) * 360 / _AZIMUTHS
    sides = [direction(azimuth, elevation) for elevation in _ELEVATIONS_DEG for azimuth in azimuths]
    looks = [(side, seen) for side in sides if (seen := in_sight(gaussians, side)).sum() > 1]
    if not looks:
        raise InputError("no Gaussians at a surface that can be seen (figure4 needs some)")
    balls = [fullest_ball(gaussians.means[seen]) for _, seen in looks]
    best = max(range(len(looks)), key=lambda look: int(balls[look][1].sum()))
    (towards, seen), (center, inside) = looks[best], balls[best]
    return Crowd(towards, seen, center, inside, density_of(gaussians.means[seen]))


def fullest_ball(means: Float[Array, "m 3"], reach: float = _REACH) -> tuple[Float[Array, "3"], Bool[Array, " m"]]:
    """The center of the ball of radius `reach` about a mean that holds the most of them, and which ones it holds."""
    counts = cKDTree(means).query_ball_point(means, reach, return_length=True)
    center = np.asarray(means[int(np.argmax(counts))])
    return center, np.linalg.norm(means - center, axis=1) <= reach


def density_of(means: Float[Array, "m 3"]) -> Float[Array, " m"]:
    """Gaussians per unit area at each: k / (pi d^2), d the distance to its k-th neighbor, as they lie on surfaces."""
    neighbors = min(NEIGHBOURS, len(means) - 1)
    distances = cKDTree(means).query(means, neighbors + 1)[0][:, -1]
    return np.asarray(neighbors / (np.pi * np.maximum(distances, 1e-6) ** 2))


def in_sight(gaussians: Gaussians, towards: Float[Array, "3"]) -> Bool[Array, " n"]:
    """Which centers lie at the surface that is seen from a side, not behind or below it."""
    camera = camera_at(towards, _LOOK_SIZE)
    depth = rasterize(gaussians, camera).depth[0]
    x, y, z = project(gaussians.means, camera).T
    column, row = (np.clip(values.astype(np.int64), 0, _LOOK_SIZE - 1) for values in (x, y))
    return np.asarray(np.abs(depth[row, column] - z) < _AT_SURFACE)


def most_crowded(folder: Folder, like: str) -> tuple[str, str]:
    """The test object of a class that has the largest share of its Gaussians in one place, and that in words.

    Args:
        folder: an open data folder with Gaussians.
        like: a class; where the data set lacks it, the first class stands in.
    """
    label, ids = objects_like(folder, like)

    def share(object_id: str) -> float:
        gaussians = load_object(folder, object_id)
        return int(find_crowd(gaussians).inside.sum()) / len(gaussians)

    return max(ids, key=share), f"of its {len(ids)} {label}s the one that crowds most"


def draw_detail(folder: Folder, object_id: str | None) -> Sheet:
    """Figure 4: how densely Gaussians stand over an object, and the place where they crowd.

    Raises:
        InputError: no such object, or no Gaussians in the folder.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    subject = open_subject(folder, *(most_crowded(folder, "bathtub") if object_id is None else (object_id,)))
    gaussians, crowd = subject.gaussians, find_crowd(subject.gaussians)
    count, shown = int(crowd.inside.sum()), gaussians.means[crowd.seen]
    caption = (
        f"{subject.provenance} Left: the centers of the {len(shown):,} at the surface that is seen from here, colored "
        f"by how many there are per unit area (from the distance to the {NEIGHBOURS}th neighbor; the unit sphere "
        f"holds the object). The ring is a ball of radius {_REACH:g}; place and side are those where it holds the "
        f"most: {count:,}, {100 * count / len(shown):.0f} % of them, which stand {crowd.contrast:.1f} times as densely "
        "as the rest, median to median. Middle: that place, drawn by our CPU rasterizer. Right: the same Gaussians at "
        f"{_SHRINK:g} of their size."
    )
    sheet = Sheet(7.6, 2.65, caption)
    camera = camera_at(crowd.towards, _SIZE, extent=extent_of(gaussians))
    low, high = np.quantile(crowd.density, (0.02, 0.98))
    colors = ScalarMappable(LogNorm(low, max(high, 1.01 * low)), "plasma_r")
    box = drawn_box(picture(gaussians, camera))
    axes = sheet.axes(0.1, 0.3, 2.25, 2.25, "centers seen from here")
    draw_dots(axes, shown, colors.to_rgba(crowd.density)[:, :3], 0.014, camera, box)
    _ring(axes, crowd, camera, (box[1].start, box[0].start))
    bar = sheet.color_bar((2.45, 0.45, 0.07, 1.95), colors, "Gaussians per unit area")
    bar.set_ticks(_round_numbers(float(low), float(high)), minor=False)
    bar.ax.minorticks_off()
    bar.ax.yaxis.set_major_formatter("{x:,g}")
    zoom = camera_at(crowd.towards, _SIZE, crowd.center, 1.25 * _REACH)
    for left, title, drawn in (
        (3.25, "where they crowd", gaussians),
        (5.4, f"the same, {TIMES} {_SHRINK:g}", shrunk(gaussians, _SHRINK)),
    ):
        panel = sheet.image((left, 0.3, 2.05), to_pixels(picture(drawn, zoom)), title, smooth=True)
        _ring(panel, crowd, zoom, (0, 0))
    return sheet


def _round_numbers(low: float, high: float) -> list[float]:
    """The numbers 1, 2 and 5 times a power of ten in a range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [number for power in powers for digit in (1, 2, 5) if low <= (number := digit * 10.0**power) <= high]


def _ring(axes: Any, crowd: Crowd, camera: Cameras, origin: tuple[int, int]) -> None:
    """The ball's outline in a panel whose image begins at the pixel `origin` of what the camera sees."""
    from matplotlib.patches import Circle

    seen = camera.viewmats[0, :3, :3] @ crowd.center + camera.viewmats[0, :3, 3]
    x, y, _ = camera.Ks[0] @ seen / seen[2]
    radius = camera.Ks[0, 0, 0] * _REACH / seen[2]
    axes.add_patch(Circle((x - origin[0], y - origin[1]), radius, fill=False, edgecolor="black", linewidth=0.9))


OF_DATA: dict[str, Callable[[Folder, str | None], Sheet]] = {
    "figure1": draw_views,
    "figure2": draw_sampling,
    "figure3": draw_path,
    "figure4": draw_detail,
}
"""Figures of one object of a data folder; the others show what a model has learned."""


def draw_object(name: str, folder: Folder, object_id: str | None = None) -> Sheet:
    """Draws a figure of one object of a data folder; `Sheet.save` writes it.

    Args:
        name: a key of `OF_DATA`.
        folder: an open data folder.
        object_id: of either split; None takes the test object of median PSNR in the class that the published figure
            shows.

    Raises:
        InputError: no such object, or a folder that lacks what the figure shows, or matplotlib is not installed.
    """
    require("matplotlib")
    return OF_DATA[name](folder, object_id)
