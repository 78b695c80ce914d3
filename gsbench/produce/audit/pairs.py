"""Pairs of objects whose surfaces lie close to each other: found by their descriptors, verified on their surfaces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gsbench.meshes.split import MeshFile
from gsbench.produce.audit.descriptor import distances_between, quarter_turns_within
from gsbench.produce.audit.objects import Inspected, load_shape
from gsbench.store.audit import NearPair

SAME_SURFACE = 0.001
"""Largest distance, in radii, between surfaces that are the same.

Meshes kept at 14 bits differ by up to .0003 from their copies. On ModelNet10, identical triangles counted in, 428 pairs
lie within that, 9 more within .001, and only 5 from there to .003.
"""

NEAR_DUPLICATE = 0.02
"""Largest distance, in radii, between near duplicates.

Up to here the pairs of ModelNet10, looked at one by one in a sample, are one model with small changes; from .027 on
different box-like dressers are among them.
"""

_DIGITS = 6  # of the distances that are kept: less than what a compiler's choice of instructions may change


@dataclass(frozen=True, slots=True)
class Candidates:
    """One object and those that may be close to it, with the quarter turns that may bring it there."""

    one: MeshFile
    others: tuple[tuple[MeshFile, tuple[int, ...]], ...]


def find_candidates(objects: Sequence[Inspected], limit: float) -> list[Candidates]:
    """All pairs that can be within `limit` of each other, by their descriptors; none that is gets lost.

    Args:
        objects: with descriptors, in order of object id.
        limit: largest distance, in radii.
    """
    from scipy.spatial import KDTree  # takes .2 s

    if len(objects) < 2:
        return []
    descriptors = np.stack([np.asarray(one.descriptor) for one in objects])
    sorted_orbits = np.sort(descriptors, axis=1).reshape(len(objects), -1)
    near: dict[int, list[tuple[MeshFile, tuple[int, ...]]]] = {}
    for one, other in sorted(KDTree(sorted_orbits).query_pairs(limit, p=np.inf)):
        if turns := quarter_turns_within(descriptors[one], descriptors[other], limit):
            near.setdefault(one, []).append((objects[other].file, turns))
    return [Candidates(objects[one].file, tuple(others)) for one, others in near.items()]


def measure(candidates: Candidates) -> list[NearPair]:
    """The pairs of `candidates` that are near duplicates; of several turns, the one that brings them closest."""
    pairs = []
    one = load_shape(candidates.one)
    for file, turns in candidates.others:
        other = load_shape(file)
        distances = [distances_between(one, other, quarters) for quarters in turns]
        best = min(range(len(turns)), key=lambda i: round(float(distances[i].max()), _DIGITS))
        distance, mean = (round(float(value), _DIGITS) for value in (distances[best].max(), distances[best].mean()))
        if distance <= NEAR_DUPLICATE:
            pairs.append(NearPair(candidates.one.object_id, file.object_id, distance, mean, turns[best]))
    return pairs
