"""One mesh file: its hashes, its defects, and what is needed to find its twins."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from gsbench.core.types import Array, Mesh
from gsbench.meshes.distance import make_surface
from gsbench.meshes.load import load_mesh
from gsbench.meshes.off import NotFiniteError, has_glued_header
from gsbench.meshes.split import MeshFile, mesh_sha256
from gsbench.meshes.surface import normalize
from gsbench.produce.audit.descriptor import Shape, describe, query_points

ZERO_HEIGHT = 1e-6
"""A face is degenerate if its height over its longest edge is at most this share of the mesh's largest side."""


@dataclass(frozen=True, slots=True)
class Triangles:
    """The distinct triangles of a mesh, in an order that depends on nothing but their coordinates.

    Attributes:
        mesh: the vertices, each position once and sorted, and the faces that are kept, sorted; corners of a face as the
            file winds them.
        two_sided: `[f]` which of the faces the file has in both windings.
        repeated_indices: faces that name one position twice.
        zero_area: other faces without a height.
        repeated: faces that name the three positions of an earlier one, in any order.
    """

    mesh: Mesh
    two_sided: Bool[Array, " f"]
    repeated_indices: int
    zero_area: int
    repeated: int

    def sha256(self) -> str:
        """Hex digest of the triangles: blind to the order of vertices and faces, to winding, and to unused vertices."""
        digest = hashlib.sha256(np.ascontiguousarray(self.mesh.vertices).tobytes())
        digest.update(np.sort(self.mesh.faces, axis=1).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Edges:
    """How the edges of a mesh are shared.

    Attributes:
        boundary: edges of a single face.
        crowded: edges of more than two faces.
        misaligned: edges of two faces that run through it in one direction, so that they face opposite sides. Faces
            that the file has in both windings have no side, and do not count.
    """

    boundary: int
    crowded: int
    misaligned: int


def reduce_mesh(mesh: Mesh) -> Triangles:
    """Welds equal positions, then drops the faces that add nothing to the surface.

    Args:
        mesh: in any units; must have vertices that are finite.
    """
    faces = _weld(mesh)
    split = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    high = split.copy()
    high[split] = _have_height(mesh, faces[split])
    kept = faces[high]
    first, two_sided = _distinct(kept)
    used = _sorted_mesh(mesh, kept[first])
    order = np.lexsort(np.sort(used.faces, axis=1).T[::-1])
    return Triangles(
        Mesh(used.vertices, used.faces[order]),
        two_sided[order],
        repeated_indices=int((~split).sum()),
        zero_area=int((split & ~high).sum()),
        repeated=len(kept) - len(first),
    )


def _weld(mesh: Mesh) -> Int32[Array, "f 3"]:
    """The faces, with every position named by the first vertex that has it."""
    vertices = mesh.vertices + np.float32(0)  # no -0
    order = np.lexsort(vertices.T[::-1])
    ordered = vertices[order]
    new = np.ones(len(order), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(1)
    first = np.empty(len(order), np.int32)
    first[order] = order[new].astype(np.int32)[np.cumsum(new) - 1]
    return first[mesh.faces]


def _have_height(mesh: Mesh, faces: Int[Array, "f 3"]) -> Bool[Array, " f"]:
    if not len(faces):
        return np.zeros(0, bool)
    corners = mesh.vertices[faces].astype(np.float64)
    longest = np.maximum.reduce([((corners[:, i] - corners[:, i - 1]) ** 2).sum(1) for i in range(3)])
    crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    side = np.ptp(corners.reshape(-1, 3), axis=0).max()
    return (crosses**2).sum(1) > longest * (ZERO_HEIGHT * side) ** 2


def _distinct(faces: Int[Array, "f 3"]) -> tuple[Int[Array, " d"], Bool[Array, " d"]]:
    """The first face of each three positions, and whether both windings of it are there."""
    ordered = np.sort(faces, axis=1)
    order = np.lexsort(ordered.T)  # stable: of equal faces the first comes first
    ordered = ordered[order]
    new = np.ones(len(order), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(1)
    starts = np.flatnonzero(new)
    rising = (faces < np.roll(faces, -1, axis=1)).sum(1)[order] == 2  # one winding of the two
    forward = np.add.reduceat(rising.astype(np.int64), starts) if len(starts) else starts
    return order[starts], (forward > 0) & (forward < np.diff(np.append(starts, len(order))))


def _sorted_mesh(mesh: Mesh, faces: Int[Array, "f 3"]) -> Mesh:
    used = np.unique(faces)
    vertices = mesh.vertices[used] + np.float32(0)
    order = np.lexsort(vertices.T[::-1])
    rank = np.empty(len(used), np.int32)
    rank[order] = np.arange(len(used), dtype=np.int32)
    return Mesh(vertices[order], rank[np.searchsorted(used, faces)].reshape(-1, 3))


def count_edges(triangles: Triangles) -> Edges:
    """Counts the edges that keep a mesh from bounding a solid."""
    faces, size = triangles.mesh.faces.astype(np.int64), len(triangles.mesh.vertices)
    keys = np.empty((3, len(faces)), np.int64)
    for side in range(3):
        start, end = faces[:, side], faces[:, (side + 1) % 3]
        keys[side] = (np.minimum(start, end) * size + np.maximum(start, end)) * 4
        keys[side] += 2 * triangles.two_sided + (start < end)
    flat = keys.reshape(-1)
    flat.sort()
    starts = np.flatnonzero(np.diff(flat >> 2, prepend=-1))
    if not len(starts):
        return Edges(0, 0, 0)
    uses = np.diff(np.append(starts, len(flat)))
    forward, two_sided = np.add.reduceat(flat & 1, starts), np.add.reduceat(flat & 2, starts)
    return Edges(
        boundary=int((uses == 1).sum()),
        crowded=int((uses > 2).sum()),
        misaligned=int(((uses == 2) & (two_sided == 0) & (forward != 1)).sum()),
    )


@dataclass(frozen=True, slots=True)
class Inspected:
    """What one mesh file is like.

    Attributes:
        file: which one.
        sha256: of its bytes; None where they cannot be read.
        glued_header: whether its OFF header is glued to the counts.
        unreadable: why it cannot be read as a mesh, or None.
        finite: whether that is not for a vertex that is not finite.
        geometry_sha256: of its distinct triangles; None where there are none.
        descriptor: `[4 m]` of `gsbench.produce.audit.pairs`; None where there is no surface.
        unused: vertices that no face uses, and how far outside the others they reach, in their largest side.
        repeated_indices: faces that name one position twice.
        zero_area: other faces without a height.
        repeated_faces: faces that name the three positions of an earlier one.
        edges: how its edges are shared.
    """

    file: MeshFile
    sha256: str | None = None
    glued_header: bool = False
    unreadable: str | None = None
    finite: bool = True
    geometry_sha256: str | None = None
    descriptor: Float32[Array, "4 m"] | None = None
    unused: tuple[int, float] = (0, 0.0)
    repeated_indices: int = 0
    zero_area: int = 0
    repeated_faces: int = 0
    edges: Edges = field(default_factory=lambda: Edges(0, 0, 0))


def inspect_mesh(file: MeshFile) -> Inspected:
    """Looks at one mesh file; what is wrong with it is part of the result."""
    try:
        digest = mesh_sha256(file.path)
        glued = file.path.suffix.lower() == ".off" and has_glued_header(file.path)
    except OSError as error:
        return Inspected(file, unreadable=error.strerror or str(error))
    try:
        mesh = load_mesh(file.path)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).removeprefix(f"{file.path}: ").split())
        finite = not isinstance(error, NotFiniteError)
        return Inspected(file, digest, glued, reason, finite)
    triangles = reduce_mesh(mesh)
    return Inspected(
        file,
        digest,
        glued,
        geometry_sha256=triangles.sha256() if len(triangles.mesh.faces) else None,
        descriptor=describe(make_surface(normalize(triangles.mesh))) if len(triangles.mesh.faces) else None,
        unused=_unused(mesh),
        repeated_indices=triangles.repeated_indices,
        zero_area=triangles.zero_area,
        repeated_faces=triangles.repeated,
        edges=count_edges(triangles),
    )


def _unused(mesh: Mesh) -> tuple[int, float]:
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.faces] = True
    if used.all():
        return 0, 0.0
    inside, outside = mesh.vertices[used].astype(np.float64), mesh.vertices[~used]
    low, high = inside.min(0), inside.max(0)
    reach = np.maximum(low - outside, outside - high).max()
    side = (high - low).max()
    return len(outside), float(max(reach, 0.0) / side) if side > 0 else 0.0


def load_shape(file: MeshFile) -> Shape:
    """Reads a mesh again that `inspect_mesh` found a surface in, for a closer look."""
    mesh = normalize(reduce_mesh(load_mesh(file.path)).mesh)
    return Shape(make_surface(mesh), query_points(mesh))
