"""The official split of ModelNet10, as data: in every class the objects are numbered through, test after train.

Source: the folder `ModelNet10.zip` of the Princeton ModelNet project (modelnet.cs.princeton.edu): 3,991 training and
908 test objects, without a gap in any class.
"""

import re

from gsbench.core.parsing import InputError
from gsbench.meshes.split import SPLITS

# label: number of training objects, number of test objects
_COUNTS = {
    "bathtub": (106, 50),
    "bed": (515, 100),
    "chair": (889, 100),
    "desk": (200, 86),
    "dresser": (200, 86),
    "monitor": (465, 100),
    "night_stand": (200, 86),
    "sofa": (680, 100),
    "table": (392, 100),
    "toilet": (344, 100),
}

CLASSES = tuple(_COUNTS)
"""The ten classes, in alphabetical order."""

IDENTICAL_FILES = (
    ("desk_0011", "table_0034"),
    ("desk_0128", "table_0086"),
    ("dresser_0024", "night_stand_0257"),
    ("dresser_0025", "night_stand_0223"),
    ("dresser_0056", "night_stand_0065"),
    ("dresser_0199", "night_stand_0080"),
    ("dresser_0231", "night_stand_0193"),
    ("dresser_0272", "night_stand_0174"),
)
"""Pairs of objects whose files are byte for byte the same as distributed: 4,899 files, 4,891 distinct ones."""

_OBJECT_ID = re.compile(r"(?P<label>[a-z_]+)_(?P<number>[0-9]{4})")


def official_ids(label: str, split: str) -> list[str]:
    """The object ids of a class and split, such as `bathtub_0107` to `bathtub_0156`, in order.

    Raises:
        InputError: no such class or split.
    """
    if label not in _COUNTS:
        raise InputError(f"label is {label!r} (allowed: {', '.join(CLASSES)})")
    if split not in SPLITS:
        raise InputError(f"split is {split!r} (allowed: {', '.join(SPLITS)})")
    train, test = _COUNTS[label]
    numbers = range(1, train + 1) if split == "train" else range(train + 1, train + test + 1)
    return [f"{label}_{number:04d}" for number in numbers]


def official_split(object_id: str) -> str | None:
    """`train` or `test`; None for an id that is not of ModelNet10."""
    match = _OBJECT_ID.fullmatch(object_id)
    if match is None or match["label"] not in _COUNTS:
        return None
    train, test = _COUNTS[match["label"]]
    number = int(match["number"])
    if not 1 <= number <= train + test:
        return None
    return "train" if number <= train else "test"


def official_objects() -> dict[str, tuple[str, str]]:
    """Every object id of ModelNet10 -> its class and split, sorted by id."""
    objects = {name: (label, split) for label in CLASSES for split in SPLITS for name in official_ids(label, split)}
    return dict(sorted(objects.items()))
