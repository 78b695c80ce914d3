"""The presets of build.toml: everything that decides a data set, as frozen dataclasses."""

import dataclasses
import importlib.resources
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from gsbench.core.files import read_toml
from gsbench.core.geometry import spiral_rig
from gsbench.core.parsing import InputError, check_range, overlay, parse, suggest
from gsbench.core.types import Array, Cameras
from gsbench.meshes.split import MeshFile
from gsbench.reconstruct import ClassicRecipe, FitRecipe
from gsbench.render.mesh import RenderSetup
from gsbench.store.manifest import MAX_SHARD_BYTES
from gsbench.store.schema import FloatType
from gsbench.store.webp import MAX_METHOD

MIN_SIDE, MAX_SIDE = 8, 4096
"""Pixels along a side of an image: on fewer nothing can be seen."""
_MAX_PIXELS = 1 << 27
"""Of all views of an object: half a gigabyte, thrice what `full` has; a worker holds a few times that."""
_MAX_VIEWS = 10_000
_MAX_RADIUS = 1000
_MAX_POINTS = 1_000_000
_MANTISSA_BITS = 23


def check_pixels(where: str, views: int, size: int) -> None:
    """Raises an InputError for more pixels an object than there can be memory for."""
    if views * size**2 > _MAX_PIXELS:
        raise InputError(
            f"{where}: {views} views of {size}x{size} pixels are {views * size**2} (allowed: up to {_MAX_PIXELS} "
            "pixels an object)"
        )


@dataclass(frozen=True, slots=True)
class Rig:
    """The cameras: `views` of `size` x `size` pixels on a spiral, and `held_out` more between them for scoring.

    The other fields are those of `gsbench.core.geometry.spiral_rig`.
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
        check_range("views", self.views, 2, _MAX_VIEWS)
        check_range("size", self.size, MIN_SIDE, MAX_SIDE)
        check_range("radius", self.radius, 1, _MAX_RADIUS, above=True)
        check_range("fov_deg", self.fov_deg, 0, 180, above=True, below=True)
        check_range("turns", self.turns, -self.views, self.views)
        check_range("elevation_min_deg", self.elevation_min_deg, -90, 90, above=True, below=True)
        check_range("elevation_max_deg", self.elevation_max_deg, self.elevation_min_deg, 90, below=True)
        if not 1 <= self.held_out < self.views:
            raise InputError(f"held_out is {self.held_out} (allowed: 1 to {self.views - 1}, one less than views)")
        check_pixels("rig", self.views, self.size)
        self.cameras(self.size, phase=0.5)  # the last of these goes beyond the elevations, and the sphere must fit

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
        gaussian_bits: mantissa bits of the Gaussians' floats; 23 is exact, 16 costs no PSNR that can be measured.
        float_type: of the Gaussians' numbers in the shards. float16 holds what 10 mantissa bits do, in as many bytes
            of a shard, and in half of the memory.
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
    float_type: FloatType = "float32"
    point_bits: int = 23
    webp_method: int = 4
    max_shard_bytes: int = MAX_SHARD_BYTES

    def __post_init__(self) -> None:
        check_range("points", self.points, 1, _MAX_POINTS)
        check_range("view_size", self.view_size, MIN_SIDE, MAX_SIDE)
        check_range("gaussian_bits", self.gaussian_bits, 0, _MANTISSA_BITS)
        check_range("point_bits", self.point_bits, 0, _MANTISSA_BITS)
        check_range("max_shard_bytes", self.max_shard_bytes, 1, MAX_SHARD_BYTES)
        check_pixels("store", self.views, self.view_size)


@dataclass(frozen=True, slots=True)
class Wording:
    """What a preset has to say of the data sets that are built with it; the meshes say the rest.

    Attributes:
        version: of the data set, where it is made from `meshes`; made from others, it ends in the preset's name.
        meshes: the collection that the version is of, see `gsbench.store.origin`.
        variant: what the heading has in brackets; empty is the version.
        note: on how the Gaussians are made; Markdown.
        name, title, license, source: as in `About`, of a preset of one's own for certain meshes; empty where the
            meshes decide.
    """

    version: str
    meshes: str
    variant: str = ""
    note: str = ""
    name: str = ""
    title: str = ""
    license: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class MeshesWording:
    """The words of what is made from a known collection: as in `About`, and `what` its meshes are called."""

    name: str
    title: str
    what: str
    license: str
    source: str


@dataclass(frozen=True, slots=True)
class Limit:
    """The most objects of a class, in each split, that a data set takes: the first in the order of their ids."""

    train: int
    test: int

    def __post_init__(self) -> None:
        if min(self.train, self.test) < 1:
            raise InputError(f"train is {self.train} and test {self.test} (both must be at least 1)")


@dataclass(frozen=True, slots=True)
class Preset:
    """Everything that decides a data set; a table of build.toml.

    Attributes:
        about: what the preset has to say of the data set.
        rig: the cameras.
        render: the look of the meshes.
        fit: how Gaussians are fitted.
        store: what is kept.
        limit_per_class: None takes all objects. The data set says that there is a limit.
    """

    about: Wording
    rig: Rig
    render: RenderSetup
    fit: FitRecipe | ClassicRecipe
    store: Store
    limit_per_class: Limit | None = None

    def __post_init__(self) -> None:
        limits = {
            "views": (1, self.rig.views, "the rig's views"),
            "reconstructions": (1, self.store.views, "store.views"),
            "novel": (0, self.rig.views - 1, "one less than the rig's views"),
            "webp_method": (0, MAX_METHOD, "libwebp's"),
        }
        for name, (least, most, what) in limits.items():
            if not least <= getattr(self.store, name) <= most:
                raise InputError(f"store.{name} is {getattr(self.store, name)} (allowed: {least} to {most}, {what})")
        check_pixels("store", self.store.reconstructions + self.store.novel, self.store.view_size)
        for stage in self.fit.stages if isinstance(self.fit, FitRecipe) else ():
            if self.rig.size % stage.resolution:
                raise InputError(
                    f"fit.stages: resolution is {stage.resolution} (must divide the rig's size, {self.rig.size})"
                )
        for what, numbers in {"Gaussians": self._gaussian_numbers(), "points": 6 * self.store.points}.items():
            if 4 * numbers > self.store.max_shard_bytes:
                raise InputError(
                    f"store.max_shard_bytes is {self.store.max_shard_bytes} (must hold an object, whose {what} take "
                    f"up to {4 * numbers})"
                )

    def _gaussian_numbers(self) -> int:
        """The most numbers that an object's Gaussians have."""
        most = self.fit.num_gaussians if isinstance(self.fit, FitRecipe) else self.fit.max_gaussians
        return most * (11 + 3 * (self.fit.sh_degree + 1) ** 2)

    @property
    def midway(self) -> Int64[Array, " b"]:
        """Positions on the rig of the cameras half a step further that score the Gaussians, or are kept, or both."""
        return evenly_spaced(self.rig.views - 1, max(self.rig.held_out, self.store.novel))


def evenly_spaced(total: int, count: int) -> Int64[Array, " c"]:
    """`count` of the numbers 0 to `total` - 1, evenly spaced, with both ends."""
    return np.linspace(0, total - 1, count).round().astype(np.int64)


def adapt(preset: Preset, renderer: str | None, limit_per_class: tuple[int, int] | None) -> Preset:
    """The preset with another renderer, or for a part of the objects only.

    Raises:
        InputError: no such renderer, or a limit below 1.
    """
    if renderer is not None:
        preset = dataclasses.replace(preset, render=dataclasses.replace(preset.render, renderer=renderer))
    if limit_per_class is None:
        return preset
    try:
        limit = Limit(*limit_per_class)
    except InputError as error:
        raise InputError(f"limit_per_class: {error}") from None
    return dataclasses.replace(preset, limit_per_class=limit)


def select(files: Sequence[MeshFile], limit: Limit | None) -> list[MeshFile]:
    """The meshes that a preset takes, in the order of their ids."""
    in_order = sorted(files, key=lambda file: file.object_id)
    if limit is None:
        return in_order
    most = dataclasses.asdict(limit)
    taken: Counter[tuple[str, str]] = Counter()
    selected = []
    for file in in_order:
        taken[file.label, file.split] += 1
        if taken[file.label, file.split] <= most[file.split]:
            selected.append(file)
    return selected


def load_preset(name: str) -> Preset:
    """A preset of build.toml by its name, or one of a file of one's own by its path.

    Such a file, `*.toml`, says what it `extends`, and has the tables of a preset with what it changes; to make another
    data set it has to give that another version or name.

    Raises:
        InputError: no such preset or file, unknown keys, or values out of range.
    """
    presets = _shipped()["presets"]
    if not name.endswith(".toml"):
        return parse(_find(name, presets, "preset"), Preset, f"build.toml, preset {name}")
    table = read_toml(Path(name))
    extends = table.pop("extends", None)
    if not isinstance(extends, str):
        raise InputError(f"{name}: key 'extends' is missing (must be one of {', '.join(presets)})")
    base = _find(extends, presets, f"{name}: extends")
    if isinstance(own := table.get("about"), dict):
        table["about"] = {"variant": "", **own}  # that of the preset is not this one's
    preset = parse(overlay(base, table), Preset, name)
    if preset.about.version == base["about"]["version"] and not preset.about.name:
        raise InputError(f"{name}: about.version is {preset.about.version!r} like that of {extends} (must be its own)")
    return preset


def load_wording(collection: str) -> MeshesWording:
    """The words of what is made from a known collection."""
    return parse(_shipped()["meshes"][collection], MeshesWording, f"build.toml, meshes {collection}")


def _shipped() -> dict[str, Any]:
    source = importlib.resources.files("gsbench_cards") / "modelnet10-gs" / "build.toml"
    with importlib.resources.as_file(source) as path:
        return read_toml(path)


def _find(name: str, presets: dict[str, Any], where: str) -> dict[str, Any]:
    if name not in presets:
        allowed = f"{', '.join(presets)}, or a file *.toml"
        raise InputError(f"{where}: no '{name}'{suggest(name, presets)} (allowed: {allowed})")
    found: dict[str, Any] = presets[name]
    return found
