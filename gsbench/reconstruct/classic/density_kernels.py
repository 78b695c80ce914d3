"""Loops over Gaussians of the adaptive density control and of its start."""

import math

from numba import njit


@njit(cache=True, error_model="numpy")
def add_gradients(visible, gradients, half_width, half_height, sums, counts):
    """Adds the norm of each visible Gaussian's `gradients` `[2 n]` (by pixels), in image halves, and counts it."""
    for position in range(visible.size):
        i = visible[position]
        sums[i] += math.hypot(gradients[0, i] * half_width, gradients[1, i] * half_height)
        counts[i] += 1


@njit(cache=True, error_model="numpy")
def mean_square_distances(points, places, order, starts, cells, edge, squares):
    """Fills `squares` with the mean squared distance of each of `points` `[n 3]` to its three nearest others.

    `places` `[n 3]` are the points' cells in a cube of `cells`^3 cells of `edge`; `order` lists the points by cell,
    from `starts` on. Shells of cells are searched outwards until none can hold a nearer point.
    """
    for i in range(len(points)):
        first, second, third = math.inf, math.inf, math.inf
        for shell in range(cells + 1):
            for x in range(max(places[i, 0] - shell, 0), min(places[i, 0] + shell + 1, cells)):
                for y in range(max(places[i, 1] - shell, 0), min(places[i, 1] + shell + 1, cells)):
                    on_face = abs(x - places[i, 0]) == shell or abs(y - places[i, 1]) == shell
                    step = 1 if on_face or shell == 0 else 2 * shell
                    for z in range(places[i, 2] - shell, places[i, 2] + shell + 1, step):
                        if z < 0 or z >= cells:
                            continue
                        cell = (x * cells + y) * cells + z
                        for position in range(starts[cell], starts[cell + 1]):
                            j = order[position]
                            if j == i:
                                continue
                            dx, dy = points[i, 0] - points[j, 0], points[i, 1] - points[j, 1]
                            dz = points[i, 2] - points[j, 2]
                            square = dx * dx + dy * dy + dz * dz
                            if square < first:
                                first, second, third = square, first, second
                            elif square < second:
                                second, third = square, second
                            elif square < third:
                                third = square
            if third <= (shell * edge) ** 2:
                break
        squares[i] = (first + second + third) / 3
