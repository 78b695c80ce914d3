"""Voxels that lie inside every silhouette, and the colors seen at points.

Cameras as in `gsbench.render.splats.layout`.
"""

import numpy as np
from numba import njit

from gsbench.reconstruct.fit_kernels import merge_rows
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
    """Sets `occupied` `[x y z]` where the voxel's center falls on the mask of every view that has it in its image."""
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
def observe(points, normals, rgba, cameras, colors):
    """Fills `colors` `[n 3]` in 0..1: the mean over views that face the point, by the cosine squared."""
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
        colors[i, 0], colors[i, 1], colors[i, 2] = red * scale, green * scale, blue * scale


@njit(cache=True, error_model="numpy")
def fill_silhouettes(words, order, block, masks):
    """Sets `masks` `[v h/block w/block]`, rounded up, where alpha passes one half in a block or one of its neighbors.

    `words` are the views' pixels, alpha in the highest byte; `order` says which view's mask comes first, and so on.
    """
    views, rows, columns = masks.shape
    _, height, width = words.shape
    merged, found = np.zeros(columns * block, np.int32), np.empty((rows, columns), np.uint8)
    signs = np.empty(len(merged), np.uint8)
    for view in range(views):
        image = words[order[view]]
        for row in range(rows):
            merge_rows(image, row * block, min((row + 1) * block, height), merged[:width])
            for j in range(len(merged)):
                # Alpha's highest bit is the sign.
                signs[j] = merged[j] < 0
            _merge_blocks(signs, block, found[row])
        _spread(found, masks[view])


@njit(cache=True, error_model="numpy")
def fill_wide(masks, block, wide):
    """Sets `wide` `[v h/block w/block]`, rounded up, where a block of `masks` or one of its neighbors has some."""
    views, rows, columns = wide.shape
    _, height, width = masks.shape
    merged, found = np.zeros(columns * block, np.uint8), np.empty((rows, columns), np.uint8)
    for view in range(views):
        for row in range(rows):
            merge_rows(masks[view], row * block, min((row + 1) * block, height), merged[:width])
            _merge_blocks(merged, block, found[row])
        _spread(found, wide[view])


@njit(forceinline=True)
def _merge_blocks(row, block, found):
    """Fills `found` with the union of each `block` of a row."""
    for column in range(len(found)):
        found[column] = row[column * block]
    for offset in range(1, block):
        for column in range(len(found)):
            found[column] |= row[column * block + offset]


@njit(forceinline=True)
def _spread(found, mask):
    """Sets `mask` where a pixel or one of its 8 neighbors is set in `found`."""
    rows, columns = found.shape
    tall = np.zeros(columns + 2, np.uint8)
    for row in range(rows):
        inner = tall[1:-1]
        merge_rows(found, max(row - 1, 0), min(row + 2, rows), inner)
        left, right, target = tall[:-2], tall[2:], mask[row]
        for j in range(columns):
            target[j] = left[j] | inner[j] | right[j]
