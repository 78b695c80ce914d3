"""Faces clipped at the near plane and made ready for drawing."""

import numpy as np

from gsbench.render.mesh import triangle_layout as at
from gsbench.render.mesh.triangle_layout import LANES, NEAR, inlined, kernel

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors


_PLANES = 5
_STEEPEST = 1e30  # what float32 can hold, and their products with positions


@inlined
def _distance(point, plane, guard):
    """How far inside one of the five planes a point (x z, y z, z) lies: near, right, left, below, above."""
    if plane == 0:
        return point[2] - NEAR
    axis, side = (plane - 1) // 2, 1 - 2 * ((plane - 1) % 2)
    return guard * point[2] - side * point[axis]


@inlined
def _cut(source, count, plane, guard, target):
    """Sutherland-Hodgman against one plane; returns the corners written to `target`."""
    written = 0
    for corner in range(count):
        following = (corner + 1) % count
        here, there = _distance(source[corner], plane, guard), _distance(source[following], plane, guard)
        if here >= 0:
            for axis in range(3):
                target[written, axis] = source[corner, axis]
            written += 1
        if (here >= 0) != (there >= 0):
            # From the inner to the outer end, whichever way round, so that both triangles at an edge get one point.
            inner, outer = (corner, following) if here >= 0 else (following, corner)
            t = max(here, there) / (max(here, there) - min(here, there))
            for axis in range(3):
                target[written, axis] = source[inner, axis] + t * (source[outer, axis] - source[inner, axis])
            if plane == 0:
                target[written, 2] = NEAR
            written += 1
    return written


@inlined
def solve_plane(seen, triangle, plane):
    """Fills `plane` with a, b, c of 1/z = a x + b y + c on a triangle (lane) of `seen`; False if it is seen edge-on.

    In float64, by Cramer's rule: a corner p = z (x, y, 1) lies on the triangle's plane if (a, b, c) . p = 1.
    """
    p, q, r = _clipped_corner(seen, triangle, 0), _clipped_corner(seen, triangle, 1), _clipped_corner(seen, triangle, 2)
    qr, rp, pq = _cross(q, r), _cross(r, p), _cross(p, q)
    volume = p[0] * qr[0] + p[1] * qr[1] + p[2] * qr[2]
    for axis in range(3):
        plane[axis] = (qr[axis] + rp[axis] + pq[axis]) / volume
    return abs(plane[0]) + abs(plane[1]) + abs(plane[2]) < _STEEPEST


@inlined
def _clipped_corner(seen, triangle, corner):
    at = 3 * corner * LANES + triangle
    return np.float64(seen[at]), np.float64(seen[at + LANES]), np.float64(seen[at + 2 * LANES])


@inlined
def _cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@inlined
def clip(seen, triangle, guard, polygons, projected):
    """Cuts one of the 16 triangles of `seen` and writes the pieces, projected, as triangles 0, 1, ... of `projected`.

    Args:
        seen: corners as (x z, y z, z), lane by lane; `triangle` is the lane.
        guard: the largest |x| and |y| to keep.
        polygons: float64 scratch `[2 9 3]`.
        projected: (x, y, 1/z) of every corner, lane by lane; overwritten.

    Returns:
        Which lanes of `projected` hold a piece, as bits.
    """
    source, target = polygons[0], polygons[1]
    for corner in range(3):
        for axis in range(3):
            source[corner, axis] = seen[(3 * corner + axis) * LANES + triangle]
    count = 3
    for plane in range(_PLANES):
        count = _cut(source, count, plane, np.float64(guard), target)
        source, target = target, source
        if count < 3:
            return 0
    for piece in range(count - 2):
        for corner in range(3):
            point = source[0 if corner == 0 else piece + corner]
            inverse = np.float32(1) / np.float32(point[2])
            at = 3 * corner * LANES + piece
            projected[at] = min(max(np.float32(point[0]) * inverse, -guard), guard)
            projected[at + LANES] = min(max(np.float32(point[1]) * inverse, -guard), guard)
            projected[at + 2 * LANES] = inverse
    return (1 << (count - 2)) - 1


# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors


@kernel
def lay_out(vertices, faces, scale, shading, table, corners, shades):
    """Writes the distinct triangles of some faces and returns their number.

    More than a quarter of ModelNet's faces repeat another one, most with their winding turned: drawn from both sides,
    they are the same triangle. Corners are written in lexicographic order, so equal triangles have equal shades.

    Args:
        vertices: `[v 3]` float32.
        faces: `[f 3]` int32.
        scale: factor on the vertices, a power of two.
        shading: `[3 3]`; the shade of a unit normal n is n^T `shading` n.
        table: int32 scratch, a power of two in length, at least 2 f.
        corners: `[g 9 16]`, flat: nine vectors for 16 triangles, x, y, z of the first corner and so on.
        shades: `[g 16]`, flat.
    """
    table[:] = -1
    count = 0
    for face in range(len(faces)):
        a = _corner(vertices, faces[face, 0], scale)
        b = _corner(vertices, faces[face, 1], scale)
        c = _corner(vertices, faces[face, 2], scale)
        if b < a:
            a, b = b, a
        if c < b:
            b, c = c, b
        if b < a:
            a, b = b, a
        if a == b or b == c:
            continue
        triangle = (*a, *b, *c)
        for row in range(at.CORNERS):
            corners[_place(count, row)] = triangle[row]
        if _is_new(count, table, corners):
            shades[count] = _shade(a, b, c, shading)
            count += 1
    return count


@inlined
def _corner(vertices, vertex, scale):
    # Adding zero turns -0 into 0, so that equal corners have equal bits.
    x, y, z = vertices[vertex, 0] * scale + 0.0, vertices[vertex, 1] * scale + 0.0, vertices[vertex, 2] * scale + 0.0
    return np.float32(x), np.float32(y), np.float32(z)


@inlined
def _place(triangle, row):
    return (triangle // at.LANES * at.CORNERS + row) * at.LANES + triangle % at.LANES


@inlined
def _is_new(count, table, corners):
    """Whether no triangle before number `count` has its corners; if so, notes it in `table`."""
    words = corners.view(np.uint32)
    key = np.uint64(0)
    for row in range(at.CORNERS):
        key = (key ^ np.uint64(words[_place(count, row)])) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    mask = len(table) - 1
    slot = np.int64(key >> np.uint64(20)) & mask
    while table[slot] >= 0:
        same = True
        for row in range(at.CORNERS):
            same &= corners[_place(table[slot], row)] == corners[_place(count, row)]
        if same:
            return False
        slot = (slot + 1) & mask
    table[slot] = count
    return True


@inlined
def _shade(a, b, c, shading):
    ux, uy, uz = np.float64(b[0]) - a[0], np.float64(b[1]) - a[1], np.float64(b[2]) - a[2]
    vx, vy, vz = np.float64(c[0]) - a[0], np.float64(c[1]) - a[1], np.float64(c[2]) - a[2]
    x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    squared = x * x + y * y + z * z
    shade = x * (shading[0, 0] * x + 2 * (shading[0, 1] * y + shading[0, 2] * z))
    shade += y * (shading[1, 1] * y + 2 * shading[1, 2] * z) + z * shading[2, 2] * z
    return shade / squared if squared > 0 else 0.0
