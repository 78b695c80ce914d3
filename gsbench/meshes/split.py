"""The official ModelNet layout, `ROOT/<label>/<train|test>/<object_id>.off`: the folder is the split."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from gsbench.parsing import InputError

SPLITS = ("train", "test")
MESH_SUFFIXES = (".off", ".obj", ".ply", ".stl", ".glb")


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
            meshes, hidden ones and folders without `train` or `test` are passed over.

    Raises:
        InputError: no such folder, no such layout, no meshes in it, two meshes with one object id, or a link that leads
            out of the folder or nowhere. (The folder itself may be a link.)
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; meshes are read from FOLDER/<label>/<train|test>/<object_id>.off")
    inner = [folder for name in ("ModelNet10", "ModelNet40") if _leads_inside(folder := root / name, root).is_dir()]
    meshes = [mesh for folder in (inner or [root]) for mesh in _list_classes(folder, root)]
    if not meshes:
        raise InputError(f"{root}: no meshes found, the layout must be <label>/<train|test>/<object_id>.off")
    seen: dict[str, MeshFile] = {}
    for mesh in meshes:
        other = seen.setdefault(mesh.object_id, mesh)
        if other is not mesh:
            raise InputError(f"{mesh.path}: object id {mesh.object_id!r} is taken by {other.path}, ids must be unique")
    return meshes


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
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _leads_inside(path: Path, root: Path) -> Path:
    """The path itself; an InputError if it is a link to anything that is not in `root`."""
    if path.is_symlink() and not (path.exists() and path.resolve().is_relative_to(root.resolve())):
        raise InputError(
            f"{path}: a link to {os.readlink(path)}, which is not in {root} (put there what it leads to, or name the "
            "folder that holds it)"
        )
    return path
