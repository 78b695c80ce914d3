"""What the board knows of a data set: the labels of its test objects, and which of them have leaked."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from gsbench.parsing import InputError, parse, read_json
from gsbench.results import write_atomic
from gsbench.store.audit import Level
from gsbench.tasks import Task
from gsbench.types import Array

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*")


@dataclass(frozen=True, slots=True)
class Truth:
    """The labels of a data set's test objects: ids and class names only.

    Attributes:
        dataset: the data set's name.
        revision: its version or Hub revision when the labels were read.
        fingerprint: as in `Task`; it, not the revision, ties entries to these labels.
        split: `test`.
        description: what the data is, in one line.
        classes: class names in the order of a prediction's probabilities.
        labels: object_id -> class name.
        leaked: level -> the test objects with such a twin among the training objects; a level is left out where
            nobody has looked.
    """

    dataset: str
    revision: str
    fingerprint: str
    split: str
    description: str
    classes: tuple[str, ...]
    labels: dict[str, str]
    leaked: dict[Level, tuple[str, ...]] = field(default_factory=dict)

    def indices(self) -> Int[Array, " n"]:
        """`[n]` class indices in the order of `labels`."""
        position = {name: i for i, name in enumerate(self.classes)}
        return np.array([position[name] for name in self.labels.values()], dtype=np.int64)

    def kept(self, level: Level) -> Bool[Array, " n"]:
        """`[n]` which objects are left when those that leaked at `level` are taken out, in the order of `labels`."""
        leaked = set(self.leaked[level])
        return np.array([object_id not in leaked for object_id in self.labels])


def truth_path(board: Path, task: Task) -> Path:
    """Where the labels of a task's data set stand on a board."""
    return board / "datasets" / f"{safe_name('task.dataset', task.dataset)}@{task.fingerprint[:8]}.json"


def load_truth(path: Path) -> Truth:
    """Reads a truth file.

    Raises:
        InputError: it is no truth file; the message names the file and the key.
    """
    truth = parse(read_json(path), Truth, str(path))
    for object_id, label in truth.labels.items():
        if label not in truth.classes:
            raise InputError(f"{path}: labels.{object_id} is '{label}' (allowed: {', '.join(truth.classes)})")
    if not truth.labels:
        raise InputError(f"{path}: labels is empty (must map object_id to class name)")
    for level, ids in truth.leaked.items():
        if unknown := set(ids) - truth.labels.keys():
            raise InputError(f"{path}: leaked.{level} names {some_of(unknown)} (allowed: objects of labels)")
        if set(ids) == truth.labels.keys():
            raise InputError(f"{path}: leaked.{level} names every object (at least one must be left to score)")
    return truth


def make_truth(path: Path, split: str) -> Truth:
    """Reads the truth of a data folder.

    Raises:
        InputError: no data folder, no such split, or a shard that is missing or damaged.
    """
    from gsbench.store.folder import open_folder, read_labels  # pyarrow takes .1 s
    from gsbench.store.leaks import leaks_of

    folder = open_folder(path)
    manifest = folder.manifest
    train = sum(next(iter(manifest.counts.values()))["train"].values())
    title = manifest.recipe.get("about", {}).get("title", manifest.name)
    return Truth(
        dataset=manifest.name,
        revision=manifest.version,
        fingerprint=manifest.fingerprint(),
        split=split,
        description=f"{title}. {len(manifest.classes)} classes, {train} training objects as "
        f"{', '.join(manifest.counts)}.",
        classes=manifest.classes,
        labels=read_labels(folder, split),
        leaked=leaks_of(folder),
    )


def save_truth(truth: Truth, path: Path) -> None:
    """Writes a truth file atomically, one object a line, sorted by id.

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    table = asdict(truth) | {"labels": dict(sorted(truth.labels.items()))}
    write_atomic(path, (json.dumps(table, indent=1) + "\n").encode())


def safe_name(key: str, name: str) -> str:
    """Returns `name` if it can be part of a path, else raises an InputError that names `key`."""
    if not _SAFE_NAME.fullmatch(name):
        raise InputError(f"{key}: '{name}' cannot name a file (allowed: letters, digits and . _ @ + -)")
    return name


def some_of(ids: Iterable[str]) -> str:
    """The first three ids, and how many more there are."""
    ordered = sorted(ids)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
