"""The surfaces of the meshes that a data folder was made from."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from gsbench.meshes.distance import make_surface
from gsbench.meshes.load import load_mesh
from gsbench.meshes.split import MeshFile, list_meshes, mesh_sha256
from gsbench.meshes.surface import normalise
from gsbench.produce.verification.alignment import Distances

_NAMED = 10


class MeshSurfaces:
    """Gives the distances from an object's mesh, and remembers which meshes are not those of the data."""

    def __init__(self, meshes: Path) -> None:
        """Lists the meshes of a folder in the official layout; InputError if there are none."""
        self._root = meshes
        self._files: dict[str, MeshFile] = {file.object_id: file for file in list_meshes(meshes)}

    def of(self, object_id: str) -> Distances | None:
        """The distances from the object's surface in the world frame; None if there is no such mesh.

        Raises:
            InputError: the mesh cannot be read.
            OSError: the file cannot be opened.
        """
        if object_id not in self._files:
            return None
        return make_surface(normalise(load_mesh(self._files[object_id].path))).distances

    def problems(self, hashes: Mapping[str, str]) -> Iterator[str]:
        """Objects without a mesh, or whose file is not the one that the data was made from; by object_id -> sha256."""
        if lost := sorted(hashes.keys() - self._files.keys()):
            yield f"{self._root}: no mesh of {len(lost)} objects, such as {', '.join(lost[:_NAMED])}"
        here = hashes.keys() & self._files.keys()
        if other := sorted(name for name in here if mesh_sha256(self._files[name].path) != hashes[name]):
            yield f"{self._root}: {len(other)} meshes are not those of the data, such as {', '.join(other[:_NAMED])}"
