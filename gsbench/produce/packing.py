"""Finished objects to the shards of a data folder: planned here, written by the engine's workers."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gsbench.core.files import parse_json, write_atomic
from gsbench.core.parsing import parse
from gsbench.produce.engine import WorkItem
from gsbench.produce.made import Made, has_rows, rows_path
from gsbench.produce.work import Work
from gsbench.store.arrays import Row
from gsbench.store.create import Contents
from gsbench.store.schema import CONFIGS, SPLITS, Schema, shard_name
from gsbench.store.shards import ShardPlan, Written, load_rows, write_shard


def plan_shards(work: Work, contents: Contents, made: Mapping[str, Made]) -> list[WorkItem]:
    """The tasks that write the shards, `make_shard` each; a task's name is the shard's path in the data folder.

    Which object goes into which shard follows from the objects alone: it is the same however the build was resumed.

    Raises:
        InputError: an object is larger than a shard may be.
    """
    digests = {object_id: work.description.meshes[object_id].sha256 for object_id in made}
    originals = find_duplicates(digests)
    tasks = []
    for config in CONFIGS:
        schema = contents.schema(config)
        for split in SPLITS:
            plan = ShardPlan(schema, contents.max_shard_bytes)
            shards: dict[int, dict[str, Row]] = {}
            for object_id, columns in sorted(contents.columns(split).items()):
                number = plan.place(object_id, made[object_id].row_bytes[config])
                whole = {**columns, "mesh_sha256": digests[object_id], "duplicate_of": originals.get(object_id)}
                shards.setdefault(number, {})[object_id] = whole
            for number, of_shard in shards.items():
                name = shard_name(config, split, number, len(shards))
                tasks.append(WorkItem(name, make_shard, (work.path, name, schema, of_shard)))
    return tasks


def find_duplicates(digests: Mapping[str, str | None]) -> dict[str, str]:
    """Object id to the first object of the same digest, for all but that first one."""
    first: dict[str | None, str] = {}
    for object_id in sorted(digests):
        first.setdefault(digests[object_id], object_id)
    return {object_id: first[digest] for object_id, digest in digests.items() if first[digest] != object_id}


def make_shard(work: Path, name: str, schema: Schema, columns: Mapping[str, Row]) -> Written:
    """Writes one shard from the objects' files, then what it holds into a file of its own, and removes those files.

    Args:
        work: the work folder.
        name: the shard's path in the data folder.
        schema: of its config.
        columns: object id to what its rows have beside what its file holds.

    Raises:
        InputError: an object's file is damaged; the message says what to do.
        OSError: the disk is full.
    """
    objects = work / "objects"
    rows = (load_rows(rows_path(objects, schema.config, name), schema, of_set) for name, of_set in columns.items())
    written = write_shard(work / "folder" / name, schema, rows)
    record = {"asked": _asked(schema, columns), "written": dataclasses.asdict(written)}
    write_atomic(_record_path(work, name), json.dumps(record).encode())
    _remove_rows(objects, schema.config, columns)
    return written


def _remove_rows(objects: Path, config: str, object_ids: Iterable[str]) -> None:
    for object_id in object_ids:
        rows_path(objects, config, object_id).unlink(missing_ok=True)


def _asked(schema: Schema, columns: Mapping[str, Row]) -> str:
    """What a shard is to hold, as a hash."""
    return hashlib.sha256(json.dumps([dataclasses.asdict(schema), columns]).encode()).hexdigest()


def _record_path(work: Path, name: str) -> Path:
    return work / "shards" / f"{name.replace('/', '-')}.json"


def load_written(tasks: Sequence[WorkItem]) -> dict[str, Written]:
    """What is written already of the shards that `plan_shards` planned, by name; its objects' files are removed."""
    written = {}
    for task in tasks:
        work, name, schema, columns = task.arguments
        path = _record_path(work, name)
        try:
            record: dict[str, Any] = parse_json(path.read_bytes())
            found = parse(record["written"], Written, str(path))
            same = record["asked"] == _asked(schema, columns)
            if same and (work / "folder" / name).stat().st_size == found.shard.bytes:
                written[name] = found
        except (OSError, ValueError, KeyError):
            continue  # it was killed before this shard was finished
        if name in written:
            _remove_rows(work / "objects", schema.config, columns)
    return written


def without_rows(tasks: Iterable[WorkItem], made: Mapping[str, Made]) -> set[str]:
    """Objects of shards that are still to be written whose rows are gone or cut off.

    That is so where a killed build had written them to a shard of another plan, made before an object was mended.
    """
    return {
        object_id
        for work, _, schema, columns in (task.arguments for task in tasks)
        for object_id in columns
        if not has_rows(work / "objects", schema.config, object_id, made[object_id])
    }


def remove_others(folder: Path, tasks: Sequence[WorkItem]) -> None:
    """Removes shards of an earlier plan, made when other objects had been set aside."""
    planned = {task.name for task in tasks}
    for path in folder.glob("*/*.parquet"):
        if path.relative_to(folder).as_posix() not in planned:
            path.unlink()
