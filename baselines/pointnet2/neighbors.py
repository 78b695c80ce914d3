"""Which points a set abstraction looks at: furthest-point centers, and the neighborhoods around them."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from gsbench_baselines.fused_mlp import NeighborPairs
from gsbench_baselines.pointnet2 import kernels
from torch import Tensor


@torch.no_grad()
def choose_centers(positions: Tensor, offsets: Sequence[int], count: int) -> tuple[Tensor, tuple[int, ...]]:
    """Furthest-point sampling of each set, from its first point on; a set with fewer points gives all of them.

    Args:
        positions: `[r 3]` float32 rows, set after set.
        offsets: where each set begins, and the end.
        count: centers of a set.

    Returns:
        `[m]` int64 rows of the centers, set after set, and the offsets of the sets among them.
    """
    sizes = [min(count, stop - start) for start, stop in itertools.pairwise(offsets)]
    starts = tuple(itertools.accumulate(sizes, initial=0))
    if positions.is_cuda:
        return _choose_on_device(positions, offsets, sizes), starts
    chosen = np.empty(starts[-1], np.int64)
    kernels.furthest_points(_coordinates(positions), np.array(offsets), np.array(starts), chosen)
    return torch.from_numpy(chosen), starts


@torch.no_grad()
def find_neighbors(
    positions: Tensor, offsets: Sequence[int], centers: Tensor, starts: Sequence[int], radius: float, limit: int
) -> NeighborPairs:
    """The first `limit` points of the set, in row order, within `radius` of each center.

    The reference fills up smaller neighborhoods with copies of their first point. The maximum does not see them; here
    they do not exist, so that batch norm counts every neighbor once.

    Args:
        positions: `[r 3]` float32 rows, set after set.
        offsets: where each set begins, and the end.
        centers: `[m]` rows of the centers, set after set.
        starts: where each set's centers begin, and the end.
        radius: of a neighborhood.
        limit: most neighbors of a center.
    """
    if positions.is_cuda:
        neighbors, counts = _query_on_device(positions, offsets, centers, starts, radius, limit)
    else:
        found, sizes = np.empty((len(centers), limit), np.int64), np.empty(len(centers), np.int64)
        where = (np.array(offsets), centers.numpy(), np.array(starts))
        kernels.ball_query(_coordinates(positions), *where, np.float32(radius), limit, found, sizes)
        neighbors, counts = torch.from_numpy(found), torch.from_numpy(sizes)
    valid = torch.arange(limit, device=counts.device) < counts[:, None]
    every = torch.arange(len(counts), device=counts.device)
    pair_starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    set_starts = pair_starts[torch.tensor(starts, device=counts.device)]
    return NeighborPairs(neighbors[valid], every.repeat_interleave(counts), pair_starts.cpu(), set_starts)


def _coordinates(positions: Tensor) -> np.ndarray:
    return np.ascontiguousarray(positions.numpy().T)


def _padded(positions: Tensor, offsets: Sequence[int]) -> Tensor:
    """Sets side by side `[s n 3]`, padded with NaN, which is near nothing."""
    sets = [positions[start:stop] for start, stop in itertools.pairwise(offsets)]
    return torch.nn.utils.rnn.pad_sequence(sets, batch_first=True, padding_value=float("nan"))


def _choose_on_device(positions: Tensor, offsets: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """`choose_centers` for a GPU: all sets take a step at once."""
    points = _padded(positions, offsets)
    every = torch.arange(len(points), device=points.device)
    nearest = torch.where(points[..., 0].isnan(), -1.0, torch.inf)
    last = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    chosen = []
    for _ in range(max(sizes)):
        chosen.append(last)
        distance = (points - points[every, last][:, None]).square().sum(-1)
        nearest = torch.where(distance < nearest, distance, nearest)
        last = nearest.argmax(1)
    rows = torch.stack(chosen, 1) + torch.tensor(offsets[:-1], device=points.device)[:, None]
    return rows[torch.arange(max(sizes), device=rows.device) < torch.tensor(sizes, device=rows.device)[:, None]]


def _query_on_device(
    positions: Tensor, offsets: Sequence[int], centers: Tensor, starts: Sequence[int], radius: float, limit: int
) -> tuple[Tensor, Tensor]:
    """Rows `[m limit]` of the neighbors (the rest is undefined) and their number `[m]`, for a GPU."""
    points = _padded(positions, offsets)
    at = _padded(positions[centers], starts)
    inside = (at[:, :, None] - points[:, None]).square().sum(-1) <= radius * radius
    sizes = torch.tensor([stop - start for start, stop in itertools.pairwise(starts)], device=positions.device)
    inside = inside[torch.arange(inside.shape[1], device=inside.device) < sizes[:, None]]
    first = torch.tensor(offsets[:-1], device=positions.device).repeat_interleave(sizes)
    own = (centers - first)[:, None]
    index = torch.arange(inside.shape[1], device=inside.device)
    inside |= index == own  # as a position that is no number lies outside its own ball
    nearest_rows = torch.where(inside, index, inside.shape[1]).sort(1).values[:, :limit] + first[:, None]
    neighbors = torch.zeros(len(inside), limit, dtype=torch.int64, device=inside.device)
    neighbors[:, : nearest_rows.shape[1]] = nearest_rows
    return neighbors, inside.sum(1).clamp(max=limit)
