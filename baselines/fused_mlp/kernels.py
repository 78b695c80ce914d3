"""What `rows` does between matrix products, fused for a CPU: each kernel reads and writes a chunk of rows once.

Rows are float32, or bfloat16 handed over as its bits in uint16; sums are float32 over a block of rows and float64 over
blocks. Blocks have a fixed number of rows, so that no result depends on the number of threads.
"""

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, prange, types
from numba.extending import intrinsic, overload

BLOCK = 512
"""Rows (or, at the least, one set) that one thread takes at a time."""


@intrinsic
def _as_float(typingctx, bits):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), codegen


@intrinsic
def _as_bits(typingctx, value):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), codegen


def _widen(value):
    """A stored value as float32."""


@overload(_widen, inline="always")
def _widen_overload(value):
    if value == types.uint16:
        return lambda value: _as_float(np.uint32(value) << np.uint32(16))  # type: ignore[call-arg]
    return lambda value: value


def _narrow(value, like):
    """A float32 as it is stored where `like` was: rounded to nearest even for bfloat16."""


@overload(_narrow, inline="always")
def _narrow_overload(value, like):
    if like == types.uint16:

        def narrow(value, like):
            bits = _as_bits(value)  # type: ignore[call-arg, var-annotated]
            odd = (bits >> np.uint32(16)) & np.uint32(1)
            return np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

        return narrow
    return lambda value, like: value


@njit(cache=True, parallel=True, fastmath={"contract"})
def activate(z, scale, shift, out):
    """out = relu(z * scale + shift), all `[r c]` but `[c]` scale and shift."""
    for r in prange(len(z)):
        for c in range(z.shape[1]):
            value = _widen(z[r, c]) * scale[c] + shift[c]
            out[r, c] = _narrow(max(value, np.float32(0)), out[r, c])


@njit(cache=True, parallel=True, fastmath={"contract"})
def add_moments(y, sums):
    """Adds the sums over rows of y `[r c]` and of its squares to `sums` `[2 c]` float64."""
    blocks = (len(y) + BLOCK - 1) // BLOCK
    parts = np.zeros((blocks, 2, y.shape[1]), np.float32)
    for block in prange(blocks):
        part = parts[block]
        for r in range(block * BLOCK, min(block * BLOCK + BLOCK, len(y))):
            for c in range(y.shape[1]):
                value = _widen(y[r, c])
                part[0, c] += value
                part[1, c] += value * value
    _add_parts(parts, sums)


@njit(cache=True)
def _add_parts(parts, sums):
    for block in range(len(parts)):
        for i in range(sums.shape[0]):
            for c in range(sums.shape[1]):
                sums[i, c] += parts[block, i, c]


@njit(cache=True, parallel=True, fastmath={"contract"})
def output_gradient(out, dout, offset, slope, dy):
    """dy = dout + offset + slope * out, all `[r c]` but `[c]` offset and slope."""
    for r in prange(len(out)):
        for c in range(out.shape[1]):
            value = _widen(dout[r, c]) + offset[c] + slope[c] * _widen(out[r, c])
            dy[r, c] = _narrow(value, dy[r, c])


@njit(cache=True, parallel=True, fastmath={"contract"})
def input_gradient(z, scale, shift, dh, dz, sums):
    """Takes dh `[r c]` through h = relu(z * scale + shift): writes dz, adds scale's and shift's to `sums` `[2 c]`."""
    blocks = (len(z) + BLOCK - 1) // BLOCK
    parts = np.zeros((blocks, 2, z.shape[1]), np.float32)
    for block in prange(blocks):
        part = parts[block]
        for r in range(block * BLOCK, min(block * BLOCK + BLOCK, len(z))):
            for c in range(z.shape[1]):
                value = _widen(z[r, c])
                active = value * scale[c] + shift[c] > np.float32(0)
                gradient = _widen(dh[r, c]) if active else np.float32(0)
                part[0, c] += gradient * value
                part[1, c] += gradient
                dz[r, c] = _narrow(gradient * scale[c], dz[r, c])
    _add_parts(parts, sums)


@njit(cache=True, parallel=True, fastmath={"contract"})
def segment_max(y, starts, top, argmax, sums):
    """The largest value of each set and channel and its row, and the moments over all rows.

    Args:
        y: `[r c]`.
        starts: `[s + 1]` where each set begins.
        top: `[s c]` float32, written.
        argmax: `[s c]` int32 row of y, the last of equals, written.
        sums: `[2 c]` float64, added to.
    """
    sets, channels = top.shape
    parts = np.zeros((sets, 2, channels), np.float32)
    for s in prange(sets):
        part, best, where = parts[s], top[s], argmax[s]
        best[:] = np.float32(-np.inf)
        where[:] = np.int32(starts[s])
        for r in range(starts[s], starts[s + 1]):
            for c in range(channels):
                value = _widen(y[r, c])
                part[0, c] += value
                part[1, c] += value * value
                best[c] = max(best[c], value)
        # A loop of its own over rows that are still in the cache: together the two are not vectorised.
        for r in range(starts[s], starts[s + 1]):
            row = np.int32(r)
            for c in range(channels):
                where[c] = row if _widen(y[r, c]) == best[c] else where[c]
    _add_parts(parts, sums)


@njit(cache=True, parallel=True, fastmath={"contract"})
def argmax_input_gradient(z, scale, shift, dh, offset, dtop, argmax, weight, starts, dz, sums):
    """`input_gradient` of dh + offset, plus what reaches the rows of the maxima: dtop * weight.

    Args:
        z: `[r i]`; dh and dz: the same.
        offset: `[i]`.
        dtop: `[s o]` float32.
        argmax: `[s o]` int32 rows of z.
        weight: `[o i]` float32.
        starts: `[s + 1]` where each set begins.
        sums: `[2 i]` float64, added to.
    """
    sets, channels = len(dtop), z.shape[1]
    parts = np.zeros((sets, 2, channels), np.float32)
    for s in prange(sets):
        first, part = starts[s], parts[s]
        sparse = np.zeros((starts[s + 1] - first, channels), np.float32)
        for o in range(dtop.shape[1]):
            value = dtop[s, o]
            if value != 0:
                target = sparse[argmax[s, o] - first]
                for c in range(channels):
                    target[c] += value * weight[o, c]
        for r in range(first, starts[s + 1]):
            for c in range(channels):
                value = _widen(z[r, c])
                active = value * scale[c] + shift[c] > np.float32(0)
                gradient = _widen(dh[r, c]) + offset[c] + sparse[r - first, c] if active else np.float32(0)
                part[0, c] += gradient * value
                part[1, c] += gradient
                dz[r, c] = _narrow(gradient * scale[c], dz[r, c])
    _add_parts(parts, sums)


@njit(cache=True, parallel=True, fastmath={"contract"})
def argmax_weight_gradient(h, dtop, argmax, dweight):
    """Adds dtop `[s o]` times the rows of h `[r i]` that won (`argmax` `[s o]`) to `dweight` `[o i]` float32."""
    for o in prange(dtop.shape[1]):
        target = dweight[o]
        for s in range(len(dtop)):
            value = dtop[s, o]
            if value != 0:
                row = h[argmax[s, o]]
                for c in range(h.shape[1]):
                    target[c] += value * _widen(row[c])


@njit(cache=True, parallel=True, fastmath={"contract"})
def difference(a, b, point, center, out, sums):
    """out[e] = a[point[e]] - b[center[e]], and its moments; a `[p c]`, b `[m c]` float32, out `[e c]`."""
    blocks = (len(point) + BLOCK - 1) // BLOCK
    parts = np.zeros((blocks, 2, a.shape[1]), np.float32)
    for block in prange(blocks):
        part = parts[block]
        for e in range(block * BLOCK, min(block * BLOCK + BLOCK, len(point))):
            p, m = point[e], center[e]
            for c in range(a.shape[1]):
                value = a[p, c] - b[m, c]
                out[e, c] = _narrow(value, out[e, c])
                part[0, c] += value
                part[1, c] += value * value
    _add_parts(parts, sums)


@njit(cache=True, parallel=True, fastmath={"contract"})
def difference_gradient(dz, point, center, starts, da, db):
    """Adds dz `[e c]` to `da` `[p c]` at each pair's point, and subtracts it from `db` `[m c]` at its center.

    Args:
        dz: `[e c]` float32.
        point: `[e]`; center: the same.
        starts: `[s + 1]` where the pairs of each set of points begin; sets share no point and no center.
        da: float32; db: the same.
    """
    for s in prange(len(starts) - 1):
        for e in range(starts[s], starts[s + 1]):
            p, m = point[e], center[e]
            for c in range(dz.shape[1]):
                da[p, c] += dz[e, c]
                db[m, c] -= dz[e, c]
