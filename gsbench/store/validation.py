"""The validation split: a fifth of the training objects, the same for everyone, to choose by without the test objects.

Frozen: a change changes what every score on it means. Training objects that are joined by one mesh file, one surface or
nearly one, by the folder's hashes and the audit of its meshes, are one group and stay on one side. Groups are ranked by
the least sha256("val/object_id") of their objects. In that order each is held out if of none of its classes more than a
fifth would then be, rounded down, and at least one of two. Nothing in the shards says so: it follows from the ids.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

from gsbench.core.parsing import InputError
from gsbench.store.folder import Folder, read_labels, read_table
from gsbench.store.leaks import audit_of

_SHARE = 5


def hold_out(folder: Folder) -> Folder:
    """The folder with its validation objects in the place of the test objects, and without them in `train`.

    Raises:
        InputError: no class has two training objects; or a shard is missing or damaged.
    """
    labels = read_labels(folder, "train")
    chosen = validation_ids(labels, _twins(folder))
    if not chosen:
        raise InputError(f"{folder.path}: no class has two training objects (must, to hold one out)")
    return dataclasses.replace(folder, validation=frozenset(chosen), _labels={})


def validation_ids(labels: Mapping[str, str], twins: Iterable[Iterable[str]] = ()) -> list[str]:
    """The objects that are held out, sorted; see above for the rule.

    Args:
        labels: object_id -> class name of the whole training split.
        twins: objects that must stay on one side, in groups that may overlap; others than those of `labels` count
            for nothing.
    """
    quota = {label: max(1, count // _SHARE) if count > 1 else 0 for label, count in Counter(labels.values()).items()}
    taken: Counter[str] = Counter()
    chosen: list[str] = []
    for group in sorted(_groups(labels, twins), key=lambda ids: min(map(_rank, ids))):
        more = Counter(labels[object_id] for object_id in group)
        if all(taken[label] + count <= quota[label] for label, count in more.items()):
            taken += more
            chosen += group
    return sorted(chosen)


def _rank(object_id: str) -> bytes:
    return hashlib.sha256(f"val/{object_id}".encode()).digest()


def _groups(labels: Mapping[str, str], twins: Iterable[Iterable[str]]) -> list[list[str]]:
    """All objects in groups, joined where they share one of `twins`."""
    group_of = {object_id: [object_id] for object_id in labels}
    for joined in twins:
        known = [object_id for object_id in joined if object_id in labels]
        for other in known[1:]:
            ours, theirs = group_of[known[0]], group_of[other]
            if ours is not theirs:
                ours += theirs
                group_of |= dict.fromkeys(theirs, ours)
    return list({id(group): group for group in group_of.values()}.values())


def _twins(folder: Folder) -> list[tuple[str, ...]]:
    """Objects of one mesh file, one surface or nearly one, as far as the folder or its audit knows."""
    groups: list[tuple[str, ...]] = []
    if "gaussians" in folder.manifest.counts:
        table = read_table(folder, "gaussians", "train", ["object_id", "mesh_sha256"])
        by_file: dict[str, list[str]] = {}
        for object_id, digest in zip(table["object_id"].to_pylist(), table["mesh_sha256"].to_pylist(), strict=True):
            if digest is not None:
                by_file.setdefault(digest, []).append(object_id)
        groups += map(tuple, by_file.values())
    audit = audit_of(folder)
    if audit is not None:
        groups += [*audit.identical_files.values(), *audit.identical_geometry.values(), *audit.same_surface]
        groups += [(pair.one, pair.other) for pair in audit.near_duplicates]
    return groups
