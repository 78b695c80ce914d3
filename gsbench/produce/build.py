"""Meshes to a data folder: OFF -> Mesh -> Views -> Gaussians -> Parquet. Here the steps are only chained."""

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gsbench.core.parsing import InputError
from gsbench.meshes.split import MeshFile, list_meshes
from gsbench.produce.description import describe
from gsbench.produce.engine import Engine, Lost, WorkItem
from gsbench.produce.engines import choose_fit_device, require_alike, start_engine
from gsbench.produce.gpu import fit_objects, kept_fit
from gsbench.produce.identity import Given, identify, missing_objects, require_audited
from gsbench.produce.made import Made, forget, keep_made, load_made, make_object
from gsbench.produce.objects import Fit
from gsbench.produce.packing import load_written, plan_shards, remove_others, without_rows
from gsbench.produce.preset import Preset, adapt, load_preset, select
from gsbench.produce.work import Work, open_work
from gsbench.reconstruct import fit
from gsbench.store.audit import Audit
from gsbench.store.card import About
from gsbench.store.create import Contents, finish_folder
from gsbench.store.manifest import Manifest, load_manifest
from gsbench.store.schema import SPLITS
from gsbench.store.shards import Written

MAX_SET_ASIDE = 1.0
"""Per cent of the objects that a build sets aside, and no more, unless it is told otherwise."""

Progress = Callable[[str, int, int, int], None]
"""Is told the stage (on a GPU `fits`, then `objects`, then `shards`), how many of it are done, how many there are, and
how many objects are set aside."""


def build(
    meshes: Path,
    out: Path,
    preset: str = "lite",
    workers: int | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
    *,
    renderer: str | None = None,
    limit_per_class: tuple[int, int] | None = None,
    name: str | None = None,
    audit: Path | None = None,
    max_set_aside: float = MAX_SET_ASIDE,
    engine: str = "local",
    ray_address: str | None = None,
    gpu_share: float = 0.25,
) -> Manifest:
    """Builds a data folder from a folder of meshes, in one single-threaded process a core.

    A build that is killed goes on when it is called again with the same arguments: every finished object is kept in
    `.<name>.building` beside `out` until `out` appears. The result depends neither on that nor on workers and engine;
    on CPU not in a byte. Objects that cannot be read, drawn or fitted are set aside with their reason in the manifest.
    The hashes of the meshes decide what the data set is called and derived from, see `gsbench.produce.identity`.
    Processes are spawned: a script that calls this needs the usual `if __name__ == "__main__"`.

    Args:
        meshes: the official ModelNet layout, `<label>/<train|test>/<object_id>.off`.
        out: a folder that does not exist yet, or an empty one; it appears when it is whole.
        preset: a table of build.toml (`mini`, `lite` or `full`), or a file's path, see `gsbench.produce.preset`.
        workers: processes; None is one a core.
        progress: called with how far it is; what an earlier run finished counts as done.
        device: what fits: `cpu`, `cuda` (see `gsbench.produce.gpu`), or `auto`, which is `cuda` where there is a GPU.
        renderer: `software` or `pyrender`, in place of the preset's.
        limit_per_class: the most training and test objects of a class; the data set then says that it is a part.
        name: the data set's; None is that of ModelNet10's meshes or the procedural ones, or of the folder `meshes`.
        audit: what `gsbench audit` wrote of these meshes, kept with the data; None is ModelNet10's for its, else none.
        max_set_aside: per cent of the objects; with more the build fails at the end, and what is finished is kept.
        engine: `local`, or `ray` for the machines of a cluster.
        ray_address: see `gsbench.produce.ray_engine.connected`; None starts a cluster on this machine.
        gpu_share: of a GPU, for each object that is fitted on one by `ray`.

    Returns:
        The manifest of the new folder.

    Raises:
        InputError: meshes, an argument or `out` that is not as it must be, a full disk, another build in that place, a
            cluster that does not answer, an audit of other meshes, or too many objects that could not be made.
    """
    meshes, out = Path(meshes).absolute(), Path(out).resolve()
    device = choose_fit_device(device, engine)
    if not 0 <= max_set_aside <= 100:
        raise InputError(f"max_set_aside: {max_set_aside} (allowed: 0 to 100, per cent of the objects)")
    recipe = adapt(load_preset(preset), renderer, limit_per_class)
    given = Given(meshes, list_meshes(meshes), preset, name)
    files = select(given.listed, recipe.limit_per_class)
    _require_both_splits(files, meshes, "there is no object")
    with (
        start_engine(engine, device, workers, ray_address, gpu_share) as running,
        open_work(out, lambda known: identify(describe(files, recipe, device, known), files, recipe, given)) as work,
    ):
        audited = None if audit is None else require_audited(audit, work.description, given)
        if not work.placed:
            require_alike(running, [meshes, work.path], work.description)
            step = _Step(work, recipe, running, device == "cuda" and engine == "local", progress or _no_progress)
            fitting = functools.partial(fit, device=device)
            contents, tasks, written = _make_and_plan(files, step, fitting, given, max_set_aside, audited)
            _pack(contents, tasks, written, step)
            work.place()
    return load_manifest(out)


@dataclass(frozen=True, slots=True)
class _Step:
    """What every step of a build needs.

    Attributes:
        work: the open work folder.
        recipe: the preset.
        engine: runs tasks.
        on_gpu: whether this process fits on this machine's GPU, see `gsbench.produce.gpu`.
        progress: called with how far it is.
    """

    work: Work
    recipe: Preset
    engine: Engine
    on_gpu: bool
    progress: Progress


def _no_progress(stage: str, done: int, total: int, set_aside: int) -> None:
    pass


def _require_both_splits(files: Sequence[MeshFile], meshes: Path, what: str) -> None:
    for split in SPLITS:
        if not any(file.split == split for file in files):
            raise InputError(f"{meshes}: {what} of the split {split}, a data set needs {' and '.join(SPLITS)}")


def _require_made(
    meshes: Path, files: Sequence[MeshFile], made: Mapping[str, Made], most: float, work: Work
) -> list[MeshFile]:
    """The files whose objects are made; an InputError if these are too few, or `most` per cent are not made."""
    kept = [file for file in files if made[file.object_id].reason is None]
    if not kept:
        first = files[0].object_id
        raise InputError(f"{meshes}: none of {len(files)} objects could be made; {first}: {made[first].reason}")
    _require_few_set_aside(meshes, made, most, work)
    _require_both_splits(kept, meshes, "no object could be made")
    return kept


def _require_few_set_aside(meshes: Path, made: Mapping[str, Made], most: float, work: Work) -> None:
    """Raises an InputError with the most common reason if more than `most` per cent of the objects are set aside."""
    reasons = {object_id: each.reason for object_id, each in sorted(made.items()) if each.reason}
    share = 100 * len(reasons) / len(made)
    if share <= most:
        return
    alike = {object_id: re.sub(r"[0-9.]+", "0", reason) for object_id, reason in reasons.items()}  # whatever the line
    common, times = Counter(alike.values()).most_common(1)[0]
    first = next(object_id for object_id, reason in alike.items() if reason == common)
    enough = math.ceil(10 * share) / 10
    raise InputError(
        f"{meshes}: {len(reasons)} of {len(made)} objects could not be made, {share:.3g} % (allowed: {most:g} %); "
        f"most often, {times} times, such as {first}: {reasons[first]}; mend or remove such meshes, or allow it with "
        f"--max-set-aside {enough:g}; {work.advice}"
    )


def _make_and_plan(
    files: Sequence[MeshFile], step: _Step, fit: Fit, given: Given, max_set_aside: float, audit: Audit | None
) -> tuple[Contents, list[WorkItem], dict[str, Written]]:
    """Makes all objects; returns what the data folder will hold, the tasks of its shards, and what is written of them.

    A build that was killed while it wrote shards may go on with other objects, when a mesh that was set aside is
    mended. What went into shards of the earlier plan alone is made again.
    """
    while True:
        made = _make_objects(files, step, fit)
        kept = _require_made(given.meshes, files, made, max_set_aside, step.work)
        contents = _contents(kept, made, step, audit)
        of_kept = {file.object_id: made[file.object_id] for file in kept}
        tasks = plan_shards(step.work, contents, of_kept)
        written = load_written(tasks)
        gone = without_rows((task for task in tasks if task.name not in written), of_kept)
        if not gone:
            return contents, tasks, written
        forget(step.work.objects, gone)


def _make_objects(files: Sequence[MeshFile], step: _Step, fit: Fit) -> dict[str, Made]:
    """Makes every object that is not finished yet."""
    objects, progress = step.work.objects, step.progress
    made = load_made(objects, (file.object_id for file in files))
    aside = sum(each.reason is not None for each in made.values())
    missing = [file for file in files if file.object_id not in made]
    if step.on_gpu and missing:
        fit_objects(missing, step.recipe, objects, step.engine, lambda done, total: progress("fits", done, total, 0))
    progress("objects", len(made), len(files), aside)
    if not missing:
        return made
    fits = ((file, kept_fit(objects, file) if step.on_gpu else fit) for file in missing)
    tasks = [WorkItem(file.object_id, make_object, (file, step.recipe, objects, its), True) for file, its in fits]
    for object_id, result in step.engine.run(tasks):
        each = Made(reason=result.reason, final=False) if isinstance(result, Lost) else result
        if not each.final:  # kept all the same, so that this mesh may be another when the build goes on
            keep_made(objects, object_id, each)
        made[object_id] = each
        aside += each.reason is not None
        progress("objects", len(made), len(files), aside)
    return made


def _contents(kept: Sequence[MeshFile], made: Mapping[str, Made], step: _Step, audit: Audit | None) -> Contents:
    """What the data folder will hold."""
    description, recipe = step.work.description, step.recipe
    reasons = {object_id: each.reason for object_id, each in sorted(made.items()) if each.reason}
    return Contents(
        about=About(**description.recipe["about"]),
        objects={split: {file.object_id: file.label for file in kept if file.split == split} for split in SPLITS},
        sh_coefficients=(recipe.fit.sh_degree + 1) ** 2,
        float_type=recipe.store.float_type,
        recipe=description.recipe,
        made_with=description.programs,
        set_aside=reasons,
        missing=missing_objects(description),
        derived_from=description.derived_from,
        part=description.part,
        audit=audit,
        max_shard_bytes=recipe.store.max_shard_bytes,
    )


def _pack(contents: Contents, tasks: Sequence[WorkItem], written: dict[str, Written], step: _Step) -> Manifest:
    """Writes the shards that are missing, manifest and cards."""
    work, aside = step.work, len(contents.set_aside)
    remove_others(work.folder, tasks)
    step.progress("shards", len(written), len(tasks), aside)
    for name, result in step.engine.run([task for task in tasks if task.name not in written]):
        if isinstance(result, Lost):
            raise InputError(f"{work.out}: {name} could not be written: {result.reason}; the same command goes on")
        written[name] = result
        step.progress("shards", len(written), len(tasks), aside)
    return finish_folder(work.folder, contents, written)
