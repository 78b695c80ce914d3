"""Reading a mesh file of any format."""

import io
import logging
import os
import warnings
from pathlib import Path

import numpy as np

from gsbench.core.files import file_size
from gsbench.core.parsing import InputError
from gsbench.core.types import Mesh
from gsbench.formats import glb
from gsbench.meshes.off import MAX_MESH_BYTES, NotFiniteError, load_off
from gsbench.meshes.split import MESH_SUFFIXES

# trimesh logs tracebacks, which Python prints where nobody has asked for logs.
logging.getLogger("trimesh").addHandler(logging.NullHandler())
_MAX_REASON = 200  # characters of an error of trimesh's


def load_mesh(path: str | os.PathLike[str]) -> Mesh:
    """Reads a mesh file by its suffix: OFF by our own reader, the other formats by trimesh.

    A scene of several meshes becomes one mesh, with each node's transform applied. glTF's +y up becomes the world's
    z up; the other formats have no fixed axis and are taken as they stand.

    Args:
        path: an .off, .obj, .ply, .stl or .glb file.

    Returns:
        The mesh in the file's own units; pass it through `normalize` for the world frame.

    Raises:
        InputError: another suffix, a file of more than `MAX_MESH_BYTES`, or one that cannot be read as such a mesh
            (`NotFiniteError` where only its vertices are at fault).
        OSError: the file cannot be opened.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise InputError(f"{path}: unknown mesh format {suffix!r}, allowed are {', '.join(MESH_SUFFIXES)}")
    file_size(path, MAX_MESH_BYTES)
    return load_off(path) if suffix == ".off" else _load_with_trimesh(path, suffix)


def _load_with_trimesh(path: Path, suffix: str) -> Mesh:
    import trimesh  # here, since it takes .3 s and most data sets are OFF

    data = path.read_bytes()
    try:
        if suffix == ".glb":
            _check_glb(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, of values that are refused below
            scene = trimesh.load_scene(io.BytesIO(data), file_type=suffix[1:], process=False)
            flat = scene.to_mesh()
        vertices, faces = np.asarray(flat.vertices, np.float64), np.asarray(flat.faces)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # trimesh's parsers raise whatever their first broken assumption raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path}: cannot be read as {suffix[1:]}: {reason[:_MAX_REASON]}") from None
    if (
        vertices.ndim != 2
        or vertices.shape[1] != 3
        or faces.ndim != 2
        or faces.shape[1] != 3
        or faces.dtype.kind not in "iu"
    ):
        raise InputError(f"{path}: cannot be read as {suffix[1:]}: it holds no triangles")
    if not len(faces):
        raise InputError(f"{path}: no faces")
    if not (np.abs(vertices) <= np.finfo(np.float32).max).all():
        raise NotFiniteError(f"{path}: vertices that are not finite")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(f"{path}: face indices out of range, allowed are 0 to {len(vertices) - 1}")
    if suffix == ".glb":
        vertices = np.stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1]], 1)
    return Mesh(vertices.astype(np.float32), faces.astype(np.int32))


def _check_glb(data: bytes) -> None:
    """Refuses what trimesh would make memory of, or zeros."""
    document = glb.parse(data)
    glb.check_sizes(document)
    for mesh in document.json.get("meshes", ()):
        for primitive in mesh["primitives"]:
            for index in (primitive["attributes"].get("POSITION"), primitive.get("indices")):
                if index is not None:
                    glb.read_accessor(document, index)
