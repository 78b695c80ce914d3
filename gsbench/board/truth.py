"""What the board knows of a data set: the labels of its test objects, and which of them have leaked."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from gsbench.core.files import file_size, read_json
from gsbench.core.parsing import (
    InputError,
    check_choice,
    check_hex,
    check_id,
    check_name,
    check_range,
    check_text,
    parse,
    shown,
)
from gsbench.core.results import MAX_BYTES
from gsbench.core.tasks import Task, regime_count
from gsbench.core.types import Array
from gsbench.store.audit import Level

_KNOWN = {
    "d4de772d": "349f17f0b2f221d6828bd84223e993de7d079c63a7395aee68997b6e463c993c",
    "1f600bbe": "2e68d889d3a9c51f78a48d32999976e6322ecc89028f0df1cd9b18014e24cc12",
    "be325d68": "902c54e3c69e999d622ff2e2bd7e161093d316b0afdc498b4856a46fac91033e",
}
"""The first eight digits of a data set's fingerprint -> `Truth.sha256` of what is true of it.

Labels and the metrics that they give can be changed together in the files of a board, and each still fits the other.
So what the board's own data sets hold is pinned here, in the code that checks them. One that is not listed can be
checked by those who have its data: `gsbench submit --data` compares the board's labels with it.
"""


@dataclass(frozen=True, slots=True)
class Truth:
    """The labels of a data set's test objects: ids and class names only.

    Attributes:
        dataset: the data set's name.
        revision: its version or Hub revision when the labels were read.
        fingerprint: as in `Task`; it, not the revision, ties entries to these labels.
        split: `test`; or `val`, of which no board has a truth.
        description: what the data is, in one line.
        classes: class names in the order of a prediction's probabilities.
        labels: object_id -> class name.
        leaked: level -> the test objects with such a twin among the training objects; a level is left out where
            nobody has looked.
        train_counts: class name -> training objects; empty in files from before it was kept.
    """

    dataset: str
    revision: str
    fingerprint: str
    split: str
    description: str
    classes: tuple[str, ...]
    labels: dict[str, str]
    leaked: dict[Level, tuple[str, ...]] = field(default_factory=dict)
    train_counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("dataset", self.dataset)
        check_hex("fingerprint", self.fingerprint)
        check_choice("split", self.split, ("test", "val"))
        for key in ("revision", "description"):
            check_text(key, getattr(self, key))
        for index, name in enumerate(self.classes):
            check_id(f"classes[{index}]", name)
        if not self.labels:
            raise InputError("labels is empty (must map object_id to class name)")
        lists = {"classes": self.classes, **{f"leaked.{level}": ids for level, ids in self.leaked.items()}}
        for key, names in lists.items():
            if repeated := [name for name, count in Counter(names).items() if count > 1]:
                raise InputError(f"{key} names {some_of(repeated)} more than once")
        self._check_labels()

    def _check_labels(self) -> None:
        known = set(self.classes)
        for object_id, label in self.labels.items():
            check_id("an object_id of labels", object_id)
            if label not in known:
                raise InputError(f"labels.{object_id} is {shown(label)} (allowed: {', '.join(self.classes)})")
        for level, ids in self.leaked.items():
            for object_id in ids:
                check_id(f"an object_id of leaked.{level}", object_id)
            if unknown := set(ids) - self.labels.keys():
                raise InputError(f"leaked.{level} names {some_of(unknown)} (allowed: objects of labels)")
            if set(ids) == self.labels.keys():
                raise InputError(f"leaked.{level} names every object (at least one must be left to score)")
        for name, count in self.train_counts.items():
            if name not in known:
                raise InputError(f"train_counts names {shown(name)} (allowed: {', '.join(self.classes)})")
            check_range(f"train_counts.{name}", count, 1)

    def sha256(self) -> str:
        """Hex digest of all that scores and tables follow from; not of `revision` and `description`."""
        facts = asdict(self) | {"revision": None, "description": None}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def is_known(self) -> bool:
        """Whether gsbench itself knows what is true of this data set; see `check_known`."""
        return self.fingerprint[:8] in _KNOWN

    def train_objects(self, regime: int | None) -> int | None:
        """How many training objects a regime has; None where the truth does not say, or the regime is unknown."""
        return regime_count(self.train_counts.values(), regime) if self.train_counts and regime else None

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
    return board / "datasets" / f"{task.dataset}@{task.fingerprint[:8]}.json"


def load_truth(path: Path) -> Truth:
    """Reads a truth file.

    Raises:
        InputError: it is no truth file; the message names the file and the key.
    """
    try:
        file_size(path, MAX_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    truth = parse(read_json(path), Truth, str(path))
    if truth.split != "test":
        raise InputError(f"{path}: split is {truth.split!r} (a board has test)")
    check_known(truth, str(path))
    return truth


def check_known(truth: Truth, where: str) -> None:
    """Raises an InputError where gsbench knows a data set of this fingerprint, and other things of it."""
    known = _KNOWN.get(truth.fingerprint[:8])
    if known is not None and truth.sha256() != known:
        raise InputError(
            f"{where}: its labels, leaks or counts are not those of the data set with the fingerprint "
            f"{truth.fingerprint[:8]} (sha256 of them is {truth.sha256()[:8]}, must be {known[:8]})"
        )


def make_truth(path: Path, split: str) -> Truth:
    """Reads the truth of a data folder, of its `test` objects or those of its `val` split.

    Raises:
        InputError: no data folder, no such split, or a shard that is missing or damaged.
    """
    from gsbench.store.folder import open_folder, read_labels  # pyarrow takes .1 s
    from gsbench.store.leaks import leaks_of
    from gsbench.store.validation import hold_out

    folder = open_folder(path)
    check_choice("split", split, ("test", "val"))
    leaked = leaks_of(folder) if split == "test" else {}  # twins stay on one side of the validation split
    if split == "val":
        folder = hold_out(folder)
    manifest = folder.manifest
    train = Counter(read_labels(folder, "train").values())
    title = manifest.recipe.get("about", {}).get("title", manifest.name)
    return Truth(
        dataset=manifest.name,
        revision=manifest.version,
        fingerprint=manifest.fingerprint(),
        split=split,
        description=f"{title}. {len(manifest.classes)} classes, {train.total()} training objects as "
        f"{', '.join(manifest.counts)}.",
        classes=manifest.classes,
        labels=read_labels(folder, "test"),
        leaked=leaked,
        train_counts={name: train[name] for name in manifest.classes if train[name]},
    )


def truth_json(truth: Truth) -> bytes:
    """A truth file: one object a line, sorted by id."""
    table = asdict(truth) | {"labels": dict(sorted(truth.labels.items()))}
    return (json.dumps(table, indent=1) + "\n").encode()


def some_of(ids: Iterable[str]) -> str:
    """The first three ids, and how many more there are."""
    ordered = sorted(ids)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
