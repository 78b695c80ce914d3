"""Triangles to samples: nearest surface first, 16 triangles set up at a time, 16 samples tested at a time.

The image is cut into square blocks of 16 samples, each one vector; coordinates here are in blocks. `frame` keeps two
vectors a block, 1/z (0 where nothing is; linear on the image, so a plane needs no division) and the nearest triangle's
shade. A sample belongs to a triangle by the side of each edge it lies on. Both triangles at an edge walk it from the
same end (the corners are sorted by y, then x) and do the same arithmetic, so a sample on one side for the one is on the
other for the other: neither holes nor double hits. A sample exactly on an edge counts as right of it, and as above it
where it is level.
"""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import numpy as np
from numba import njit

from gsbench.render.clip_kernels import clip
from gsbench.render.lanes_kernels import (
    bits,
    broadcast,
    load,
    maximum,
    minimum,
    select,
    splat,
    store,
    trailing_zeros,
)
from gsbench.render.lanes_sample_kernels import ceil, differ, either, everywhere, floor, fma, magnitude

LANES = 16
CORNERS = 9  # vectors a group of 16 triangles: x, y, z of corner 0, of corner 1, of corner 2
# Positions past this many blocks are clipped: float32 still tells a thousandth of a block there.
GUARD = 16384.0
# The vectors of a record, one lane a triangle.
(X0, Y0, X1, Y1, X2, Y2, A01, B01, A02, B02, A12, B12, W0, GX, GY, NEAREST, RIGHT, BX0, BX1, BY0, BY1, SHADE) = range(
    22
)
RECORD = 21


@njit(cache=True, error_model="numpy")
def gather(vertices, faces, scale, shading, corners, shades):
    """Fills `corners` `[g 9 16]` (times `scale`) and `shades` `[g 16]` (n^T `shading` n) of up to 16 g faces."""
    for face in range(len(faces)):
        group, lane = face // LANES, face % LANES
        for corner in range(3):
            for axis in range(3):
                value = vertices[faces[face, corner], axis] * scale
                corners[group, 3 * corner + axis, lane] = value
        a, b, c = vertices[faces[face, 0]], vertices[faces[face, 1]], vertices[faces[face, 2]]
        ux, uy, uz = (b[0] - a[0]) * scale, (b[1] - a[1]) * scale, (b[2] - a[2]) * scale
        vx, vy, vz = (c[0] - a[0]) * scale, (c[1] - a[1]) * scale, (c[2] - a[2]) * scale
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        squared = x * x + y * y + z * z
        shade = x * (shading[0, 0] * x + 2 * (shading[0, 1] * y + shading[0, 2] * z))
        shade += y * (shading[1, 1] * y + 2 * shading[1, 2] * z) + z * shading[2, 2] * z
        shades[group, lane] = shade / squared if squared > 0 else 0.0


@njit
def _project(corners, group, matrix, near, seen, projected):
    """Fills `seen` (x z, y z, z) and `projected` (x, y, 1/z) of 16 triangles; returns which are whole, which in front.

    A triangle is whole if no corner is nearer than `near` or past the guard band.
    """
    whole, front = everywhere(True), everywhere(False)
    for corner in range(3):
        at = (group * CORNERS + 3 * corner) * LANES
        x, y, z = load(corners, at), load(corners, at + LANES), load(corners, at + 2 * LANES)
        at = 3 * corner * LANES
        for axis in range(3):
            row = 4 * axis
            value = fma(broadcast(matrix, row + 2), z, broadcast(matrix, row + 3))
            value = fma(broadcast(matrix, row), x, fma(broadcast(matrix, row + 1), y, value))
            store(seen, at + axis * LANES, value)
        depth = load(seen, at + 2 * LANES)
        inverse = splat(np.float32(1)) / depth
        u, v = load(seen, at) * inverse, load(seen, at + LANES) * inverse
        store(projected, at, u)
        store(projected, at + LANES, v)
        store(projected, at + 2 * LANES, inverse)
        inside = depth >= near
        front = either(front, inside)
        whole = whole & inside & (magnitude(u) <= np.float32(GUARD)) & (magnitude(v) <= np.float32(GUARD))
    return bits(whole), bits(front)


@njit
def _set_up(projected, margins, blocks_x, blocks_y, records):
    """Turns 16 projected triangles into records; returns which of them may cover a sample."""
    x0, y0, w0 = load(projected, 0), load(projected, 16), load(projected, 32)
    x1, y1, w1 = load(projected, 48), load(projected, 64), load(projected, 80)
    x2, y2, w2 = load(projected, 96), load(projected, 112), load(projected, 128)
    x0, y0, w0, x1, y1, w1 = _sort_pair(x0, y0, w0, x1, y1, w1)
    x1, y1, w1, x2, y2, w2 = _sort_pair(x1, y1, w1, x2, y2, w2)
    x0, y0, w0, x1, y1, w1 = _sort_pair(x0, y0, w0, x1, y1, w1)
    a01, b01, a02, b02, a12, b12 = y1 - y0, x1 - x0, y2 - y0, x2 - x0, y2 - y1, x2 - x1
    p, q = b01 * a02, a01 * b02
    inverse_area = splat(np.float32(1)) / (p - q)
    d1, d2 = w1 - w0, w2 - w0
    left = maximum(ceil(minimum(x0, minimum(x1, x2)) - margins[1]), splat(np.float32(0)))
    right = minimum(floor(maximum(x0, maximum(x1, x2)) - margins[0]), splat(np.float32(blocks_x - 1)))
    top = maximum(ceil(y0 - margins[3]), splat(np.float32(0)))
    bottom = minimum(floor(y2 - margins[2]), splat(np.float32(blocks_y - 1)))
    _keep(records, X0, x0, y0, x1, y1)
    _keep(records, X2, x2, y2, a01, b01)
    _keep(records, A02, a02, b02, a12, b12)
    _keep(
        records,
        W0,
        w0,
        (d1 * a02 - d2 * a01) * inverse_area,
        (d2 * b01 - d1 * b02) * inverse_area,
        maximum(w0, maximum(w1, w2)),
    )
    store(records, RIGHT * LANES, select(p > q, splat(np.float32(1)), splat(np.float32(0))))
    _keep(records, BX0, left, right, top, bottom)
    return bits((left <= right) & (top <= bottom) & either(p > q, p < q))


@njit
def _keep(records, first, a, b, c, d):
    store(records, first * LANES, a)
    store(records, (first + 1) * LANES, b)
    store(records, (first + 2) * LANES, c)
    store(records, (first + 3) * LANES, d)


@njit
def _sort_pair(xa, ya, wa, xb, yb, wb):
    swap = either(yb < ya, (yb == ya) & (xb < xa))
    return (
        select(swap, xb, xa),
        select(swap, yb, ya),
        select(swap, wb, wa),
        select(swap, xa, xb),
        select(swap, ya, yb),
        select(swap, wa, wb),
    )


@njit
def _fill(records, lane, shade, pattern, blocks_x, frame):
    """Writes 1/z and shade of one triangle to the samples where it is the nearest."""
    x0, y0 = records[X0 * LANES + lane], records[Y0 * LANES + lane]
    x1, y1 = records[X1 * LANES + lane], records[Y1 * LANES + lane]
    a01, b01 = records[A01 * LANES + lane], records[B01 * LANES + lane]
    a02, b02 = records[A02 * LANES + lane], records[B02 * LANES + lane]
    a12, b12 = records[A12 * LANES + lane], records[B12 * LANES + lane]
    w0, gx, gy = records[W0 * LANES + lane], records[GX * LANES + lane], records[GY * LANES + lane]
    nearest = splat(records[NEAREST * LANES + lane])
    right = records[RIGHT * LANES + lane] > np.float32(0)
    not_long, not_short = everywhere(not right), everywhere(right)
    first, last = int(records[BX0 * LANES + lane]), int(records[BX1 * LANES + lane])
    colour = splat(shade)
    for block_y in range(int(records[BY0 * LANES + lane]), int(records[BY1 * LANES + lane]) + 1):
        ys = load(pattern, LANES) + np.float32(block_y)
        dy0 = ys - y0
        q01, q02, q12 = dy0 * b01, dy0 * b02, (ys - y1) * b12
        row = fma(splat(gy), dy0, splat(w0))
        for block_x in range(first, last + 1):
            xs = load(pattern, 0) + np.float32(block_x)
            dx0 = xs - x0
            inside = differ(not_long, dx0 * a02 >= q02) & differ(not_short, dx0 * a01 >= q01)
            inside = inside & differ(not_short, (xs - x1) * a12 >= q12)
            w = minimum(fma(splat(gx), dx0, row), nearest)
            at = (block_y * blocks_x + block_x) * 2 * LANES
            old = load(frame, at)
            nearer = inside & (w > old)
            store(frame, at, select(nearer, w, old))
            store(frame, at + LANES, select(nearer, colour, load(frame, at + LANES)))


@njit(cache=True, error_model="numpy")
def draw(corners, shades, count, matrix, near, pattern, margins, blocks_x, blocks_y, scratch, frame, box):
    """Draws the first `count` triangles of `corners` into `frame`; widens `box` (x0, x1, y0, y1, inclusive)."""
    seen, projected, records, polygons = scratch
    for group in range((count + LANES - 1) // LANES):
        present = (1 << min(count - group * LANES, LANES)) - 1
        whole, front = _project(corners, group, matrix, near, seen, projected)
        alive = _set_up(projected, margins, blocks_x, blocks_y, records) & whole & present
        while alive:
            lane = trailing_zeros(alive)
            alive &= alive - 1
            _widen(box, records, lane)
            _fill(records, lane, shades[group, lane], pattern, blocks_x, frame)
        cut = present & front & ~whole
        while cut:
            lane = trailing_zeros(cut)
            cut &= cut - 1
            alive = clip(seen, lane, near, GUARD, polygons, projected)
            alive &= _set_up(projected, margins, blocks_x, blocks_y, records)
            while alive:
                piece = trailing_zeros(alive)
                alive &= alive - 1
                _widen(box, records, piece)
                _fill(records, piece, shades[group, lane], pattern, blocks_x, frame)


@njit
def _widen(box, records, lane):
    box[0] = min(box[0], int(records[BX0 * LANES + lane]))
    box[1] = max(box[1], int(records[BX1 * LANES + lane]))
    box[2] = min(box[2], int(records[BY0 * LANES + lane]))
    box[3] = max(box[3], int(records[BY1 * LANES + lane]))
