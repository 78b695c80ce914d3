"""Meshes to a data folder: OFF -> Mesh -> Views -> Gaussians -> Parquet. Here the steps are only chained."""

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from gsbench.core.parsing import InputError
from gsbench.meshes.split import MeshFile, list_meshes
from gsbench.produce.description import describe
from gsbench.produce.engine import Engine, Lost, Task
from gsbench.produce.engines import choose_device, start_engine, start_fit
from gsbench.produce.identity import Given, identify, missing_objects, require_audited
from gsbench.produce.machines import require_alike
from gsbench.produce.make_object import make_object
from gsbench.produce.objects import Fit
from gsbench.produce.outcome import Outcome, keep_outcome, load_outcomes
from gsbench.produce.packing import load_written, plan_shards, remove_others
from gsbench.produce.preset import Preset, adapt, load_preset, select
from gsbench.produce.work import Work, open_work
from gsbench.store.audit import Audit
from gsbench.store.card import About
from gsbench.store.create import Contents, finish_folder
from gsbench.store.manifest import Manifest, load_manifest
from gsbench.store.schema import SPLITS

MAX_SET_ASIDE = 1.0
"""Per cent of the objects that a build sets aside, and no more, unless it is told otherwise."""

Progress = Callable[[str, int, int, int], None]
"""Is told the stage (`objects`, then `shards`), how many are done, how many there are, and how many are set aside."""


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
        workers: processes; None is one a core, and on CUDA as many more as may wait for the GPU.
        progress: is told how far it is; what an earlier run finished counts as done.
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
    device = choose_device(device, engine)
    if not 0 <= max_set_aside <= 100:
        raise InputError(f"max_set_aside: {max_set_aside} (allowed: 0 to 100, per cent of the objects)")
    recipe = adapt(load_preset(preset), renderer, limit_per_class)
    given = Given(meshes, list_meshes(meshes), preset, name)
    files = select(given.listed, recipe.limit_per_class)
    _require_both_splits(files, meshes, "there is no object")
    with (
        start_engine(engine, recipe, device, workers, ray_address, gpu_share) as running,
        open_work(out, lambda known: identify(describe(files, recipe, device, known), files, recipe, given)) as work,
    ):
        audited = None if audit is None else require_audited(audit, work.description, given)
        if not work.placed:
            require_alike(running, [meshes, work.path], work.description)
            fitting = functools.partial(start_fit, engine, recipe, device)
            report = progress or _tell_nobody
            outcomes = _make_objects(files, recipe, work, running, fitting, report)
            kept = _require_made(meshes, files, outcomes, max_set_aside, work)
            _pack(work, kept, outcomes, recipe, running, report, audited)
            work.place()
    return load_manifest(out)


def _tell_nobody(stage: str, done: int, total: int, set_aside: int) -> None:
    pass


def _require_both_splits(files: Sequence[MeshFile], meshes: Path, what: str) -> None:
    for split in SPLITS:
        if not any(file.split == split for file in files):
            raise InputError(f"{meshes}: {what} of the split {split}, a data set needs {' and '.join(SPLITS)}")


def _require_made(
    meshes: Path, files: Sequence[MeshFile], outcomes: Mapping[str, Outcome], most: float, work: Work
) -> list[MeshFile]:
    """The files whose objects are made; an InputError if these are too few, or `most` per cent are not made."""
    kept = [file for file in files if outcomes[file.object_id].reason is None]
    if not kept:
        first = files[0].object_id
        raise InputError(f"{meshes}: none of {len(files)} objects could be made; {first}: {outcomes[first].reason}")
    _require_few_set_aside(meshes, outcomes, most, work)
    _require_both_splits(kept, meshes, "no object could be made")
    return kept


def _require_few_set_aside(meshes: Path, outcomes: Mapping[str, Outcome], most: float, work: Work) -> None:
    """Raises an InputError with the most common reason if more than `most` per cent of the objects are set aside."""
    reasons = {object_id: outcome.reason for object_id, outcome in sorted(outcomes.items()) if outcome.reason}
    share = 100 * len(reasons) / len(outcomes)
    if share <= most:
        return
    alike = {object_id: re.sub(r"[0-9.]+", "0", reason) for object_id, reason in reasons.items()}  # whatever the line
    common, times = Counter(alike.values()).most_common(1)[0]
    first = next(object_id for object_id, reason in alike.items() if reason == common)
    enough = math.ceil(10 * share) / 10
    raise InputError(
        f"{meshes}: {len(reasons)} of {len(outcomes)} objects could not be made, {share:.3g} % (allowed: {most:g} %); "
        f"most often, {times} times, such as {first}: {reasons[first]}; mend or remove such meshes, or allow it with "
        f"--max-set-aside {enough:g}; {work.advice}"
    )


def _make_objects(
    files: Sequence[MeshFile],
    recipe: Preset,
    work: Work,
    engine: Engine,
    fitting: Callable[[], AbstractContextManager[Fit]],
    progress: Progress,
) -> dict[str, Outcome]:
    """Makes every object that is not finished yet."""
    outcomes = load_outcomes(work.objects, (file.object_id for file in files))
    aside = sum(outcome.reason is not None for outcome in outcomes.values())
    progress("objects", len(outcomes), len(files), aside)
    missing = [file for file in files if file.object_id not in outcomes]
    if not missing:
        return outcomes
    with fitting() as fit:
        tasks = [Task(file.object_id, make_object, (file, recipe, work.objects, fit), True) for file in missing]
        for object_id, result in engine.run(tasks):
            outcome = Outcome(reason=result.reason, final=False) if isinstance(result, Lost) else result
            if not outcome.final:  # kept all the same, so that this mesh may be another when the build goes on
                keep_outcome(work.objects, object_id, outcome)
            outcomes[object_id] = outcome
            aside += outcome.reason is not None
            progress("objects", len(outcomes), len(files), aside)
    return outcomes


def _pack(
    work: Work,
    kept: Sequence[MeshFile],
    outcomes: Mapping[str, Outcome],
    recipe: Preset,
    engine: Engine,
    progress: Progress,
    audit: Audit | None,
) -> Manifest:
    """Writes the shards, manifest and cards of the objects that were made."""
    reasons = {object_id: outcome.reason for object_id, outcome in sorted(outcomes.items()) if outcome.reason}
    made = {file.object_id: outcomes[file.object_id] for file in kept}
    contents = Contents(
        about=About(**work.description.recipe["about"]),
        objects={split: {file.object_id: file.label for file in kept if file.split == split} for split in SPLITS},
        sh_coefficients=(recipe.fit.sh_degree + 1) ** 2,
        float_type=recipe.store.float_type,
        recipe=work.description.recipe,
        made_with=work.description.programs,
        set_aside=reasons,
        missing=missing_objects(work.description),
        derived_from=work.description.derived_from,
        part=work.description.part,
        audit=audit,
        max_shard_bytes=recipe.store.max_shard_bytes,
    )
    tasks = plan_shards(work, contents, made)
    remove_others(work.folder, tasks)
    written = load_written(tasks)
    progress("shards", len(written), len(tasks), len(reasons))
    for name, result in engine.run([task for task in tasks if task.name not in written]):
        if isinstance(result, Lost):
            raise InputError(f"{work.out}: {name} could not be written: {result.reason}; the same command goes on")
        written[name] = result
        progress("shards", len(written), len(tasks), len(reasons))
    return finish_folder(work.folder, contents, written)
