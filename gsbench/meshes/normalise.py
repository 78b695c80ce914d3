"""One frame for every mesh: centred, inside the unit sphere, measured on the vertices that faces use."""

import numpy as np

from gsbench.parsing import InputError
from gsbench.types import Mesh


def normalise(mesh: Mesh) -> Mesh:
    """Drops vertices that no face uses, moves the centre of the bounding box to the origin, scales to radius 1.

    The centre is that of the axis-aligned bounding box of the used vertices; afterwards the furthest used vertex lies
    on the unit sphere. Unused vertices must not count: about 190 meshes of ModelNet10 have some far outside the
    object. Axes stay as they are (z up in ModelNet). Computed in float64. Frozen: a change changes every fingerprint.

    Args:
        mesh: in any units; faces may repeat.

    Returns:
        The mesh in the world frame, vertices in their old order, faces renumbered.

    Raises:
        InputError: no faces, or all used vertices in one place.
    """
    if not len(mesh.faces):
        raise InputError("the mesh has no faces")
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.faces] = True
    points = mesh.vertices[used].astype(np.float64)
    points -= (points.min(0) + points.max(0)) / 2
    radius = np.sqrt((points**2).sum(1).max())
    if radius < np.finfo(np.float32).tiny:
        raise InputError("the mesh has no extent: all vertices that faces use lie in one place")
    renumbered = np.cumsum(used, dtype=np.int32) - 1
    # A radius of 1 in float64 may round to 1 + 1e-7 in float32; half an ulp less keeps every vertex inside.
    vertices = (points / radius * (1 - 1e-7)).astype(np.float32)
    return Mesh(vertices, renumbered[mesh.faces])
