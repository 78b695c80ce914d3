"""Whether the Gaussians lie on the surfaces of their objects, and their discs in them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from gsbench.core.geometry import quats_to_matrices
from gsbench.core.types import Array
from gsbench.meshes.distance import make_surface
from gsbench.meshes.load import load_mesh
from gsbench.meshes.split import MeshFile, list_meshes, mesh_sha256
from gsbench.meshes.surface import normalize
from gsbench.produce.verification.tables import iterate_rows
from gsbench.store.folder import Folder
from gsbench.store.schema import SPLITS

MOST_DISTANCE = 0.01
"""The largest mean distance of centers to the surface over many objects, in extents, which are the boxes' diagonals."""

MOST_DISTANCE_OF_FEW = 0.05
"""The same over fewer, or of a single one: some have Gaussians where no camera sees that there is nothing."""

_MANY = 100

_MARGIN = 0.02
"""By how much |cosine| other ways to read quaternions must fit better than the right one."""

_WORST = 10
_FLAT = 0.5
"""A Gaussian whose thinnest standard deviation is below this share of the next is a disc, which has a normal."""

_REACH = 2.5
"""Radius of a sample's disc over the mean distance of samples to their nearest: 99 of 100 places are in reach then."""

_GAPS = 256

Distances = Callable[[Array], Array]
"""From points `[n 3]` in the world frame to their distances `[n]` from an object's surface."""

_COLUMNS = {"gaussians": ("means", "quats", "scales"), "points": ("points", "normals")}


@dataclass(frozen=True, slots=True)
class Alignment:
    """How far the Gaussians' centers lie from the objects' surfaces, as shares of the extents, the boxes' diagonals.

    Attributes:
        against: `points` (an estimate from the stored samples) or `meshes` (exact).
        objects: how many were measured.
        mean: of the objects' mean distances.
        worst: object id to its mean distance, the ten largest.
        axes: how quaternions are read -> mean |cosine| between a disc's thin axis and the surface's normal, where .5
            is no relation: first the right one, `w x y z`.
    """

    against: str
    objects: int
    mean: float
    worst: dict[str, float]
    axes: dict[str, float]


_READINGS = {"w x y z": ((0, 1, 2, 3), 1), "x y z w": ((3, 0, 1, 2), 1), "w x y z, inverted": ((0, 1, 2, 3), -1)}
"""Ways to read quaternions: where w, x, y and z stand, and the sign of the last three."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """One object: the mean distance over the extent, and the mean |cosine| by reading, NaN where nothing tells it."""

    distance: float
    axes: tuple[float, ...]


def measure_alignment(
    folder: Folder, surface_of: Callable[[str], Distances | None] | None, progress: Callable[[int], None]
) -> Alignment | None:
    """Measures all objects; None where the folder lacks Gaussians, or points to measure against.

    Without `surface_of` the distances are an estimate from the stored samples: each stands for a disc in its tangent
    plane that reaches as far as the samples are apart. Discs reach over edges, so that it is rather low than high.

    Args:
        folder: an open data folder whose values are sound.
        surface_of: object id to the distances from the object's surface, None where it is not known.
        progress: is called with the objects done.

    Raises:
        InputError: whatever `surface_of` raises.
    """
    if not set(_COLUMNS) <= set(folder.manifest.counts):
        return None
    measured: dict[str, _Measured] = {}
    for done, (object_id, gaussians, samples) in enumerate(_pairs(folder), start=1):
        distances = None if surface_of is None else surface_of(object_id)
        if samples["normals"] is not None and (distances or surface_of is None):
            measured[object_id] = _measure(gaussians, samples, distances)
        progress(done)
    if not measured:
        return None
    worst = sorted(measured, key=lambda object_id: -measured[object_id].distance)[:_WORST]
    axes = np.array([one.axes for one in measured.values()])
    axes = axes[np.isfinite(axes[:, 0])]
    return Alignment(
        against="points" if surface_of is None else "meshes",
        objects=len(measured),
        mean=float(np.mean([one.distance for one in measured.values()])),
        worst={object_id: measured[object_id].distance for object_id in worst},
        axes=dict(zip(_READINGS, axes.mean(0).tolist(), strict=True)) if len(axes) else {},
    )


def _pairs(folder: Folder) -> Iterator[tuple[str, dict[str, Array], dict[str, Array]]]:
    for split in SPLITS:
        rows = (iterate_rows(folder, config, split, _shapes(folder, config)) for config in _COLUMNS)
        for (object_id, gaussians), (_, samples) in zip(*rows, strict=True):
            yield object_id, gaussians, samples


def _shapes(folder: Folder, config: str) -> dict[str, tuple[int, ...]]:
    schema = folder.manifest.schema(config)
    return {name: schema.inner_shape(name) for name in _COLUMNS[config]}


def _measure(gaussians: dict[str, Array], samples: dict[str, Array], distances: Distances | None) -> _Measured:
    from gsbench.produce.verification.kernels import (  # here, since numba takes .4 s to load
        mean_gap,
        nearest_discs,
    )

    means, points, normals = gaussians["means"].astype(np.float32), samples["points"], samples["normals"]
    discs = np.ascontiguousarray(np.concatenate([points, normals], axis=1).T)
    radius = np.float32(_REACH * mean_gap(discs, min(_GAPS, len(points))))
    to_discs, nearest = np.empty(len(means), np.float32), np.empty(len(means), np.int64)
    nearest_discs(means, discs, radius, to_discs, nearest)
    found = to_discs if distances is None else distances(means)
    diagonal = float(np.linalg.norm(np.ptp(points, axis=0)))
    return _Measured(float(found.mean(dtype=np.float64)) / diagonal, _axes(gaussians, normals[nearest]))


def _axes(gaussians: dict[str, Array], normals: Float32[Array, "n 3"]) -> tuple[float, ...]:
    scales = np.sort(gaussians["scales"].astype(np.float32), axis=1)
    discs = scales[:, 0] < _FLAT * scales[:, 1]
    if not discs.any():
        return (np.nan,) * len(_READINGS)
    quats, thin = gaussians["quats"][discs].astype(np.float32), gaussians["scales"][discs].argmin(1)
    cosines = []
    for places, sign in _READINGS.values():
        signed = quats[:, list(places)] * np.array([1, sign, sign, sign], np.float32)
        axes = quats_to_matrices(signed)[np.arange(len(thin)), :, thin]
        cosines.append(float(np.abs((axes * normals[discs]).sum(1)).mean()))
    return tuple(cosines)


def alignment_problems(alignment: Alignment) -> Iterator[str]:
    """One line for Gaussians that lie off their surfaces, one for quaternions that fit better read in another way."""
    worst = ", ".join(f"{name} {share:.1%}" for name, share in alignment.worst.items())
    mean, largest = alignment.mean, max(alignment.worst.values())
    most = MOST_DISTANCE if alignment.objects >= _MANY else MOST_DISTANCE_OF_FEW
    if not (mean <= most and largest <= MOST_DISTANCE_OF_FEW):
        yield (
            f"gaussians: centers lie off the surfaces by {mean:.2%} of the extent on average (at most "
            f"{most:.0%}, of one object {MOST_DISTANCE_OF_FEW:.0%}), worst: {worst}; are means shifted, "
            "scaled or in another frame?"
        )
    if alignment.axes:
        right, *others = alignment.axes.items()
        best = max(others, key=lambda reading: reading[1])
        if best[1] > right[1] + _MARGIN:
            yield (
                f"gaussians: thin axes follow the surfaces' normals if quaternions are read as {best[0]} (mean "
                f"|cosine| {best[1]:.2f}), not as {right[0]} ({right[1]:.2f})"
            )


_NAMED = 10


class MeshSurfaces:
    """Gives the distances from an object's mesh, and remembers which meshes are not those of the data."""

    def __init__(self, meshes: Path) -> None:
        """Lists the meshes of a folder in the official layout; InputError if there are none."""
        self._root = meshes
        self._files: dict[str, MeshFile] = {file.object_id: file for file in list_meshes(meshes)}

    def of(self, object_id: str) -> Distances | None:
        """The distances from the object's surface in the world frame; None if there is no such mesh.

        Raises:
            InputError: the mesh cannot be read.
            OSError: the file cannot be opened.
        """
        if object_id not in self._files:
            return None
        return make_surface(normalize(load_mesh(self._files[object_id].path))).distances

    def problems(self, hashes: Mapping[str, str]) -> Iterator[str]:
        """Objects without a mesh, or whose file is not the one that the data was made from; by object_id -> sha256."""
        if lost := sorted(hashes.keys() - self._files.keys()):
            yield f"{self._root}: no mesh of {len(lost)} objects, such as {', '.join(lost[:_NAMED])}"
        here = hashes.keys() & self._files.keys()
        if other := sorted(name for name in here if mesh_sha256(self._files[name].path) != hashes[name]):
            yield f"{self._root}: {len(other)} meshes are not those of the data, such as {', '.join(other[:_NAMED])}"
