"""Opening a data folder by name, path or Hub repository, and reading it fast.

A name means one thing everywhere: `mini` and `modelnet10-gs` are data sets whatever lies beside; a folder called so is
written ./mini. What is a folder is that folder, whatever characters are in its path; ORG/NAME is on the Hub.
"""

import importlib.resources
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gsbench.core.environment import available_cores
from gsbench.core.parsing import InputError, suggest
from gsbench.store import hub
from gsbench.store.arrays import as_numpy
from gsbench.store.hashes import LARGE, check_hash
from gsbench.store.manifest import MANIFEST, Manifest, load_manifest
from gsbench.store.parquet import naming, read_foot, read_groups
from gsbench.store.schema import IMAGE_CONFIGS, SPLITS, Schema, shard_name

if TYPE_CHECKING:
    import datasets

MODELNET10 = "modelnet10-gs"
MINI = "mini"
NAMES = (MINI, MODELNET10)

HUB_REPO = "gsbench/modelnet10-gs"
"""Where `modelnet10-gs` is on the Hugging Face Hub."""

ENV_DATA = "GSBENCH_DATA"
"""Environment variable with the folder of a local build of ModelNet10-GS."""

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Folder:
    """An open data folder: where it lies and what its manifest says; labels are read once."""

    path: Path
    manifest: Manifest
    _labels: dict[str, dict[str, str]] = field(default_factory=dict, repr=False, compare=False)


def open_folder(path: Path) -> Folder:
    """Opens a data folder.

    Raises:
        InputError: no such folder, or one that is no data set; the message names it.
    """
    if not os.path.isdir(path):
        what = "is no folder" if os.path.lexists(path) else "no such folder"
        raise InputError(f"{path}: {what} (allowed: a folder that `gsbench build` wrote, {_known()})")
    if not os.path.isfile(path / MANIFEST):
        raise InputError(f"{path}: no data set, it has no {MANIFEST} (allowed: a folder that `gsbench build` wrote)")
    return Folder(path, load_manifest(path))


def resolve(
    source: str | Path,
    revision: str | None = None,
    configs: Sequence[str] | None = None,
    notify: Callable[[str], None] = warnings.warn,
) -> Path:
    """Finds a data set on this machine, or brings it there from the Hub.

    Args:
        source: `mini`, `modelnet10-gs`, a folder, or `ORG/NAME` on the Hub, each with `@REVISION` behind it where one
            is wanted; a Path is a folder, whatever it is called. `modelnet10-gs` is the folder in $GSBENCH_DATA, else
            ./modelnet10-gs, else the Hub's. `~` is the user's home.
        revision: Hub revision; None is its newest. A local folder has but its version.
        configs: the configs to download; None is all of them.
        notify: called with one line, of of a folder here that the name does not mean.

    Returns:
        The folder; `open_folder` reads it. Its path, as a string, is not one of the names.

    Raises:
        InputError: nothing of that name here or on the Hub, or the Hub cannot be reached.
    """
    if isinstance(source, Path):
        return _local(source, revision)
    for place in (source, os.path.expanduser(source)) if source not in NAMES else ():
        if place and os.path.isdir(place):
            return _local(Path(place), revision)
    name, at, asked = source.rpartition("@")
    if at and asked and (name in NAMES or _REPO.fullmatch(name) or os.path.isdir(name)):
        if revision not in (None, asked):
            raise InputError(f"{source}: revision {revision} asked for as well (allowed: one of them)")
        return resolve(name, asked, configs, notify)
    if source == MINI:
        return _local(_mini(notify), revision)
    if source == MODELNET10:
        local = _local_modelnet10(notify)
        return _local(local, revision) if local else hub.download(HUB_REPO, revision, configs)
    if _REPO.fullmatch(source):
        return hub.download(source, revision, configs)
    if os.path.lexists(source):
        open_folder(Path(source))  # says what it is instead
    close = suggest(source[:100], NAMES)
    shown = source[:300] if source.isprintable() and source else repr(source[:300])
    raise InputError(f"{shown}: no such data set{close} (allowed: {_known()}, a folder, or ORG/NAME on the Hub)")


def _known() -> str:
    return ", ".join(NAMES)


def _local(path: Path, revision: str | None) -> Path:
    folder = open_folder(path)
    if revision not in (None, folder.manifest.version):
        raise InputError(f"{path}: revision {revision} asked for, the folder is {folder.manifest.version}")
    return path.absolute() if str(path) in NAMES else path  # written so that it stays a path


def _mini(notify: Callable[[str], None]) -> Path:
    embedded = Path(str(importlib.resources.files("gsbench") / "mini"))
    if os.path.isdir(MINI) and not os.path.samefile(MINI, embedded):
        notify(f"`{MINI}` is the embedded data set; the folder of that name here is ./{MINI}")
    return embedded


def _local_modelnet10(notify: Callable[[str], None]) -> Path | None:
    here = Path(MODELNET10)
    if chosen := os.environ.get(ENV_DATA):
        if os.path.isdir(here) and not (os.path.isdir(chosen) and os.path.samefile(here, chosen)):
            notify(f"`{MODELNET10}` is ${ENV_DATA}, {chosen}; the folder of that name here is ./{MODELNET10}")
        if not os.path.isdir(chosen):
            raise InputError(f"{ENV_DATA}: {chosen}: no such folder (must be a build of ModelNet10-GS, or not set)")
        return Path(chosen)
    if (here / MANIFEST).is_file():
        return here
    if os.path.isdir(here):
        notify(f"./{MODELNET10} is no data set, it has no {MANIFEST}: `{MODELNET10}` is looked for on the Hub")
    return None


def default_data() -> tuple[str, str | None]:
    """The data set that is used when none is named.

    Returns:
        ModelNet10-GS if there is a local build, a downloaded copy, or the Hub answers at once and has it, with no
        notice; else `mini` with the sentence that says so. Takes four seconds at most.
    """
    if _local_modelnet10(lambda _: None) or hub.is_cached(HUB_REPO) or hub.has(HUB_REPO):
        return MODELNET10, None
    return MINI, (
        f"ModelNet10-GS is neither here (./{MODELNET10}, ${ENV_DATA}) nor reachable on the Hugging Face Hub: "
        f"using the embedded data set `{MINI}`, made of procedural shapes. Its scores are not comparable."
    )


def load_dataset(
    name: str | Path,
    config: str = "gaussians",
    split: str | None = None,
    revision: str | None = None,
) -> "datasets.DatasetDict | datasets.Dataset":
    """Loads one config of a data set with Hugging Face `datasets`.

    Args:
        name: `mini`, `modelnet10-gs`, a folder, or `ORG/NAME` on the Hub; see `resolve`.
        config: `gaussians`, `points`, `views` or `reconstructions`.
        split: `train` or `test` (or a slice such as `train[:10]`); None for both.
        revision: Hub revision; None is its newest.

    Returns:
        What `datasets.load_dataset` returns: a Dataset for a split, else a DatasetDict.

    Raises:
        InputError: no such data set, config or split; or the data are not those of the manifest.
    """
    Schema(config, ())  # a config that no data set can have is refused before anything is downloaded
    hub.check_split(split, SPLITS)
    folder = open_folder(resolve(name, revision, [config]))
    check_configs(folder, [config])
    shards = {each: _shards_of(folder, config, each) for each in SPLITS}
    hashes = {path: shard.sha256 for path, shard in folder.manifest.shards.items()}
    return hub.load(folder.path, folder.manifest.schema(config), shards, hashes, split)


def check_configs(folder: Folder, configs: Sequence[str], notify: Callable[[str], None] | None = None) -> None:
    """Holds configs against the manifest: hashes, columns, rows, and the objects and classes of both splits.

    Args:
        folder: an open data folder.
        configs: those to be read.
        notify: called with one line, of of hashes that take more than a second.

    Raises:
        InputError: a shard is not the manifest's, objects or their classes differ in number from what it says, from one
            config to the next, or are in both splits; the message names it.
    """
    manifest = folder.manifest
    for config in configs:
        manifest.schema(config)
    shards = [name for name in manifest.shards if name.partition("/")[0] in configs]
    size = sum(manifest.shards[name].bytes for name in shards)
    if notify and size > 10 * LARGE:
        notify(f"{folder.path}: {size / 1e9:.1f} GB are held against {MANIFEST}, once")
    with ThreadPoolExecutor(available_cores()) as threads:
        list(threads.map(lambda name: check_hash(folder.path / name, manifest.shards[name]), shards))
    labels = {config: {split: _labels(folder, config, split) for split in SPLITS} for config in configs}
    for config, of_split in labels.items():
        if twice := of_split["train"].keys() & of_split["test"].keys():
            raise InputError(f"{folder.path}: {config}: {min(twice)} is in train and in test (must be in one)")
        for split, here in of_split.items():
            if not here:
                raise InputError(f"{folder.path}: {config}, {split}: no objects (must have some)")
            first = labels[configs[0]][split]
            if here != first:
                odd = min(set(here.items()) ^ set(first.items()))[0]
                raise InputError(f"{folder.path}: {config}, {split}: {odd} is not as in {configs[0]} (must be)")


def read_table(folder: Folder, config: str, split: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a split of a config straight from its shards, of which hashes and every value are checked on the way.

    Args:
        folder: an open data folder.
        config: one that the folder has.
        split: `train` or `test`.
        columns: the columns to read; None for all.

    Returns:
        The rows in order of object_id. `gsbench.store.arrays.ragged` turns its columns into numpy arrays.

    Raises:
        InputError: no such config, split or column, a shard that is missing or not the manifest's, or a value that the
            schema does not allow; the message names shard, object and column.
    """
    return pa.concat_tables([table for _, table in read_shards(folder, config, split, columns)])


def read_shards(
    folder: Folder, config: str, split: str, columns: Sequence[str] | None = None
) -> Iterator[tuple[str, pa.Table]]:
    """As `read_table`, one shard at a time with its path in the folder: for what is too large to be read at once."""
    manifest = folder.manifest
    schema = _schema_with(folder, config, columns)
    last, has_labels = "", columns is None or "label" in columns
    labels = np.zeros(len(schema.classes), np.int64)
    for name in _shards_of(folder, config, split):
        path, shard = folder.path / name, manifest.shards[name]
        check_hash(path, shard)
        metadata = read_foot(path, shard, schema)
        table = read_groups(path, metadata, schema, range(metadata.num_row_groups), columns)
        if columns is None or "object_id" in columns:
            last = _check_order(path, table, last, config in IMAGE_CONFIGS)
        if has_labels:
            labels += np.bincount(as_numpy(table["label"]), minlength=len(labels))
        yield name, table
    if has_labels:
        found, stated = dict(zip(schema.classes, labels.tolist(), strict=True)), manifest.counts[config][split]
        if found != stated:
            raise InputError(f"{folder.path}: {config}, {split}: rows by class are {found}, {MANIFEST} says {stated}")


def _schema_with(folder: Folder, config: str, columns: Sequence[str] | None) -> Schema:
    """The schema of a config; an InputError names a column that it lacks."""
    schema = folder.manifest.schema(config)
    names = [column.name for column in schema.columns]
    for column in columns or ():
        if column not in names:
            raise InputError(f"{config}: no column '{column}'{suggest(column, names)} (it has: {', '.join(names)})")
    return schema


def _shards_of(folder: Folder, config: str, split: str) -> list[str]:
    """The shards of a split, in order; an InputError where there is none, or a number is left out."""
    shards = folder.manifest.shards_of(config, split)
    if not shards:
        raise InputError(f"{folder.path}: config {config} has no split '{split}' (allowed: {', '.join(SPLITS)})")
    for number, name in enumerate(shards):
        if name != (expected := shard_name(config, split, number, len(shards))):
            raise InputError(f"{folder.path / MANIFEST}: shards: {name} of {len(shards)} (must be {expected})")
    return shards


def _check_order(path: Path, table: pa.Table, last: str, repeated: bool) -> str:
    """Checks that the rows are sorted by object, of which each has one row unless `repeated`; returns the last id."""
    ids = [last, *table["object_id"].to_pylist()]
    for before, after in pairwise(ids):
        if not (before < after or (repeated and before == after)):
            raise InputError(f"{path}: {after}: object_id is out of order or twice (rows are sorted by it)")
    return ids[-1]


def find_rows(
    folder: Folder, config: str, object_id: str, columns: Sequence[str] | None = None
) -> tuple[str, pa.Table] | None:
    """The split of an object and its rows of a config, in the memory of the row groups that can hold them.

    Args:
        folder: an open data folder.
        config: one that the folder has.
        object_id: of either split.
        columns: the columns to read, of which `object_id` is one; None for all.

    Returns:
        None where the config has nothing of the object.

    Raises:
        InputError: as `read_table`.
    """
    schema = _schema_with(folder, config, columns)
    for split in SPLITS:
        tables = []
        for name in folder.manifest.shards_of(config, split):
            path, shard = folder.path / name, folder.manifest.shards[name]
            metadata = read_foot(path, shard, schema)
            groups = [group for group in range(metadata.num_row_groups) if _may_hold(path, metadata, group, object_id)]
            if groups:
                check_hash(path, shard)
                table = read_groups(path, metadata, schema, groups, columns)
                _check_order(path, table, "", config in IMAGE_CONFIGS)
                ids = table["object_id"].to_pylist()  # sorted: its rows lie side by side
                tables.append(table.slice(ids.index(object_id) if object_id in ids else 0, ids.count(object_id)))
        if any(map(len, tables)):
            return split, pa.concat_tables(tables)
    return None


def _may_hold(path: Path, metadata: pq.FileMetaData, group: int, object_id: str) -> bool:
    """Whether the range of a row group's ids, if it says one, holds the object's."""
    with naming(path):
        bounds = metadata.row_group(group).column(0).statistics
        return bounds is None or not bounds.has_min_max or bool(bounds.min <= object_id <= bounds.max)


def read_labels(folder: Folder, split: str) -> dict[str, str]:
    """object_id -> class name of a split, sorted by object_id, from the first config that the folder has.

    Raises:
        InputError: no such split, or a shard that is not the manifest's.
    """
    if split not in folder._labels:
        folder._labels[split] = _labels(folder, next(iter(folder.manifest.counts)), split)
    return dict(folder._labels[split])


def _labels(folder: Folder, config: str, split: str) -> dict[str, str]:
    table = read_table(folder, config, split, ["object_id", "label"])
    classes = folder.manifest.classes
    ids, labels = table["object_id"].to_pylist(), table["label"].to_pylist()
    return {object_id: classes[label] for object_id, label in zip(ids, labels, strict=True)}
