"""One mesh file: its hashes, its defects, and what is needed to find its twins."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32

from gsbench.core.types import Array, Mesh
from gsbench.meshes.distance import make_surface
from gsbench.meshes.load import load_mesh
from gsbench.meshes.off import NotFiniteError, has_glued_header
from gsbench.meshes.split import MeshFile, mesh_sha256
from gsbench.meshes.surface import normalise
from gsbench.produce.audit.descriptor import Shape, describe, query_points
from gsbench.produce.audit.triangles import Edges, count_edges, reduce_mesh


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
        descriptor: `[4 m]` of `gsbench.produce.audit.descriptor`; None where there is no surface.
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
        descriptor=describe(make_surface(normalise(triangles.mesh))) if len(triangles.mesh.faces) else None,
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
    mesh = normalise(reduce_mesh(load_mesh(file.path)).mesh)
    return Shape(make_surface(mesh), query_points(mesh))
