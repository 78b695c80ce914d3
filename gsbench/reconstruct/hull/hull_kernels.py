"""Voxels that lie inside every silhouette, and the colours seen at points.

Cameras as in `gsbench.render.splats.layout`.
"""

import numpy as np
from numba import njit

from gsbench.render.splats import layout as at


@njit(forceinline=True)
def _homogeneous(camera, x, y, z):
    """Column and row of a world point times its depth, and the depth."""
    cx = camera[0] * x + camera[1] * y + camera[2] * z + camera[at.TRANSLATION]
    cy = camera[3] * x + camera[4] * y + camera[5] * z + camera[at.TRANSLATION + 1]
    cz = camera[6] * x + camera[7] * y + camera[8] * z + camera[at.TRANSLATION + 2]
    u, v = camera[at.FX] * cx + camera[at.CX] * cz, camera[at.FY] * cy + camera[at.CY] * cz
    return np.float32(u), np.float32(v), np.float32(cz)


@njit(cache=True, error_model="numpy")
def carve(masks, cameras, origin, voxel, occupied):
    """Sets `occupied` `[x y z]` where the voxel's centre falls on the mask of every view that has it in its image."""
    views, height, width = masks.shape
    depth = occupied.shape[2]
    alive = np.empty(depth, np.int64)
    for i in range(occupied.shape[0]):
        for j in range(occupied.shape[1]):
            x, y, z = origin[0] + (i + 0.5) * voxel, origin[1] + (j + 0.5) * voxel, origin[2] + 0.5 * voxel
            count = depth
            for k in range(depth):
                alive[k] = k
            # One column of voxels is a line in every image; the list of those still inside shrinks from view to view.
            for view in range(views):
                camera = cameras[view]
                u, v, w = _homogeneous(camera, x, y, z)
                step_u = np.float32((camera[at.FX] * camera[2] + camera[at.CX] * camera[8]) * voxel)
                step_v = np.float32((camera[at.FY] * camera[5] + camera[at.CY] * camera[8]) * voxel)
                step_w = np.float32(camera[8] * voxel)
                kept = 0
                for position in range(count):
                    k = alive[position]
                    inverse = np.float32(1) / (w + k * step_w)
                    column, row = int((u + k * step_u) * inverse), int((v + k * step_v) * inverse)
                    alive[kept] = k
                    outside = column < 0 or column >= width or row < 0 or row >= height or inverse < 0
                    kept += outside or masks[view, row, column]
                count = kept
            occupied[i, j] = False
            for position in range(count):
                occupied[i, j, alive[position]] = True


@njit(cache=True, error_model="numpy")
def observe(points, normals, rgba, cameras, colours):
    """Fills `colours` `[n 3]` in 0..1: the mean over views that face the point, by the cosine squared."""
    views, height, width, _ = rgba.shape
    for i in range(len(points)):
        x, y, z = points[i]
        red, green, blue, weights = 0.0, 0.0, 0.0, 0.0
        for view in range(views):
            camera = cameras[view]
            dx, dy, dz = camera[at.CENTER] - x, camera[at.CENTER + 1] - y, camera[at.CENTER + 2] - z
            facing = dx * normals[i, 0] + dy * normals[i, 1] + dz * normals[i, 2]
            if facing <= 0:
                continue
            u, v, w = _homogeneous(camera, x, y, z)
            column, row = int(u / w), int(v / w)
            if w > 0 and 0 <= column < width and 0 <= row < height and rgba[view, row, column, 3] > 127:
                weight = facing * facing / (dx * dx + dy * dy + dz * dz)
                red += weight * rgba[view, row, column, 0]
                green += weight * rgba[view, row, column, 1]
                blue += weight * rgba[view, row, column, 2]
                weights += weight
        scale = 1 / (255 * weights) if weights > 0 else 0.0
        colours[i, 0], colours[i, 1], colours[i, 2] = red * scale, green * scale, blue * scale
