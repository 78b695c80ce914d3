"""Test objects that are in the training set as well, by how alike the twins are."""

import importlib.resources
from collections.abc import Collection, Iterable

from gsbench.store.audit import AUDIT, LEVELS, Audit, Level, load_audit
from gsbench.store.folder import Folder, read_labels, read_table

_MODELNET10 = "modelnet10"


def shipped_audit(dataset: str) -> Audit | None:
    """The audit of the meshes that a data set is made from: ModelNet10's for `modelnet10` and any `modelnet10-...`."""
    if dataset != _MODELNET10 and not dataset.startswith(f"{_MODELNET10}-"):
        return None
    source = importlib.resources.files("gsbench_cards") / "modelnet10-gs" / AUDIT
    with importlib.resources.as_file(source) as path:
        return load_audit(path)


def leaked_objects(audit: Audit, train: Collection[str], test: Collection[str]) -> dict[Level, tuple[str, ...]]:
    """The test objects with a twin among the training objects, sorted, by level.

    Args:
        audit: of the meshes; its own `leaked` are these for its own splits.
        train: ids of the training objects, any part of those that were audited.
        test: ids of the test objects.
    """
    copies = {group[0]: group for group in audit.identical_geometry.values()}
    pairs = (copies.get(p.one, (p.one,)) + copies.get(p.other, (p.other,)) for p in audit.near_duplicates)
    files = _leaked(audit.identical_files.values(), train, test)
    surfaces = files | _leaked(audit.same_surface, train, test)
    near = surfaces | _leaked(pairs, train, test)
    return {level: tuple(sorted(ids)) for level, ids in zip(LEVELS, (files, surfaces, near), strict=True)}


def _leaked(groups: Iterable[tuple[str, ...]], train: Collection[str], test: Collection[str]) -> set[str]:
    return {name for group in groups if any(other in train for other in group) for name in group if name in test}


def leaks_of(folder: Folder) -> dict[Level, tuple[str, ...]]:
    """The leaked test objects of a data folder, by level; a level that nobody has looked at is left out.

    Identical files are told by the hashes that the folder keeps with its Gaussians. All else is told by the shipped
    audit where the folder is made from ModelNet10; of point clouds alone, without hashes, it also tells the files that
    are identical as distributed.

    Raises:
        InputError: a shard that is missing or damaged.
    """
    train, test = (set(read_labels(folder, split)) for split in ("train", "test"))
    audit = shipped_audit(folder.manifest.name)
    leaked = {} if audit is None else leaked_objects(audit, train, test)
    if "gaussians" in folder.manifest.counts:
        leaked["files"] = _same_hash(folder)
    elif audit is not None and audit.official is not None:
        pairs = audit.official.identical_files_found + audit.official.identical_files_undetectable
        leaked["files"] = tuple(sorted(_leaked(pairs, train, test)))
    return leaked


def _same_hash(folder: Folder) -> tuple[str, ...]:
    columns = ["object_id", "mesh_sha256"]
    train, test = (read_table(folder, "gaussians", split, columns) for split in ("train", "test"))
    known = set(train["mesh_sha256"].to_pylist())
    rows = zip(test["object_id"].to_pylist(), test["mesh_sha256"].to_pylist(), strict=True)
    return tuple(sorted(object_id for object_id, digest in rows if digest in known))
