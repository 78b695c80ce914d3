"""Triangles that cross the camera's plane, or reach too far past the image for float32, cut to what can be drawn."""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import numpy as np

from gsbench.render.jit_kernels import inlined
from gsbench.render.triangle_layout import LANES, NEAR

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
    p, q, r = _corner(seen, triangle, 0), _corner(seen, triangle, 1), _corner(seen, triangle, 2)
    qr, rp, pq = _cross(q, r), _cross(r, p), _cross(p, q)
    volume = p[0] * qr[0] + p[1] * qr[1] + p[2] * qr[2]
    for axis in range(3):
        plane[axis] = (qr[axis] + rp[axis] + pq[axis]) / volume
    return abs(plane[0]) + abs(plane[1]) + abs(plane[2]) < _STEEPEST


@inlined
def _corner(seen, triangle, corner):
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
