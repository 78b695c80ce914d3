"""Whether furthest-point sampling preserves geometry: how far what is left out lies from the chosen Gaussians."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from tabulate import tabulate

from gsbench.core.parsing import InputError
from gsbench.core.types import Array
from gsbench.learn.data.clouds import uniform_draw
from gsbench.store.arrays import ragged
from gsbench.store.folder import Folder, read_shards
from gsbench.store.schema import SPLITS

COUNTS = (256, 512, 1024)


@dataclass(frozen=True, slots=True)
class Sampled:
    """One way to choose Gaussians, in the mean over objects; distances in radii of the objects.

    Attributes:
        count: Gaussians that are chosen, or all of an object that has fewer.
        sampling: `fps` or `uniform`.
        objects: that were looked at.
        radius: the largest distance from a Gaussian's center to the nearest chosen one: the coverage radius.
        gap: the mean of these distances.
        surface_radius: the largest distance from a point of the surface to the nearest chosen center.
        off_surface: the mean distance from a chosen center to the nearest of the stored points of the surface.
    """

    count: int
    sampling: str
    objects: int
    radius: float
    gap: float
    surface_radius: float
    off_surface: float


def measure_sampling(
    folder: Folder, counts: tuple[int, ...] = COUNTS, progress: Callable[[int, int], None] | None = None
) -> list[Sampled]:
    """Measures furthest-point and uniform samples of all objects of both splits, those that scores are made from.

    Args:
        folder: with Gaussians and points.
        counts: how many Gaussians are chosen.
        progress: called with objects done and objects in all.

    Raises:
        InputError: the folder lacks Gaussians or points, or a shard is missing or damaged.
    """
    for config in ("gaussians", "points"):
        if config not in folder.manifest.counts:
            raise InputError(f"{folder.path}: has {', '.join(folder.manifest.counts)} (must have {config})")
    total = sum(sum(of.values()) for of in folder.manifest.counts["gaussians"].values())
    found: dict[tuple[int, str], list[tuple[float, ...]]] = {}
    for done, (object_id, means, order, surface) in enumerate(_objects(folder), 1):
        on_surface = cKDTree(surface)
        for count in counts:
            chosen = {"fps": order[:count], "uniform": uniform_draw(object_id, len(means), count)}
            for sampling, index in chosen.items():
                found.setdefault((count, sampling), []).append(_measure(means, index, surface, on_surface))
        if progress:
            progress(done, total)
    return [
        Sampled(count, sampling, len(values), *np.mean(values, axis=0).tolist())
        for (count, sampling), values in found.items()
    ]


def _objects(folder: Folder) -> Iterator[tuple[str, Float[Array, "n 3"], Int[Array, " m"], Float[Array, "s 3"]]]:
    """Object id, centers, furthest-point order and points of the surface, in the order of the Gaussians' rows."""
    for split in SPLITS:
        surfaces: dict[str, Float[Array, "s 3"]] = {}
        for _, table in read_shards(folder, "points", split, ["object_id", "points"]):
            values, at = ragged(table["points"], (3,))
            ids = table["object_id"].to_pylist()
            surfaces |= {name: values[at[row] : at[row + 1]] for row, name in enumerate(ids)}
        for _, table in read_shards(folder, "gaussians", split, ["object_id", "means", "fps_order"]):
            (means, at), (order, order_at) = ragged(table["means"], (3,)), ragged(table["fps_order"], ())
            for row, name in enumerate(table["object_id"].to_pylist()):
                own = means[at[row] : at[row + 1]].astype(np.float64)
                yield name, own, order[order_at[row] : order_at[row + 1]], surfaces[name].astype(np.float64)


def _measure(
    means: Float[Array, "n 3"], index: Int[Array, " k"], surface: Float[Array, "s 3"], on_surface: cKDTree
) -> tuple[float, ...]:
    chosen = cKDTree(means[index])
    left_out, uncovered = chosen.query(means)[0], chosen.query(surface)[0]
    off = on_surface.query(means[index])[0]
    return float(left_out.max()), float(left_out.mean()), float(uncovered.max()), float(off.mean())


def as_table(folder: Folder, found: list[Sampled]) -> str:
    """Markdown, with what the columns are."""
    manifest = folder.manifest
    rows = [
        {
            "Gaussians": each.count,
            "Sampling": each.sampling,
            "Coverage radius": f"{each.radius:.3f}",
            "Mean gap": f"{each.gap:.4f}",
            "Surface to the nearest": f"{each.surface_radius:.3f}",
            "Off the surface": f"{each.off_surface:.4f}",
        }
        for each in found
    ]
    head = f"{manifest.name} {manifest.version} ({manifest.fingerprint()[:8]}), {found[0].objects:,} objects:"
    return "\n".join([head, "", tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True), "", _NOTES])


_NOTES = (
    "In radii of the objects, means over objects. Coverage radius: the largest distance from a Gaussian's center to "
    "the nearest chosen one; mean gap: the mean of these distances. Surface to the nearest: the largest distance from "
    "a stored point of the surface to the nearest chosen center. Off the surface: the mean distance from a chosen "
    "center to the nearest stored point, which is not 0 for a center on the surface between two of them."
)
