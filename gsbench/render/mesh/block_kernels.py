"""What every sample sees, in square blocks of 16 samples: nearest surface first, whatever the triangles' order.

A sample belongs to a triangle by the side of each edge it lies on. Both triangles at an edge walk it from the same end
(corners are sorted by y, then x) and do the same arithmetic, so a sample on one side for the one is on the other for
the other: neither holes nor double hits. A sample exactly on an edge counts as right of it, and as above it where it
is level. Depth is kept as w = 1/z, linear on the image; of equal depths the lighter shade wins.

`frame` is (owner, far, near, samples, planes, used, farthest), its blocks in tiles of 4x4, its tiles in patches of 4x4.
A block that one triangle covers whole is only its number in `planes` (its w is computed when asked for); other blocks
keep two vectors in `samples`, w (0: nothing) and shade. `far` and `near` bound the w of a block's samples, `farthest`
bounds `far` in a tile: at one go all tiles of a patch are told that a triangle misses or that hide it, and all blocks
of a tile that it misses, that hide it or that it hides.
"""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import numpy as np

from gsbench.render.mesh import triangle_layout as at
from gsbench.render.mesh.sample_kernels import differ, either, everywhere, lowest
from gsbench.render.mesh.triangle_layout import inlined
from gsbench.render.simd16_kernels import bits, broadcast, fma, load, minimum, select, splat, store, trailing_zeros

_ZERO = np.float32(0)
_ALL = (1 << at.LANES) - 1
_FEW = 4  # a triangle of so few tiles is worth a look at whether they hide it before anything else
_EMPTY, _MIXED = np.float32(at.EMPTY), np.float32(at.MIXED)


@inlined
def tile_number(tile_x, tile_y, patches_x):
    """Where a tile stands in the frame."""
    patch = (tile_y // at.PATCH) * patches_x + tile_x // at.PATCH
    return patch * at.LANES + (tile_y % at.PATCH) * at.PATCH + tile_x % at.PATCH


@inlined
def plane_at(planes, number, xs, ys):
    """w of the samples at `xs`, `ys` on a kept plane."""
    p = number * at.PLANE
    row = fma(broadcast(planes, p + at.P_GY), ys - broadcast(planes, p + at.P_Y), broadcast(planes, p + at.P_W))
    w = fma(broadcast(planes, p + at.P_GX), xs - broadcast(planes, p + at.P_X), row)
    return minimum(w, broadcast(planes, p + at.P_NEAREST))


@inlined
def samples_of(frame, block, xs, ys):
    """w and shade of a block's samples, w 0 where nothing is; the shade is then without meaning."""
    owner, _, _, samples, planes, _, _ = frame
    state = owner[np.uint64(block)]
    if state >= _ZERO:
        number = int(state)
        return plane_at(planes, number, xs, ys), splat(planes[number * at.PLANE + at.P_SHADE])
    w, shade = load(samples, 2 * at.LANES * block), load(samples, 2 * at.LANES * block + at.LANES)
    return select(everywhere(state == _MIXED), w, splat(_ZERO)), shade


@inlined
def flatten(frame, pattern, box, patches_x):
    """Writes out all blocks that one triangle owns, so that `planes` is free again."""
    owner, _, _, samples, _, used, _ = frame
    for tile_y in range(box[2] // at.TILE, box[3] // at.TILE + 1):
        for tile_x in range(box[0] // at.TILE, box[1] // at.TILE + 1):
            first = tile_number(tile_x, tile_y, patches_x) * at.LANES
            for number in range(at.LANES):
                if owner[first + number] >= _ZERO:
                    xs = load(pattern, at.SAMPLES_X) + np.float32(at.TILE * tile_x + number % at.TILE)
                    ys = load(pattern, at.SAMPLES_Y) + np.float32(at.TILE * tile_y + number // at.TILE)
                    w, shade = samples_of(frame, first + number, xs, ys)
                    store(samples, 2 * at.LANES * (first + number), w)
                    store(samples, 2 * at.LANES * (first + number) + at.LANES, shade)
                    owner[first + number] = _MIXED
    used[0] = 0


@inlined
def _keep_plane(records, shade, planes, number):
    p = number * at.PLANE
    planes[p + at.P_X], planes[p + at.P_Y] = records[at.X0 * at.LANES], records[at.Y0 * at.LANES]
    planes[p + at.P_W] = records[at.W0 * at.LANES]
    planes[p + at.P_GX], planes[p + at.P_GY] = records[at.GX * at.LANES], records[at.GY * at.LANES]
    planes[p + at.P_NEAREST], planes[p + at.P_SHADE] = records[at.NEAREST * at.LANES], shade


@inlined
def fill(records, shade, pattern, left, right, top, bottom, patches_x, frame):
    """Draws one triangle, of blocks `left` to `right` and `top` to `bottom` at most; `records` begins at its lane."""
    _, _, _, _, planes, used, farthest = frame
    left, right, top, bottom = left // at.TILE, right // at.TILE, top // at.TILE, bottom // at.TILE
    few = (right - left + 1) * (bottom - top + 1) <= _FEW
    if few:
        hidden, nearest = True, records[at.NEAREST * at.LANES]
        for tile_y in range(top, bottom + 1):
            for tile_x in range(left, right + 1):
                hidden &= nearest < farthest[tile_number(tile_x, tile_y, patches_x)]
        if hidden:
            return
    triangle = _corners(records, shade)
    kept = False
    for patch_y in range(top // at.PATCH, bottom // at.PATCH + 1):
        for patch_x in range(left // at.PATCH, right // at.PATCH + 1):
            patch = patch_y * patches_x + patch_x
            todo = _judge_patch(records, triangle, pattern, patch, patch_x, patch_y, farthest)
            while todo:
                number = trailing_zeros(todo)
                todo &= todo - 1
                tile_x, tile_y = at.PATCH * patch_x + number % at.PATCH, at.PATCH * patch_y + number // at.PATCH
                kept |= _fill_tile(records, triangle, pattern, patch * at.LANES + number, tile_x, tile_y, frame)
    if kept:
        _keep_plane(records, shade, planes, used[0])
        used[0] += 1


@inlined
def _judge_patch(records, triangle, pattern, patch, patch_x, patch_y, farthest):
    """Which tiles of a patch, as bits, a triangle may change."""
    size = np.float32(at.TILE)
    xs = fma(load(pattern, at.BLOCKS_X), splat(size), splat(np.float32(at.TILE * at.PATCH * patch_x)))
    ys = fma(load(pattern, at.BLOCKS_Y), splat(size), splat(np.float32(at.TILE * at.PATCH * patch_y)))
    dx0, dy0 = xs - triangle[0], ys - triangle[1]
    out_long, out_upper = _misses(records, 0, dx0, dy0), _misses(records, 1, dx0, dy0)
    out_lower = _misses(records, 2, xs - triangle[2], ys - triangle[3])
    high = minimum(_w_at(records, dx0, dy0) + records[at.TILE_RISE * at.LANES], splat(records[at.HIGHEST * at.LANES]))
    hidden = high < load(farthest, patch * at.LANES)
    across = either(xs <= records[at.LEFT * at.LANES] - size, xs > records[at.RIGHT * at.LANES])
    along = either(ys <= records[at.TOP * at.LANES] - size, ys > records[at.BOTTOM * at.LANES])
    outside = either(either(out_long, out_upper), either(out_lower, hidden))
    return ~bits(either(outside, either(across, along))) & _ALL


@inlined
def _misses(records, edge, dx, dy):
    """Which of 16 tiles, their corners at `dx`, `dy` from an edge's end, lie outside it."""
    first = (at.EDGES + 5 * edge) * at.LANES
    inside = fma(dx, splat(records[first + at.SA * at.LANES]), -(dy * records[first + at.SB * at.LANES]))
    return inside < records[first + at.TILE_NONE * at.LANES]


@inlined
def _w_at(records, dx, dy):
    row = fma(splat(records[at.GY * at.LANES]), dy, splat(records[at.W0 * at.LANES]))
    return fma(splat(records[at.GX * at.LANES]), dx, row)


@inlined
def _corners(records, shade):
    return (
        *(records[at.X0 * at.LANES], records[at.Y0 * at.LANES], records[at.X1 * at.LANES], records[at.Y1 * at.LANES]),
        *(records[at.A02 * at.LANES], records[at.B02 * at.LANES], records[at.A01 * at.LANES]),
        *(records[at.B01 * at.LANES], records[at.A12 * at.LANES], records[at.B12 * at.LANES]),
        *(records[at.SIDE * at.LANES] > _ZERO, records[at.W0 * at.LANES], records[at.GX * at.LANES]),
        *(records[at.GY * at.LANES], records[at.NEAREST * at.LANES], shade),
    )


@inlined
def _fill_block(triangle, block, xs, ys, whole, frame):
    """Draws a triangle into one block; returns whether it owns the block now."""
    owner, far, near, samples, _, used, _ = frame
    slot = np.uint64(block)  # no negative index to look after
    x0, y0, x1, y1, a02, b02, a01, b01, a12, b12, side, w0, gx, gy, nearest, shade = triangle
    dx, dy = xs - x0, ys - y0
    w = minimum(fma(splat(gx), dx, fma(splat(gy), dy, splat(w0))), splat(nearest))
    long = differ(everywhere(not side), dx * a02 >= dy * b02)
    upper, lower = dx * a01 >= dy * b01, (xs - x1) * a12 >= (ys - y1) * b12
    inside = long & differ(everywhere(side), upper) & differ(everywhere(side), lower)
    old_w, old_shade = samples_of(frame, block, xs, ys)
    wins = either(w > old_w, (w == old_w) & (splat(shade) > old_shade)) & either(everywhere(whole), inside)
    won = bits(wins)
    if won == 0:
        return False
    w = select(wins, w, old_w)
    near[slot] = max(near[slot], nearest)
    far[slot] = lowest(w)
    if won == _ALL:
        owner[slot] = np.float32(used[0])
        return True
    store(samples, 2 * at.LANES * block, w)
    store(samples, 2 * at.LANES * block + at.LANES, select(wins, splat(shade), old_shade))
    owner[slot] = _MIXED
    return False


@inlined
def _judge_edge(records, edge, dx, dy):
    """Which of 16 blocks, their corners at `dx`, `dy` from an edge's end, lie surely inside it, and surely outside."""
    first = (at.EDGES + 5 * edge) * at.LANES
    across = dy * records[first + at.SB * at.LANES]
    inside = fma(dx, splat(records[first + at.SA * at.LANES]), -across)
    return inside > records[first + at.WHOLE * at.LANES], inside < records[first + at.NONE * at.LANES]


@inlined
def _fill_tile(records, triangle, pattern, tile, tile_x, tile_y, frame):
    """Draws a triangle into the blocks of a tile; only those at edges or close to other surfaces go one by one."""
    owner, far, near, _, _, used, farthest = frame
    xs = load(pattern, at.BLOCKS_X) + np.float32(at.TILE * tile_x)
    ys = load(pattern, at.BLOCKS_Y) + np.float32(at.TILE * tile_y)
    dx0, dy0 = xs - triangle[0], ys - triangle[1]
    in_long, out_long = _judge_edge(records, 0, dx0, dy0)
    in_upper, out_upper = _judge_edge(records, 1, dx0, dy0)
    in_lower, out_lower = _judge_edge(records, 2, xs - triangle[2], ys - triangle[3])
    w, first = _w_at(records, dx0, dy0), tile * at.LANES
    old_far, old_near = load(far, first), load(near, first)
    high = minimum(w + records[at.RISE * at.LANES], splat(records[at.HIGHEST * at.LANES]))
    low = w + records[at.FALL * at.LANES]
    outside = either(either(out_long, out_upper), either(out_lower, high < old_far))
    across = either(xs < records[at.LEFT * at.LANES], xs > records[at.RIGHT * at.LANES])
    along = either(ys < records[at.TOP * at.LANES], ys > records[at.BOTTOM * at.LANES])
    todo = ~bits(either(outside, either(across, along))) & _ALL
    if todo == 0:
        return False
    inside = in_long & in_upper & in_lower
    owned = inside & (low > old_near)
    whole, wins = bits(inside), bits(owned) & todo
    kept = wins != 0
    if kept:
        store(owner, first, select(owned, splat(np.float32(used[0])), load(owner, first)))
        store(far, first, select(owned, low, old_far))
        store(near, first, select(owned, high, old_near))
    todo &= ~wins
    while todo:
        number = trailing_zeros(todo)
        todo &= todo - 1
        samples_x = load(pattern, at.TILE_X + at.LANES * number) + np.float32(at.TILE * tile_x)
        samples_y = load(pattern, at.TILE_Y + at.LANES * number) + np.float32(at.TILE * tile_y)
        kept |= _fill_block(triangle, first + number, samples_x, samples_y, (whole >> number) & 1 == 1, frame)
    farthest[np.uint64(tile)] = lowest(load(far, first))
    return kept
