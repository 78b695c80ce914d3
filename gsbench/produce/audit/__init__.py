"""What is wrong with a folder of meshes: duplicates across classes and splits, defects, missing objects."""

from collections.abc import Callable, Sequence
from pathlib import Path

from gsbench.core.environment import available_cores
from gsbench.core.parsing import InputError
from gsbench.meshes.split import list_meshes
from gsbench.produce.audit.objects import Inspected, inspect_mesh
from gsbench.produce.audit.pairs import NEAR_DUPLICATE, find_candidates, measure
from gsbench.produce.audit.pool import map_in_processes
from gsbench.produce.audit.summary import geometry_groups, summarize
from gsbench.store.audit import Audit, NearPair


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
