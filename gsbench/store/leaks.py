"""Test objects that are in the training set as well, by how alike the twins are."""

import importlib.resources
from collections.abc import Collection, Iterable

from gsbench.core.parsing import InputError
from gsbench.store.audit import AUDIT, LEVELS, Audit, Level, load_audit
from gsbench.store.folder import Folder, read_labels, read_table
from gsbench.store.manifest import MANIFEST
from gsbench.store.origin import MODELNET10, origin_of
from gsbench.store.shards import file_sha256


def shipped_audit() -> Audit:
    """The audit of ModelNet10's meshes."""
    source = importlib.resources.files("gsbench_cards") / "modelnet10-gs" / AUDIT
    with importlib.resources.as_file(source) as path:
        return load_audit(path)


def audit_of(folder: Folder) -> Audit | None:
    """The audit of the meshes that a data folder is made from: its own, or ModelNet10's if they are ModelNet10's.

    Raises:
        InputError: the folder's own audit is missing, or not the one that it was built with.
    """
    stated = folder.manifest.audit_sha256
    if stated is None:
        origin = origin_of(folder)
        return shipped_audit() if origin is not None and origin.collection == MODELNET10 else None
    path = folder.path / AUDIT
    if not path.is_file() or file_sha256(path) != stated:
        raise InputError(f"{path}: is missing, or not the audit that {MANIFEST} names (its sha256 must be {stated})")
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

    Identical files are told by the hashes that the folder keeps with its Gaussians. All else is told by the audit of
    its meshes; of point clouds alone, without hashes, that also tells the files that are identical as distributed.

    Raises:
        InputError: a shard that is missing or damaged, or an audit that is not the folder's.
    """
    train, test = (set(read_labels(folder, split)) for split in ("train", "test"))
    audit = audit_of(folder)
    leaked = {} if audit is None else leaked_objects(audit, train, test)
    if "gaussians" in folder.manifest.counts:
        leaked["files"] = _same_hash(folder)
    elif audit is not None and audit.official is not None:
        pairs = audit.official.identical_files_found + audit.official.identical_files_undetectable
        leaked["files"] = tuple(sorted(_leaked(pairs, train, test)))
    # Each level holds those before it: the same file is the same surface, whoever looked at either.
    alike: set[str] = set()
    for level in (level for level in LEVELS if level in leaked):
        alike.update(leaked[level])
        leaked[level] = tuple(sorted(alike))
    return leaked


def _same_hash(folder: Folder) -> tuple[str, ...]:
    columns = ["object_id", "mesh_sha256"]
    train, test = (read_table(folder, "gaussians", split, columns) for split in ("train", "test"))
    known = set(train["mesh_sha256"].to_pylist())
    rows = zip(test["object_id"].to_pylist(), test["mesh_sha256"].to_pylist(), strict=True)
    return tuple(sorted(object_id for object_id, digest in rows if digest in known))
