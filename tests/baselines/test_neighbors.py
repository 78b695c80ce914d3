"""Centers and neighborhoods: against comparing all distances, and the GPU's formulation against the CPU's."""

import itertools

import pytest
import torch
from gsbench_baselines.pointnet2 import neighbors
from gsbench_baselines.pointnet2.model import Scale

from tests.baselines import plain

SIZES = (200, 1, 40, 333)
OFFSETS = tuple(itertools.accumulate(SIZES, initial=0))
COUNT, RADIUS, LIMIT = 64, 0.5, 12


@pytest.fixture
def positions():
    return torch.randn(OFFSETS[-1], 3, generator=torch.Generator().manual_seed(0)) * 0.5


def test_centers(positions):
    centers, starts = neighbors.choose_centers(positions, OFFSETS, COUNT)
    assert starts == tuple(itertools.accumulate((64, 1, 40, 64), initial=0))
    for (first, last), (start, stop) in zip(itertools.pairwise(OFFSETS), itertools.pairwise(starts), strict=True):
        assert (centers[start:stop] - first).tolist() == plain.furthest(positions[first:last], COUNT)
    assert centers[starts[2] : starts[3]].sort().values.tolist() == list(range(OFFSETS[2], OFFSETS[3]))


def test_neighbors(positions):
    centers, starts = neighbors.choose_centers(positions, OFFSETS, COUNT)
    pairs = neighbors.find_neighbors(positions, OFFSETS, centers, starts, RADIUS, LIMIT)
    found = pairs.point.split(pairs.starts.diff().tolist())
    set_of = [s for s, (start, stop) in enumerate(itertools.pairwise(starts)) for _ in range(start, stop)]
    sizes = set()
    for own, center, s in zip(found, centers, set_of, strict=True):
        inside = plain.ball(positions[OFFSETS[s] : OFFSETS[s + 1]], positions[center], Scale(RADIUS, LIMIT, ()))
        assert (own - OFFSETS[s]).tolist() == inside.tolist()
        sizes.add(len(own))
    assert LIMIT in sizes, "some neighborhoods are full"
    assert len(sizes) > 2, "and others are not"
    assert pairs.center.tolist() == [i for i, own in enumerate(found) for _ in own]
    assert pairs.set_starts.tolist() == pairs.starts[list(starts)].tolist()


def test_the_gpus_formulation_is_equal(positions, monkeypatch):
    centers, starts = neighbors.choose_centers(positions, OFFSETS, COUNT)
    sizes = [stop - start for start, stop in itertools.pairwise(starts)]
    assert torch.equal(neighbors._choose_on_device(positions, OFFSETS, sizes), centers)
    for radius, limit in ((RADIUS, LIMIT), (2.0, 500), (0.0, 3)):
        pairs = neighbors.find_neighbors(positions, OFFSETS, centers, starts, radius, limit)
        rows, counts = neighbors._query_on_device(positions, OFFSETS, centers, starts, radius, limit)
        assert torch.equal(counts, pairs.starts.diff())
        assert torch.equal(rows[torch.arange(limit) < counts[:, None]], pairs.point)


def test_positions_that_are_no_numbers_keep_their_own_center():
    """So that a diverged model ends with a loss that is no number, which training reports."""
    positions = torch.full((5, 3), torch.nan)
    centers, starts = torch.arange(5), (0, 5)
    pairs = neighbors.find_neighbors(positions, (0, 5), centers, starts, 1.0, 4)
    assert pairs.point.tolist() == list(range(5))
    rows, counts = neighbors._query_on_device(positions, (0, 5), centers, starts, 1.0, 4)
    assert rows[:, 0].tolist() == list(range(5))
    assert counts.tolist() == [1] * 5
