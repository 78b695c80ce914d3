"""Figure 4: where an object's Gaussians crowd."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from gsbench.figures.drawing import DISTANCE, camera_at, direction, dots, drawn_box, extent_of, picture, project, shrunk
from gsbench.figures.sheet import TIMES, Sheet, to_pixels
from gsbench.figures.subject import objects_like, open_subject
from gsbench.geometry import rgb_to_dc, spiral_rig
from gsbench.render.splats import rasterize
from gsbench.store.folder import Folder
from gsbench.store.gaussians import load_object
from gsbench.types import Array, Cameras, Gaussians

NEIGHBOURS = 8
"""Over how many neighbours the crowding at a Gaussian is measured."""

_REACH = 0.16
_SHRINK = 0.5
_SIZE = 720
_LOOK_SIZE, _LOOKS = 96, 24
_AT_SURFACE = 0.05
_ELEVATIONS_DEG, _AZIMUTHS = (-10, 15, 35, 60), 12


@dataclass(frozen=True, slots=True)
class Crowd:
    """Where Gaussians crowd.

    Attributes:
        centre: of the ball that holds the most of them.
        inside: which ones it holds.
        density: Gaussians per unit area at each, from the distance to its neighbours.
    """

    centre: Float[Array, "3"]
    inside: Bool[Array, " n"]
    density: Float[Array, " n"]

    @property
    def contrast(self) -> float:
        """How many times denser the median Gaussian of the ball stands than the median of the rest."""
        rest = self.density[~self.inside]
        return float(np.median(self.density[self.inside]) / np.median(rest if len(rest) else self.density))


def find_crowd(means: Float[Array, "n 3"], reach: float = _REACH) -> Crowd:
    """The ball of radius `reach` about a Gaussian that holds the most Gaussians, and how densely all of them stand.

    A Gaussian's density is k / (pi d^2), where d is the distance to its k-th neighbour: they lie on surfaces.
    """
    tree = cKDTree(means)
    centre = means[int(np.argmax(tree.query_ball_point(means, reach, return_length=True)))]
    neighbours = min(NEIGHBOURS, len(means) - 1)
    distances = tree.query(means, neighbours + 1)[0][:, -1]
    density = neighbours / (np.pi * np.maximum(distances, 1e-6) ** 2)
    return Crowd(np.asarray(centre), np.linalg.norm(means - centre, axis=1) <= reach, density)


def in_sight(gaussians: Gaussians) -> Gaussians:
    """Those whose centres lie at the surface that some camera around the object sees, not hidden below it."""
    seen = np.zeros(len(gaussians), np.bool_)
    cameras = spiral_rig(_LOOKS, DISTANCE, 40.0, 3.0, -60.0, 80.0, _LOOK_SIZE, _LOOK_SIZE)
    depths = rasterize(gaussians, cameras).depth
    for view, depth in enumerate(depths):
        x, y, z = project(gaussians.means, cameras[[view]]).T
        column, row = (np.clip(values.astype(np.int64), 0, _LOOK_SIZE - 1) for values in (x, y))
        seen |= np.abs(depth[row, column] - z) < _AT_SURFACE
    return gaussians[seen]


def most_crowded(folder: Folder, like: str) -> tuple[str, str]:
    """The test object of a class that has the largest share of its Gaussians in one place, and that in words.

    Args:
        folder: an open data folder with Gaussians.
        like: a class; where the data set lacks it, the first class stands in.
    """
    label, ids = objects_like(folder, like)

    def share(object_id: str) -> float:
        return float(find_crowd(in_sight(load_object(folder, object_id)).means).inside.mean())

    return max(ids, key=share), f"of its {len(ids)} {label}s the one that crowds most"


def draw_detail(folder: Folder, object_id: str | None) -> Sheet:
    """Figure 4: how densely Gaussians stand over an object, and the place where they crowd.

    Raises:
        ValueError: no such object, or no Gaussians in the folder.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    subject = open_subject(folder, *(most_crowded(folder, "bathtub") if object_id is None else (object_id,)))
    gaussians = in_sight(subject.gaussians)
    crowd = find_crowd(gaussians.means)
    caption = (
        f"{subject.provenance} Shown are the {len(gaussians):,} whose centres lie at a visible surface. Left: their "
        f"centres, coloured by how many there are per unit area (from the distance to the {NEIGHBOURS}th neighbour; "
        f"the unit sphere holds the object). The ring is a ball of radius {_REACH:g}, placed where it holds the most: "
        f"{int(crowd.inside.sum()):,}, {100 * crowd.inside.mean():.0f} % of them, which stand {crowd.contrast:.1f} "
        "times as densely as the rest, median to median. Middle: that place, drawn by our CPU rasteriser. Right: the "
        f"same Gaussians at {_SHRINK:g} of their size."
    )
    sheet = Sheet(7.6, 2.65, caption)
    towards = _best_side(gaussians, crowd)
    camera = camera_at(towards, _SIZE, extent=extent_of(gaussians))
    low, high = np.quantile(crowd.density, (0.02, 0.98))
    colours = ScalarMappable(LogNorm(low, max(high, 1.01 * low)), "plasma_r")
    centres = picture(dots(gaussians.means, colours.to_rgba(crowd.density)[:, :3], 0.014), camera)
    box = drawn_box(picture(gaussians, camera))
    axes = sheet.image((0.1, 0.3, 2.25), to_pixels(centres[box]), f"{len(gaussians):,} centres", smooth=True)
    _ring(axes, crowd, camera, (box[1].start, box[0].start))
    bar = sheet.colour_bar((2.45, 0.45, 0.07, 1.95), colours, "Gaussians per unit area")
    bar.set_ticks(_round_numbers(float(low), float(high)), minor=False)
    bar.ax.minorticks_off()
    bar.ax.yaxis.set_major_formatter("{x:,g}")
    zoom = camera_at(towards, _SIZE, crowd.centre, 1.25 * _REACH)
    for left, title, drawn in (
        (3.25, "where they crowd", gaussians),
        (5.4, f"the same, {TIMES} {_SHRINK:g}", shrunk(gaussians, _SHRINK)),
    ):
        panel = sheet.image((left, 0.35, 2.05), to_pixels(picture(drawn, zoom)), title, smooth=True)
        _ring(panel, crowd, zoom, (0, 0))
    return sheet


def _round_numbers(low: float, high: float) -> list[float]:
    """The numbers 1, 2 and 5 times a power of ten in a range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [number for power in powers for digit in (1, 2, 5) if low <= (number := digit * 10.0**power) <= high]


def _best_side(gaussians: Gaussians, crowd: Crowd) -> Float[Array, "3"]:
    """The direction from which the most of the crowd's Gaussians is in sight, of those all around the object."""
    red, white = (rgb_to_dc(np.array(colour, np.float32)) for colour in ((1, 0, 0), (1, 1, 1)))
    marked = np.where(crowd.inside[:, None], red, white)[:, None].astype(np.float32)
    painted = replace(gaussians, sh=marked)

    def share(towards: Float[Array, "3"]) -> float:
        image = picture(painted, camera_at(towards, _LOOK_SIZE, crowd.centre, 1.25 * _REACH))
        return float((1 - image[:, :, 1]).sum())

    azimuths = np.arange(_AZIMUTHS) * 360 / _AZIMUTHS
    sides = [direction(azimuth, elevation) for elevation in _ELEVATIONS_DEG for azimuth in azimuths]
    return max(sides, key=share)


def _ring(axes: Any, crowd: Crowd, camera: Cameras, origin: tuple[int, int]) -> None:
    """The ball's outline in a panel whose image begins at the pixel `origin` of what the camera sees."""
    from matplotlib.patches import Circle

    seen = camera.viewmats[0, :3, :3] @ crowd.centre + camera.viewmats[0, :3, 3]
    x, y, _ = camera.Ks[0] @ seen / seen[2]
    radius = camera.Ks[0, 0, 0] * _REACH / seen[2]
    axes.add_patch(Circle((x - origin[0], y - origin[1]), radius, fill=False, edgecolor="black", linewidth=0.9))
