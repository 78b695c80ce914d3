"""Meshes to a data folder: OFF -> Mesh -> Views -> Gaussians -> Parquet. Here the steps are only chained."""

import concurrent.futures
import concurrent.futures.process
import contextlib
import dataclasses
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gsbench.build.objects import build_object, load_rows, save_object
from gsbench.build.preset import Preset, load_preset
from gsbench.meshes.split import MeshFile, list_meshes, mesh_sha256
from gsbench.store.arrays import Row
from gsbench.store.create import Contents, staging_folder, write_folder
from gsbench.store.manifest import Manifest
from gsbench.store.schema import SPLITS

# The last one is of Mesa, which draws the views where there is no GPU.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "LP_NUM_THREADS",
)


def build(
    meshes: Path,
    out: Path,
    preset: str = "lite",
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Builds a data folder from a folder of meshes, in one single-threaded process a core.

    The result does not depend on the number of workers. Objects that cannot be read, drawn or fitted are set aside
    with their reason in the manifest. Processes are spawned: a script that calls this needs the usual
    `if __name__ == "__main__"`.

    Args:
        meshes: the official ModelNet layout, `<label>/<train|test>/<object_id>.off`.
        out: a folder that does not exist yet, or an empty one; it appears when it is whole.
        preset: a table of build.toml: `mini`, `lite` or `full`.
        workers: processes; None is one a core.
        progress: called with the objects done and the objects in all.

    Returns:
        The manifest of the new folder.

    Raises:
        ValueError: no such meshes or preset, `out` cannot be written, the disk is full, or no object could be made.
    """
    recipe = load_preset(preset)
    files = sorted(list_meshes(meshes), key=lambda file: file.object_id)
    _require_both_splits(files, meshes, "there is no object")
    if workers is not None and workers < 1:
        raise ValueError(f"workers: {workers} (must be at least 1)")
    with staging_folder(out) as staging:
        objects = staging / ".objects"
        objects.mkdir()
        made = _make_objects(files, recipe, objects, workers or len(os.sched_getaffinity(0)), progress)
        kept = [file for file in files if made[file.object_id].reason is None]
        if not kept:
            first = files[0].object_id
            raise ValueError(f"{meshes}: none of {len(files)} objects could be made; {first}: {made[first].reason}")
        _require_both_splits(kept, meshes, "no object could be made")
        manifest = _pack(staging, objects, kept, made, recipe)
        shutil.rmtree(objects)
    return manifest


def _require_both_splits(files: Sequence[MeshFile], meshes: Path, what: str) -> None:
    for split in SPLITS:
        if not any(file.split == split for file in files):
            raise ValueError(f"{meshes}: {what} of the split {split}, a data set needs {' and '.join(SPLITS)}")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How one object went: its scores, or the reason why it was set aside."""

    psnr: float = math.nan
    ssim: float = math.nan
    reason: str | None = None


def _make_objects(
    files: Sequence[MeshFile],
    recipe: Preset,
    objects: Path,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> dict[str, _Outcome]:
    """Makes every object in worker processes; each leaves its rows in a file of its own under `objects`."""
    made: dict[str, _Outcome] = {}
    context = multiprocessing.get_context("spawn")
    with _single_threaded_children(), concurrent.futures.ProcessPoolExecutor(min(workers, len(files)), context) as pool:
        futures = {pool.submit(_make_object, file, recipe, objects): file.object_id for file in files}
        try:
            for future in concurrent.futures.as_completed(futures):
                made[futures[future]] = future.result()
                if progress:
                    progress(len(made), len(files))
        except concurrent.futures.process.BrokenProcessPool:
            raise ValueError(
                "build: a worker process died, most likely for want of memory; try fewer workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
    return made


@contextlib.contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Processes started in the block use one thread each: the parallelism is across objects."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _make_object(file: MeshFile, recipe: Preset, objects: Path) -> _Outcome:
    try:
        rows = build_object(file, recipe)
    except (ValueError, OSError) as error:
        return _Outcome(reason=" ".join(str(error).removeprefix(f"{file.path}: ").split()))
    save_object(rows, objects / f"{file.object_id}.npz")
    return _Outcome(rows.psnr, rows.ssim)


def _pack(
    staging: Path, objects: Path, kept: Sequence[MeshFile], made: Mapping[str, _Outcome], recipe: Preset
) -> Manifest:
    """Writes the shards, manifest and cards of the objects that were made."""
    digests = {file.object_id: mesh_sha256(file.path) for file in kept}
    first: dict[str, str] = {}
    for object_id in sorted(digests):
        first.setdefault(digests[object_id], object_id)
    labels = {split: {file.object_id: file.label for file in kept if file.split == split} for split in SPLITS}

    def rows(config: str, split: str) -> Iterator[Row]:
        for object_id in sorted(labels[split]):
            digest = digests[object_id]
            original = None if first[digest] == object_id else first[digest]
            for row in load_rows(objects / f"{object_id}.npz", config):
                yield {**row, "mesh_sha256": digest, "duplicate_of": original}

    contents = Contents(
        about=recipe.about,
        objects=labels,
        sh_coefficients=(recipe.fit.sh_degree + 1) ** 2,
        recipe=dataclasses.asdict(recipe),
        set_aside={object_id: outcome.reason for object_id, outcome in sorted(made.items()) if outcome.reason},
        quality={
            name: float(np.mean([getattr(made[object_id], name) for object_id in sorted(digests)]))
            for name in ("psnr", "ssim")
        },
        max_shard_bytes=recipe.store.max_shard_bytes,
    )
    sources = {(config, split): rows(config, split) for config in ("gaussians", "points", "views") for split in SPLITS}
    return write_folder(staging, contents, sources)
