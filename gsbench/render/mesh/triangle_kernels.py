"""Triangles to samples: projected 16 at a time, sorted by depth, set up 16 at a time, then drawn one by one."""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import numpy as np

from gsbench.render.mesh import triangle_layout as at
from gsbench.render.mesh.block_kernels import fill, flatten
from gsbench.render.mesh.face_kernels import clip, solve_plane
from gsbench.render.mesh.sample_kernels import ceil, either, everywhere, floor, magnitude
from gsbench.render.mesh.triangle_layout import inlined, kernel
from gsbench.render.simd16_kernels import (
    bits,
    broadcast,
    fma,
    load,
    maximum,
    minimum,
    select,
    splat,
    store,
    trailing_zeros,
)

_ZERO, _ONE, _TILE = np.float32(0), np.float32(1), np.float32(at.TILE)
_NEAR = np.float32(at.NEAR)
# Rounding errors of 1/z, relative to its range over a triangle; of an edge's side, relative to its length in blocks.
_W_ERROR, _EDGE_ERROR = np.float32(1e-6), np.float32(1 / 64)


@kernel
def draw(corners, shades, count, matrix, guard, pattern, margins, blocks_x, blocks_y, scratch, frame, box):
    """Draws the first `count` triangles of `corners` into `frame`; widens `box` (x0, x1, y0, y1, inclusive).

    From front to back, so that most of what is hidden is known to be by the time its turn comes; the image does not
    depend on it.
    """
    seen, projected, picked, records, polygons, plane, depths, listed, order, starts = scratch
    patches_x = (blocks_x + at.TILE * at.PATCH - 1) // (at.TILE * at.PATCH)
    alive = 0
    for group in range((count + at.LANES - 1) // at.LANES):
        present = (1 << min(count - group * at.LANES, at.LANES)) - 1
        whole, front, on_image = _project(corners, group, matrix, guard, blocks_x, blocks_y, seen, projected, depths)
        whole &= present
        drawn = whole & on_image
        while drawn:
            listed[alive] = group * at.LANES + trailing_zeros(drawn)
            drawn &= drawn - 1
            alive += 1
        cut = present & front & ~whole
        while cut:
            lane = trailing_zeros(cut)
            cut &= cut - 1
            if not solve_plane(seen, lane, plane):
                continue
            pieces = clip(seen, lane, guard, polygons, picked)
            pieces &= _set_up(picked, margins, blocks_x, blocks_y, records)
            while pieces:
                piece = trailing_zeros(pieces)
                pieces &= pieces - 1
                _set_plane(records[piece:], plane)
                _draw_one(records, piece, shades[group * at.LANES + lane], pattern, patches_x, frame, box)
    _sort_by_depth(depths, listed, alive, order, starts)
    for first in range(0, alive, at.LANES):
        some = min(alive - first, at.LANES)
        _pick(projected, order, first, some, picked)
        drawn = _set_up(picked, margins, blocks_x, blocks_y, records) & ((1 << some) - 1)
        while drawn:
            lane = trailing_zeros(drawn)
            drawn &= drawn - 1
            _draw_one(records, lane, shades[order[first + lane]], pattern, patches_x, frame, box)


@inlined
def _sort_by_depth(depths, listed, count, order, starts):
    """Fills `order` with the first `count` of `listed`, by falling `depths` (1/z), about: in bins."""
    if count == 0:
        return
    low = high = depths[listed[0]]
    for i in range(count):
        low, high = min(low, depths[listed[i]]), max(high, depths[listed[i]])
    bins = len(starts) - 1
    scale = np.float32(bins) / max(high - low, np.float32(1e-30)) * np.float32(0.9999)
    for i in range(len(starts)):
        starts[i] = 0
    for i in range(count):
        starts[int((high - depths[listed[i]]) * scale) + 1] += 1
    for i in range(1, len(starts)):
        starts[i] += starts[i - 1]
    for i in range(count):
        place = int((high - depths[listed[i]]) * scale)
        order[starts[place]] = listed[i]
        starts[place] += 1


@inlined
def _pick(projected, order, first, count, picked):
    """Brings `count` triangles of `order` together in `picked`."""
    for lane in range(count):
        triangle = order[first + lane]
        source = triangle // at.LANES * at.CORNERS * at.LANES + triangle % at.LANES
        for row in range(at.CORNERS):
            picked[row * at.LANES + lane] = projected[source + row * at.LANES]


@inlined
def _draw_one(records, lane, shade, pattern, patches_x, frame, box):
    record = records[lane:]
    left, right = int(record[at.LEFT * at.LANES]), int(record[at.RIGHT * at.LANES])
    top, bottom = int(record[at.TOP * at.LANES]), int(record[at.BOTTOM * at.LANES])
    box[0], box[1] = min(box[0], left), max(box[1], right)
    box[2], box[3] = min(box[2], top), max(box[3], bottom)
    if (frame[5][0] + 1) * at.PLANE >= len(frame[4]):
        flatten(frame, pattern, box, patches_x)
    fill(record, shade, pattern, left, right, top, bottom, patches_x, frame)


@inlined
def _project(corners, group, matrix, guard, blocks_x, blocks_y, seen, projected, depths):
    """Fills `seen` (x z, y z, z), and of their groups `projected` (x, y, 1/z) and `depths` (the largest 1/z).

    Returns:
        Which triangles are whole (no corner too near, or further off the image than `guard`), which have a corner that
        is not too near, and whose box meets the image if they are whole.
    """
    whole, front, on_image = everywhere(True), everywhere(False), everywhere(True)
    base = group * at.CORNERS * at.LANES
    left = top = splat(guard)
    right = bottom = splat(-guard)
    nearest = splat(_ZERO)
    for corner in range(3):
        place = 3 * corner * at.LANES
        x, y = load(corners, base + place), load(corners, base + place + at.LANES)
        z = load(corners, base + place + 2 * at.LANES)
        u, v, depth = _row(matrix, 0, x, y, z), _row(matrix, 4, x, y, z), _row(matrix, 8, x, y, z)
        store(seen, place, u)
        store(seen, place + at.LANES, v)
        store(seen, place + 2 * at.LANES, depth)
        inverse = splat(_ONE) / depth
        u, v = u * inverse, v * inverse
        store(projected, base + place, u)
        store(projected, base + place + at.LANES, v)
        store(projected, base + place + 2 * at.LANES, inverse)
        left, right, top, bottom = minimum(left, u), maximum(right, u), minimum(top, v), maximum(bottom, v)
        nearest = maximum(nearest, inverse)
        inside = depth >= _NEAR
        front = either(front, inside)
        whole = whole & inside & (magnitude(u) <= guard) & (magnitude(v) <= guard)
    store(depths, group * at.LANES, nearest)
    on_image = (right >= _ZERO) & (left <= np.float32(blocks_x)) & (bottom >= _ZERO) & (top <= np.float32(blocks_y))
    return bits(whole), bits(front), bits(on_image)


@inlined
def _row(matrix, first, x, y, z):
    value = fma(broadcast(matrix, first + 2), z, broadcast(matrix, first + 3))
    return fma(broadcast(matrix, first), x, fma(broadcast(matrix, first + 1), y, value))


@inlined
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
    inverse_area = splat(_ONE) / fma(b01, a02, -q)
    d1, d2 = w1 - w0, w2 - w0
    left = maximum(ceil(minimum(x0, minimum(x1, x2)) - margins[1]), splat(_ZERO))
    right = minimum(floor(maximum(x0, maximum(x1, x2)) - margins[0]), splat(np.float32(blocks_x - 1)))
    top = maximum(ceil(y0 - margins[3]), splat(_ZERO))
    bottom = minimum(floor(y2 - margins[2]), splat(np.float32(blocks_y - 1)))
    side = select(p > q, splat(_ONE), splat(-_ONE))
    gx, gy = fma(d1, a02, -(d2 * a01)) * inverse_area, fma(d2, b01, -(d1 * b02)) * inverse_area
    nearest = maximum(w0, maximum(w1, w2))
    reach = magnitude(gx) * (maximum(magnitude(b02), maximum(magnitude(b01), magnitude(b12))) + _ONE)
    error = (nearest + reach + magnitude(gy) * (a02 + _ONE)) * _W_ERROR
    _keep(records, at.X0, x0, y0, x1, y1)
    _keep(records, at.A01, a01, b01, a02, b02)
    _keep(records, at.A12, a12, b12, w0, nearest)
    _keep(records, at.GX, gx, gy, side, nearest + error)
    _keep(records, at.LEFT, left, right, top, bottom)
    most = maximum(gx, splat(_ZERO)) + maximum(gy, splat(_ZERO))
    least = minimum(gx, splat(_ZERO)) + minimum(gy, splat(_ZERO))
    _keep(records, at.RISE, most + error, least - error, fma(most, splat(_TILE), error), splat(_ZERO))
    _keep_edge(records, 0, a02, b02, side)
    _keep_edge(records, 1, a01, b01, -side)
    _keep_edge(records, 2, a12, b12, -side)
    return bits((left <= right) & (top <= bottom) & either(p > q, p < q))


@inlined
def _set_plane(records, plane):
    """Puts the plane of a whole triangle in place of that of a piece of it, which may be too thin to tell."""
    x0, y0 = np.float64(records[at.X0 * at.LANES]), np.float64(records[at.Y0 * at.LANES])
    gx, gy = plane[0], plane[1]
    w0, nearest = plane[2] + gx * x0 + gy * y0, records[at.NEAREST * at.LANES]
    reach = abs(records[at.B02 * at.LANES]) + abs(records[at.B01 * at.LANES]) + abs(records[at.B12 * at.LANES]) + 1
    error = _W_ERROR * (abs(w0) + nearest + abs(gx) * reach + abs(gy) * (records[at.A02 * at.LANES] + 1))
    most, least = max(gx, 0) + max(gy, 0), min(gx, 0) + min(gy, 0)
    records[at.W0 * at.LANES], records[at.GX * at.LANES], records[at.GY * at.LANES] = w0, gx, gy
    records[at.HIGHEST * at.LANES], records[at.TILE_RISE * at.LANES] = nearest + error, at.TILE * most + error
    records[at.RISE * at.LANES], records[at.FALL * at.LANES] = most + error, least - error


@inlined
def _keep_edge(records, edge, a, b, side):
    """How far inside the corner of a block is if all of the block is, or none, or of a tile if none of the tile is."""
    error = (a + magnitude(b)) * _EDGE_ERROR
    a, b = a * side, b * side
    least = minimum(b, splat(_ZERO)) - maximum(a, splat(_ZERO))
    whole = error - minimum(a, splat(_ZERO)) + maximum(b, splat(_ZERO))
    first = at.EDGES + 5 * edge
    _keep(records, first, a, b, whole, least - error)
    store(records, (first + at.TILE_NONE) * at.LANES, fma(least, splat(_TILE), -error))


@inlined
def _keep(records, first, a, b, c, d):
    store(records, first * at.LANES, a)
    store(records, (first + 1) * at.LANES, b)
    store(records, (first + 2) * at.LANES, c)
    store(records, (first + 3) * at.LANES, d)


@inlined
def _sort_pair(xa, ya, wa, xb, yb, wb):
    swap = either(yb < ya, (yb == ya) & (xb < xa))
    return (
        *(select(swap, xb, xa), select(swap, yb, ya), select(swap, wb, wa)),
        *(select(swap, xa, xb), select(swap, ya, yb), select(swap, wa, wb)),
    )
