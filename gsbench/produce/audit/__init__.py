"""What is wrong with a folder of meshes: duplicates across classes and splits, defects, missing objects."""

import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from gsbench import __version__
from gsbench.core.environment import available_cores
from gsbench.core.parsing import InputError
from gsbench.core.tasks import fingerprint
from gsbench.meshes.split import CLASSES, IDENTICAL_FILES, SPLITS, MeshFile, list_meshes, official_ids, official_split
from gsbench.produce.audit.objects import ZERO_HEIGHT, Inspected, inspect_mesh
from gsbench.produce.audit.pairs import NEAR_DUPLICATE, SAME_SURFACE, find_candidates, measure
from gsbench.store.audit import FORMAT_VERSION, Audit, Level, NearPair, Official, Thresholds
from gsbench.store.leaks import leaked_objects
from gsbench.store.origin import MODELNET10, known_objects

Groups = list[tuple[str, ...]]
Kind = TypeVar("Kind")

_DIGITS = 6
# A folder is ModelNet10's if at least this share of its files are ModelNet10's, whatever they are called and wherever
# they lie: what is wrong with the others is then worth a word.
_OFFICIAL_SHARE = 0.9


def summarize(inspected: Sequence[Inspected], pairs: Sequence[NearPair], note: str) -> Audit:
    """The audit of a folder.

    Args:
        inspected: every mesh, in order of object id.
        pairs: near duplicates, one object standing for all of its geometry.
        note: as in `Audit`.
    """
    files = {one.file.object_id: one.file for one in inspected}
    identical, geometry = _groups(inspected, lambda one: one.sha256), geometry_groups(inspected)
    close = [(pair.one, pair.other) for pair in pairs if pair.distance <= SAME_SURFACE]
    same_surface = join([*identical.values(), *geometry.values(), *close])
    near = [*same_surface, *((pair.one, pair.other) for pair in pairs)]
    alike: dict[Level, Groups] = {"files": list(identical.values()), "surfaces": same_surface, "near": near}
    audit = Audit(
        format_version=FORMAT_VERSION,
        created_by={"gsbench": __version__},
        note=note,
        objects={split: sum(file.split == split for file in files.values()) for split in SPLITS},
        files_sha256=fingerprint({one.file.object_id: one.sha256 or "" for one in inspected}),
        thresholds=Thresholds(SAME_SURFACE, NEAR_DUPLICATE, ZERO_HEIGHT),
        identical_files=identical,
        identical_geometry=geometry,
        same_surface=tuple(same_surface),
        near_duplicates=tuple(pairs),
        across_classes={level: _across_classes(groups, files) for level, groups in alike.items()},
        official=_compare_official(inspected, same_surface),
    )
    train, test = ({name for name, file in files.items() if file.split == split} for split in SPLITS)
    return _with_defects(dataclasses.replace(audit, leaked=leaked_objects(audit, train, test)), inspected)


def _with_defects(audit: Audit, inspected: Sequence[Inspected]) -> Audit:
    return dataclasses.replace(
        audit,
        unreadable=_by_object(inspected, lambda one: one.unreadable),
        not_finite=tuple(_by_object(inspected, lambda one: not one.finite)),
        no_surface=tuple(_by_object(inspected, lambda one: one.unreadable is None and one.descriptor is None)),
        glued_header=tuple(_by_object(inspected, lambda one: one.glued_header)),
        unused_vertices=_by_object(
            inspected, lambda one: (one.unused[0], round(one.unused[1], _DIGITS)) if one.unused[0] else None
        ),
        repeated_indices=_by_object(inspected, lambda one: one.repeated_indices),
        zero_area=_by_object(inspected, lambda one: one.zero_area),
        repeated_faces=_by_object(inspected, lambda one: one.repeated_faces),
        open_edges=_by_object(inspected, lambda one: one.edges.boundary),
        crowded_edges=_by_object(inspected, lambda one: one.edges.crowded),
        misaligned_edges=_by_object(inspected, lambda one: one.edges.misaligned),
        watertight=sum(one.descriptor is not None and one.edges.boundary + one.edges.crowded == 0 for one in inspected),
    )


def geometry_groups(inspected: Sequence[Inspected]) -> dict[str, tuple[str, ...]]:
    """sha256 of the triangles -> the objects that have them, two or more."""
    return _groups(inspected, lambda one: one.geometry_sha256)


def _groups(inspected: Sequence[Inspected], value: Callable[[Inspected], str | None]) -> dict[str, tuple[str, ...]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for object_id, digest in _by_object(inspected, value).items():
        groups[digest].append(object_id)
    return {digest: tuple(ids) for digest, ids in groups.items() if len(ids) > 1}


def _by_object(inspected: Sequence[Inspected], value: Callable[[Inspected], Kind | None]) -> dict[str, Kind]:
    """object id -> what `value` finds, where it finds something."""
    return {one.file.object_id: found for one in inspected if (found := value(one))}


def join(groups: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """The sorted groups of ids that hang together through any of `groups`."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for first, *rest in groups:
        for name in rest:
            one, other = sorted((root(first), root(name)))
            parent[other] = one
    joined: dict[str, list[str]] = {}
    for name in sorted(parent):
        joined.setdefault(root(name), []).append(name)
    return sorted(tuple(names) for names in joined.values() if len(names) > 1)


def _across_classes(groups: Groups, files: Mapping[str, MeshFile]) -> tuple[tuple[str, ...], ...]:
    return tuple(group for group in join(groups) if len({files[name].label for name in group}) > 1)


def _compare_official(inspected: Sequence[Inspected], same_surface: Groups) -> Official | None:
    digests = {digest for known in known_objects(MODELNET10).values() for digest in known.digests}
    if sum(one.sha256 in digests for one in inspected) < _OFFICIAL_SHARE * len(inspected):
        return None
    files = [one.file for one in inspected]
    here = {file.object_id: file for file in files}
    known = {name: label for label in CLASSES for split in SPLITS for name in official_ids(label, split)}
    listed = [file for file in files if file.object_id in known]
    groups = {name: group for group in same_surface for name in group}
    return Official(
        missing=tuple(sorted(known.keys() - here.keys())),
        unknown=tuple(sorted(here.keys() - known.keys())),
        wrong_class=tuple(file.object_id for file in listed if file.label != known[file.object_id]),
        wrong_split=tuple(file.object_id for file in listed if file.split != official_split(file.object_id)),
        identical_files_found=tuple(pair for pair in IDENTICAL_FILES if pair[1] in groups.get(pair[0], ())),
        identical_files_undetectable=tuple(pair for pair in IDENTICAL_FILES if not here.keys() >= set(pair)),
    )


Item = TypeVar("Item")
Value = TypeVar("Value")

_CHUNK = 8  # items a message


def map_in_processes(function: Callable[[Item], Value], items: Sequence[Item], workers: int) -> Iterator[Value]:
    """Yields `function(item)` in the order of `items`.

    Args:
        function: can be pickled, and uses one thread.
        items: can be pickled.
        workers: processes; 1 is this one. They end when this process does, however it ends.

    Raises:
        InputError: the memory does not suffice, or a process died.
    """
    workers = min(workers, len(items))
    try:
        if workers <= 1:
            yield from map(function, items)
        else:
            yield from _map_in_pool(function, items, workers)
    except (BrokenProcessPool, MemoryError):
        raise InputError("audit: the memory does not suffice, or a worker process died; try fewer workers") from None


def _map_in_pool(function: Callable[[Item], Value], items: Sequence[Item], workers: int) -> Iterator[Value]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin) as pool:
        try:
            yield from pool.map(function, items, chunksize=_CHUNK)
        finally:
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """The first thing that a worker does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all: the parent ends the run, and says so
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def audit(
    meshes: Path,
    workers: int | None = None,
    note: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Looks at every mesh of a folder, and for each at all others.

    Processes are spawned: a script that calls this with more than one worker needs the usual
    `if __name__ == "__main__"`. The result depends neither on their number nor on the order of files.

    Args:
        meshes: the official ModelNet layout, `<label>/<train|test>/<object_id>.off`.
        workers: processes; None is one a core.
        note: what a reader must know of these meshes, in one line; kept in the audit.
        progress: called with the steps done and the steps in all.

    Raises:
        InputError: no such folder or layout, ids that are not unique, or a worker that died.
    """
    files = sorted(list_meshes(meshes), key=lambda file: file.object_id)
    if workers is not None and workers < 1:
        raise InputError(f"workers: {workers} (must be at least 1)")
    workers = workers or available_cores()
    inspected: list[Inspected] = []
    for one in map_in_processes(inspect_mesh, files, workers):
        inspected.append(one)
        if progress:
            progress(len(inspected), len(files))
    pairs = _near_pairs(inspected, workers, progress)
    return summarize(inspected, pairs, note)


def _near_pairs(
    inspected: Sequence[Inspected], workers: int, progress: Callable[[int, int], None] | None
) -> list[NearPair]:
    """Near duplicates among objects of different geometry; one stands for all that share its triangles."""
    copies = {object_id for group in geometry_groups(inspected).values() for object_id in group[1:]}
    distinct = [one for one in inspected if one.descriptor is not None and one.file.object_id not in copies]
    candidates = find_candidates(distinct, NEAR_DUPLICATE)
    pairs: list[NearPair] = []
    for done, found in enumerate(map_in_processes(measure, candidates, workers), 1):
        pairs += found
        if progress:
            progress(len(inspected) + done, len(inspected) + len(candidates))
    return sorted(pairs, key=lambda pair: (pair.one, pair.other))
