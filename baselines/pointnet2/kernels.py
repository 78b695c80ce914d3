"""Furthest-point sampling and ball query on a CPU, over many sets at once."""

import numpy as np
from numba import njit, prange


@njit(cache=True, parallel=True, fastmath=True)
def furthest_points(positions, offsets, starts, chosen):
    """Fills `chosen` (row indices) with the furthest-point order of each set, from its first row on.

    Args:
        positions: `[3 r]` float32, so that one coordinate's values lie side by side.
        offsets: `[s + 1]` where each set begins.
        starts: `[s + 1]` where each set's choice begins in `chosen`.
        chosen: `[m]` int64, written.
    """
    for s in prange(len(offsets) - 1):
        first, count = offsets[s], offsets[s + 1] - offsets[s]
        x, y, z = positions[0, first:], positions[1, first:], positions[2, first:]
        nearest = np.full(count, np.float32(np.inf), np.float32)
        last = 0
        for m in range(starts[s], starts[s + 1]):
            chosen[m] = first + last
            px, py, pz = x[last], y[last], z[last]
            for j in range(count):
                dx, dy, dz = x[j] - px, y[j] - py, z[j] - pz
                distance = dx * dx + dy * dy + dz * dz
                nearest[j] = min(nearest[j], distance)
            furthest = np.float32(-1)
            for j in range(count):
                furthest = max(furthest, nearest[j])
            for j in range(count):
                if nearest[j] == furthest:
                    last = j
                    break


@njit(cache=True, parallel=True)
def ball_query(positions, offsets, centers, starts, radius, limit, neighbors, counts):
    """Fills `neighbors` with the first `limit` rows of the set within `radius` of each center, in row order.

    Args:
        positions: `[3 r]` float32.
        offsets: `[s + 1]` where each set begins.
        centers: `[m]` int64 rows, set after set.
        starts: `[s + 1]` where each set's centers begin.
        radius: float32.
        limit: most neighbors of a center.
        neighbors: `[m limit]` int64, written up to each center's count.
        counts: `[m]` int64, written.
    """
    square = radius * radius
    for s in prange(len(offsets) - 1):
        inside = np.empty(offsets[s + 1] - offsets[s], np.bool_)
        first = offsets[s]
        for m in range(starts[s], starts[s + 1]):
            c = centers[m]
            px, py, pz = positions[0, c], positions[1, c], positions[2, c]
            for j in range(len(inside)):
                dx, dy, dz = positions[0, first + j] - px, positions[1, first + j] - py, positions[2, first + j] - pz
                inside[j] = dx * dx + dy * dy + dz * dz <= square
            found = 0
            for j in range(len(inside)):
                if inside[j]:
                    neighbors[m, found] = first + j
                    found += 1
                    if found == limit:
                        break
            if not found:  # only a position that is no number lies outside its own ball
                neighbors[m, 0] = c
                found = 1
            counts[m] = found
