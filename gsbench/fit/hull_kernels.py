"""Voxels that lie inside every silhouette, and the colours seen at points. Cameras as in `gsbench.render.layout`."""

from numba import njit

from gsbench.render import layout as at


@njit
def _pixel(camera, x, y, z):
    """Column, row and depth of a world point."""
    cx = camera[0] * x + camera[1] * y + camera[2] * z + camera[at.TRANSLATION]
    cy = camera[3] * x + camera[4] * y + camera[5] * z + camera[at.TRANSLATION + 1]
    cz = camera[6] * x + camera[7] * y + camera[8] * z + camera[at.TRANSLATION + 2]
    if cz <= 0:
        return -1, -1
    column, row = camera[at.FX] * cx / cz + camera[at.CX], camera[at.FY] * cy / cz + camera[at.CY]
    return int(column) if column >= 0 else -1, int(row) if row >= 0 else -1


@njit(cache=True, error_model="numpy")
def carve(masks, cameras, origin, voxel, occupied):
    """Sets `occupied` `[x y z]` where the voxel's centre falls on the mask of every view that has it in its image."""
    views, height, width = masks.shape
    for i in range(occupied.shape[0]):
        for j in range(occupied.shape[1]):
            for k in range(occupied.shape[2]):
                x, y, z = origin[0] + (i + 0.5) * voxel, origin[1] + (j + 0.5) * voxel, origin[2] + (k + 0.5) * voxel
                inside = True
                for view in range(views):
                    column, row = _pixel(cameras[view], x, y, z)
                    if 0 <= column < width and 0 <= row < height and not masks[view, row, column]:
                        inside = False
                        break
                occupied[i, j, k] = inside


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
            column, row = _pixel(camera, x, y, z)
            if 0 <= column < width and 0 <= row < height and rgba[view, row, column, 3] > 127:
                weight = facing * facing / (dx * dx + dy * dy + dz * dz)
                red += weight * rgba[view, row, column, 0]
                green += weight * rgba[view, row, column, 1]
                blue += weight * rgba[view, row, column, 2]
                weights += weight
        scale = 1 / (255 * weights) if weights > 0 else 0.0
        colours[i, 0], colours[i, 1], colours[i, 2] = red * scale, green * scale, blue * scale
