"""The presets of build.toml: everything that decides a data set, as frozen dataclasses."""

import importlib.resources
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from gsbench.fit import ClassicRecipe, FitRecipe
from gsbench.geometry import spiral_rig
from gsbench.recipe import parse, read_toml, suggest
from gsbench.render.meshes import RenderSetup
from gsbench.store.card import About
from gsbench.store.shards import MAX_SHARD_BYTES
from gsbench.store.webp import MAX_METHOD
from gsbench.types import Array, Cameras


@dataclass(frozen=True, slots=True)
class Rig:
    """The cameras: `views` of `size` x `size` pixels on a spiral, and `held_out` more between them for scoring.

    The other fields are those of `gsbench.geometry.spiral_rig`.
    """

    views: int
    held_out: int
    size: int
    radius: float
    fov_deg: float
    turns: float
    elevation_min_deg: float
    elevation_max_deg: float

    def __post_init__(self) -> None:
        if not 1 <= self.held_out < self.views:
            raise ValueError(f"held_out is {self.held_out} (allowed: 1 to {self.views - 1}, one less than views)")

    def cameras(self, size: int, phase: float = 0.0) -> Cameras:
        """All cameras of the spiral, for images of `size` pixels, moved by `phase` of a step."""
        elevations = (self.elevation_min_deg, self.elevation_max_deg)
        return spiral_rig(self.views, self.radius, self.fov_deg, self.turns, *elevations, size, size, phase)


@dataclass(frozen=True, slots=True)
class Store:
    """What is kept, and how exactly.

    Attributes:
        points: surface points an object.
        views: how many of the rig's views are kept, evenly spaced.
        view_size: at how many pixels images are kept; drawn anew where that is not the rig's size.
        reconstructions: how many of the kept views' cameras the Gaussians are rendered from, too, evenly spaced.
        novel: how many cameras between those of the rig they are rendered from, evenly spaced.
        gaussian_bits: mantissa bits of the Gaussians' floats; 23 is exact.
        point_bits: mantissa bits of points and normals.
        webp_method: libwebp's effort on the images, 0 (fast) to 6 (small).
        max_shard_bytes: largest shard.
    """

    points: int
    views: int
    view_size: int
    reconstructions: int
    novel: int
    gaussian_bits: int = 23
    point_bits: int = 23
    webp_method: int = 4
    max_shard_bytes: int = MAX_SHARD_BYTES


@dataclass(frozen=True, slots=True)
class Preset:
    """Everything that decides a data set; a table of build.toml."""

    about: About
    rig: Rig
    render: RenderSetup
    fit: FitRecipe | ClassicRecipe
    store: Store

    def __post_init__(self) -> None:
        limits = {
            "views": (1, self.rig.views, "the rig's views"),
            "reconstructions": (1, self.store.views, "store.views"),
            "novel": (0, self.rig.views - 1, "one less than the rig's views"),
            "webp_method": (0, MAX_METHOD, "libwebp's"),
        }
        for name, (least, most, what) in limits.items():
            if not least <= getattr(self.store, name) <= most:
                raise ValueError(f"store.{name} is {getattr(self.store, name)} (allowed: {least} to {most}, {what})")

    @property
    def between(self) -> Int64[Array, " b"]:
        """Positions on the rig of the cameras half a step further that score the Gaussians, or are kept, or both."""
        return evenly(self.rig.views - 1, max(self.rig.held_out, self.store.novel))


def evenly(total: int, count: int) -> Int64[Array, " c"]:
    """`count` of the numbers 0 to `total` - 1, evenly spaced, with both ends."""
    return np.linspace(0, total - 1, count).round().astype(np.int64)


def load_preset(name: str) -> Preset:
    """The preset `name` of build.toml.

    Raises:
        ValueError: no such preset, or one with unknown keys or values out of range.
    """
    source = importlib.resources.files("gsbench_cards") / "modelnet10-gs" / "build.toml"
    with importlib.resources.as_file(source) as path:
        presets = read_toml(path)["presets"]
    if name not in presets:
        raise ValueError(f"preset: no '{name}'{suggest(name, presets)} (allowed: {', '.join(presets)})")
    return parse(presets[name], Preset, f"build.toml, preset {name}")
