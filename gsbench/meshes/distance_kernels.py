"""Nearest point of a triangle tree, compiled: the loops of `gsbench.meshes.distance`."""

# mypy: ignore-errors

import numpy as np
from numba import njit

STACK = 64  # two entries a level: enough for 2^31 leaves


@njit(cache=True, inline="always")
def _box_distance(boxes, node, x, y, z):
    """Squared distance from a point to a node's box; huge for an empty box."""
    dx = max(boxes[node, 0] - x, 0.0, x - boxes[node, 3])
    dy = max(boxes[node, 1] - y, 0.0, y - boxes[node, 4])
    dz = max(boxes[node, 2] - z, 0.0, z - boxes[node, 5])
    return dx * dx + dy * dy + dz * dz


@njit(cache=True, inline="always")
def _segment_distance(px, py, pz, dx, dy, dz):
    """Squared distance from p to the segment from the origin to d."""
    length = dx * dx + dy * dy + dz * dz
    t = (px * dx + py * dy + pz * dz) / length if length > 0.0 else 0.0
    t = min(max(t, 0.0), 1.0)
    px, py, pz = px - t * dx, py - t * dy, pz - t * dz
    return px * px + py * py + pz * pz


@njit(cache=True)
def _triangle_distance(corners, index, x, y, z):
    """Squared distance to a triangle: along its normal where the foot lies inside, else to the nearest edge."""
    ax, ay, az = np.float64(corners[index, 0]), np.float64(corners[index, 1]), np.float64(corners[index, 2])
    ux, uy, uz = corners[index, 3] - ax, corners[index, 4] - ay, corners[index, 5] - az
    vx, vy, vz = corners[index, 6] - ax, corners[index, 7] - ay, corners[index, 8] - az
    px, py, pz = x - ax, y - ay, z - az
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    squared = nx * nx + ny * ny + nz * nz
    if squared > 0.0:
        # Barycentric coordinates of the foot: triple products with the normal.
        s = (py * vz - pz * vy) * nx + (pz * vx - px * vz) * ny + (px * vy - py * vx) * nz
        t = (uy * pz - uz * py) * nx + (uz * px - ux * pz) * ny + (ux * py - uy * px) * nz
        if s >= 0.0 and t >= 0.0 and s + t <= squared:
            height = px * nx + py * ny + pz * nz
            return height * height / squared
    nearest = min(_segment_distance(px, py, pz, ux, uy, uz), _segment_distance(px, py, pz, vx, vy, vz))
    return min(nearest, _segment_distance(px - ux, py - uy, pz - uz, vx - ux, vy - uy, vz - uz))


@njit(cache=True)
def nearest_distances(boxes, corners, leaf_size, points, out):
    """Writes the distance from every point to the nearest triangle.

    `boxes` is a complete binary tree in heap order: node 1 is the root, node i has the children 2i and 2i + 1, and the
    second half are leaves of `leaf_size` consecutive triangles each.
    """
    leaves = len(boxes) // 2
    nodes = np.empty(STACK, np.int64)
    bounds = np.empty(STACK, np.float64)
    for row in range(len(points)):
        x, y, z = np.float64(points[row, 0]), np.float64(points[row, 1]), np.float64(points[row, 2])
        best = np.inf
        nodes[0], bounds[0], top = 1, 0.0, 1
        while top:
            top -= 1
            node = nodes[top]
            if bounds[top] >= best:
                continue
            if node >= leaves:
                first = (node - leaves) * leaf_size
                for triangle in range(first, min(first + leaf_size, len(corners))):
                    best = min(best, _triangle_distance(corners, triangle, x, y, z))
                continue
            near, far = 2 * node, 2 * node + 1
            near_bound, far_bound = _box_distance(boxes, near, x, y, z), _box_distance(boxes, far, x, y, z)
            if far_bound < near_bound:
                near, far, near_bound, far_bound = far, near, far_bound, near_bound
            if far_bound < best:
                nodes[top], bounds[top] = far, far_bound
                top += 1
            if near_bound < best:
                nodes[top], bounds[top] = near, near_bound
                top += 1
        out[row] = np.sqrt(best)
