"""The official ModelNet layout, `ROOT/<label>/<train|test>/<object_id>.off`: the folder is the split."""

import hashlib
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from gsbench.core.parsing import InputError

SPLITS = ("train", "test")
MESH_SUFFIXES = (".off", ".obj", ".ply", ".stl", ".glb")
MAX_NAME_BYTES = 250
"""Of an object id: builds keep each object in files of its name with five more characters, and 255 bytes is what the
usual file systems take."""

_LAYOUT = "<label>/<train|test>/<object_id>.off"


@dataclass(frozen=True, slots=True)
class MeshFile:
    """One mesh of a data set.

    Attributes:
        object_id: the file's name without its suffix, unique in the data set.
        label: the class, the name of the folder.
        split: `train` or `test`.
        path: the file.
    """

    object_id: str
    label: str
    split: str
    path: Path


def list_meshes(root: str | os.PathLike[str]) -> list[MeshFile]:
    """Lists the meshes of a folder in the official layout, sorted by label, split (train first) and object id.

    Args:
        root: the folder of the classes, or the one that holds it as `ModelNet10/` or `ModelNet40/`. Files that are no
            meshes, hidden ones and folders without a mesh are passed over.

    Raises:
        InputError: no such folder, no such layout, no meshes in it, a mesh in any other place, two meshes with one
            object id, a name that cannot be kept, or a link that leads out of the folder or nowhere. (The folder itself
            may be a link.)
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; meshes are read from FOLDER/{_LAYOUT}")
    inner = [folder for name in ("ModelNet10", "ModelNet40") if _leads_inside(folder := root / name, root).is_dir()]
    meshes = [mesh for folder in (inner or [root]) for mesh in _list_classes(folder, root)]
    stray = next(_find_strays(root, {mesh.path.resolve() for mesh in meshes}), None)
    if not meshes:
        where = f"; there is one at {_printable(str(stray))}" if stray else ""
        raise InputError(f"{root}: no meshes found, the layout must be {_LAYOUT}{where}")
    if stray:
        raise InputError(
            f"{_printable(str(stray))}: a mesh where none is read from (allowed: {root}/{_LAYOUT}); move or remove it, "
            "so that nothing is left out without a word"
        )
    seen: dict[str, MeshFile] = {}
    for mesh in meshes:
        _check_names(mesh)
        other = seen.setdefault(mesh.object_id, mesh)
        if other is not mesh:
            raise InputError(f"{mesh.path}: object id {mesh.object_id!r} is taken by {other.path}, ids must be unique")
    return meshes


def _find_strays(folder: Path, read: Collection[Path]) -> Iterator[Path]:
    """Meshes below a folder that are none of those that are read, such as of a class in `Train/`, in order of name.

    Args:
        folder: where to look. Links to folders are not followed: what they lead to lies in the meshes' folder as well.
        read: the files that are read, with links resolved.
    """
    for path in _list_visible(folder):
        if path.is_dir() and not path.is_symlink():
            yield from _find_strays(path, read)
        elif path.suffix.lower() in MESH_SUFFIXES and path.is_file() and path.resolve() not in read:
            yield path


def _check_names(mesh: MeshFile) -> None:
    """Raises an InputError for a name that cannot be kept: in JSON and Parquet, on a line, and in a file's name."""
    for name, what in ((mesh.object_id, "object id"), (mesh.label, "class")):
        shown = _printable(str(mesh.path))
        if not name.isprintable() or "\\" in name:  # bytes that are no UTF-8 are not printable, either
            raise InputError(f"{shown}: the name of its {what} is not printable UTF-8 text without \\; rename it")
        if len(name.encode()) > MAX_NAME_BYTES:
            raise InputError(
                f"{shown}: the name of its {what} has {len(name.encode())} bytes (allowed: up to {MAX_NAME_BYTES}); "
                "rename it"
            )


def _printable(text: str) -> str:
    """The text with what cannot be printed escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def mesh_sha256(path: str | os.PathLike[str]) -> str:
    """Returns the sha256 of the file's bytes, in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _list_classes(folder: Path, root: Path) -> list[MeshFile]:
    return [
        MeshFile(path.stem, label.name, split, path)
        for label in _list_visible(folder)
        if _leads_inside(label, root).is_dir()
        for split in SPLITS
        if _leads_inside(label / split, root).is_dir()
        for path in _list_visible(label / split)
        if path.suffix.lower() in MESH_SUFFIXES and _leads_inside(path, root).is_file()
    ]


def _list_visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror})") from None


def _leads_inside(path: Path, root: Path) -> Path:
    """The path itself; an InputError if it is a link to anything that is not in `root`."""
    if path.is_symlink() and not (path.exists() and path.resolve().is_relative_to(root.resolve())):
        raise InputError(
            f"{path}: a link to {os.readlink(path)}, which is not in {root} (put there what it leads to, or name the "
            "folder that holds it)"
        )
    return path


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
