"""Exact distances from points to a mesh's surface."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Mesh

_LEAF = 4  # triangles a leaf
_MORTON_BITS = 16


@dataclass(frozen=True, slots=True)
class Surface:
    """A mesh's triangles in a tree of boxes, for `distances`.

    Attributes:
        corners: `[t 9]` the triangles, neighbors in space near each other.
        boxes: `[2l 6]` lowest and highest corners of the nodes of a complete binary tree, root at 1.
    """

    corners: Float32[Array, "t 9"]
    boxes: Float32[Array, "nodes 6"]

    def distances(self, points: Float[Array, "n 3"]) -> Float64[Array, " n"]:
        """Returns the distance from each of `points` to the nearest point of the surface, in the mesh's units.

        Exact up to rounding: no sampling of the surface is involved. Not finite where a point is not.
        """
        from gsbench.meshes.distance_kernels import nearest_distances  # here, since numba takes .4 s to load

        out = np.empty(len(points), np.float64)
        nearest_distances(self.boxes, self.corners, _LEAF, np.ascontiguousarray(points), out)
        return out


def make_surface(mesh: Mesh) -> Surface:
    """Sorts a mesh's triangles into a tree: along a Morton curve of their centers, boxes from the leaves up.

    Args:
        mesh: in any frame; faces may be degenerate, but there must be one.

    Raises:
        InputError: the mesh has no faces.
    """
    if not len(mesh.faces):
        raise InputError("the mesh has no faces")
    corners = mesh.vertices[mesh.faces]
    corners = corners[np.argsort(_morton_codes(corners.mean(1)), kind="stable")].reshape(-1, 9)
    return Surface(corners, _boxes(corners))


def _morton_codes(points: Float32[Array, "t 3"]) -> Int64[Array, " t"]:
    low, high = points.min(0), points.max(0)
    cells = ((points - low) / np.maximum(high - low, np.finfo(np.float32).tiny) * ((1 << _MORTON_BITS) - 1)).astype(
        np.int64
    )
    codes = np.zeros(len(points), np.int64)
    for bit in range(_MORTON_BITS):
        for axis in range(3):
            codes |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return codes


def _boxes(corners: Float32[Array, "t 9"]) -> Float32[Array, "nodes 6"]:
    triangles = corners.reshape(-1, 3, 3)
    starts = np.arange(0, len(corners), _LEAF)
    leaves = 1 << (len(starts) - 1).bit_length()
    boxes = np.empty((2 * leaves, 6), np.float32)
    boxes[:, :3], boxes[:, 3:] = np.inf, -np.inf  # an empty box is infinitely far from everything
    boxes[leaves : leaves + len(starts), :3] = np.minimum.reduceat(triangles.min(1), starts)
    boxes[leaves : leaves + len(starts), 3:] = np.maximum.reduceat(triangles.max(1), starts)
    level = leaves
    while level > 1:
        below = boxes[level : 2 * level].reshape(-1, 2, 6)
        level //= 2
        boxes[level : 2 * level, :3] = below[:, :, :3].min(1)
        boxes[level : 2 * level, 3:] = below[:, :, 3:].max(1)
    return boxes
