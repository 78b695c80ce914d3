"""Faces laid out for the rasteriser: corners 16 triangles at a time, one shade each, and every triangle once."""

# numba checks the types of what follows; mypy does not know its intrinsics.
# mypy: ignore-errors

import numpy as np

from gsbench.render import triangle_layout as at
from gsbench.render.jit_kernels import inlined, kernel


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
