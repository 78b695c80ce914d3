"""A data folder: what its manifest says, and its tables read fast, with every hash and value checked on the way."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gsbench.core.environment import available_cores
from gsbench.core.parsing import InputError, suggest
from gsbench.core.types import Array, Gaussians
from gsbench.store.arrays import as_numpy, gaussians_of
from gsbench.store.hashes import LARGE, check_hash
from gsbench.store.manifest import MANIFEST, Manifest, load_manifest
from gsbench.store.parquet import naming, read_foot, read_groups
from gsbench.store.schema import GAUSSIAN_COLUMNS, IMAGE_CONFIGS, SPLITS, Schema, shard_name
from gsbench.store.webp import decode_image

if TYPE_CHECKING:
    pass

MODELNET10 = "modelnet10-gs"
MINI = "mini"
NAMES = (MINI, MODELNET10)


@dataclass(frozen=True, slots=True)
class Folder:
    """An open data folder: where it lies and what its manifest says; labels are read once.

    Attributes:
        path: of the folder.
        manifest: what it holds.
        validation: training objects that take the place of the test objects: `test` then is these, `train` the other
            training objects, and the true test split is not read. See `gsbench.store.validation.hold_out`.
    """

    path: Path
    manifest: Manifest
    validation: frozenset[str] = frozenset()
    _labels: dict[str, dict[str, str]] = field(default_factory=dict, repr=False, compare=False)


def open_folder(path: Path) -> Folder:
    """Opens a data folder.

    Raises:
        InputError: no such folder, or one that is no data set; the message names it.
    """
    if not os.path.isdir(path):
        what = "is no folder" if os.path.lexists(path) else "no such folder"
        raise InputError(f"{path}: {what} (allowed: a folder that `gsbench build` wrote, {known_names()})")
    if not os.path.isfile(path / MANIFEST):
        raise InputError(f"{path}: no data set, it has no {MANIFEST} (allowed: a folder that `gsbench build` wrote)")
    return Folder(path, load_manifest(path))


def known_names() -> str:
    """The names of data sets, as a message lists them."""
    return ", ".join(NAMES)


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
    if not folder.validation:
        yield from _stored_shards(folder, config, split, columns)
        return
    held_out = pa.array(sorted(folder.validation))
    wanted = None if columns is None else ["object_id", *(name for name in columns if name != "object_id")]
    for name, table in _stored_shards(folder, config, "train", wanted):
        inside = pc.is_in(table["object_id"], value_set=held_out)
        rows = table.filter(inside if split == "test" else pc.invert(inside))
        yield name, rows if columns is None else rows.select(list(columns))


def _stored_shards(
    folder: Folder, config: str, split: str, columns: Sequence[str] | None
) -> Iterator[tuple[str, pa.Table]]:
    manifest = folder.manifest
    schema = _schema_with(folder, config, columns)
    last, has_labels = "", columns is None or "label" in columns
    labels = np.zeros(len(schema.classes), np.int64)
    for name in shards_of(folder, config, split):
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


def shards_of(folder: Folder, config: str, split: str) -> list[str]:
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


def load_object(folder: Folder, object_id: str) -> Gaussians:
    """Reads the Gaussians of one object; takes the memory of one row group.

    Args:
        folder: an open data folder.
        object_id: of either split.

    Raises:
        InputError: the folder has no Gaussians, no such object, or a shard that is not the manifest's.
    """
    schema = folder.manifest.schema("gaussians")
    found = find_rows(folder, "gaussians", object_id, ["object_id", *GAUSSIAN_COLUMNS])
    if found is None:
        close = suggest(object_id, [known for split in SPLITS for known in read_labels(folder, split)])
        raise InputError(f"{folder.path}: no object '{object_id}'{close}")
    return gaussians_of(found[1], schema)


def read_images(folder: Folder, config: str, ids: Collection[str]) -> Iterator[tuple[tuple[str, int], Array]]:
    """Images of test objects, of the cameras that views are from.

    Args:
        folder: an open data folder.
        config: `views` or `reconstructions`.
        ids: of the objects.

    Returns:
        Pairs of (object id, view) and the image, `[h w 4]` of views or `[h w 3]` of reconstructions, uint8.

    Raises:
        InputError: a shard is missing or damaged, or an image in it.
    """
    kinds = ["cameras"] if config == "reconstructions" else []
    for _, table in read_shards(folder, config, "test", ["object_id", "view", "image", *kinds]):
        for row, object_id in enumerate(table["object_id"].to_pylist()):
            if object_id in ids and not (kinds and table["cameras"][row].as_py() != "train"):
                yield (object_id, table["view"][row].as_py()), decode_image(table["image"][row].as_py()["bytes"])
