"""The descriptor loses no pair: it differs by no more than the surfaces do, however they are turned."""

import numpy as np
import pytest

from gsbench.core.types import Mesh
from gsbench.meshes.distance import make_surface
from gsbench.meshes.shapes import make_shape
from gsbench.meshes.surface import normalize
from gsbench.produce.audit.descriptor import describe, probe_points, quarter_turns_within, query_points, turn
from tests.produce.audit.conftest import moved, permuted


def descriptor(mesh: Mesh):
    return describe(make_surface(normalize(mesh)))


def sorted_orbits(mesh: Mesh):
    return np.sort(descriptor(mesh), axis=0)


@pytest.mark.parametrize("quarters", range(4))
def test_probes_turn_into_probes(quarters):
    probes = probe_points()
    turned = turn(probes, quarters)
    assert {tuple(p) for p in turned.tolist()} == {tuple(p) for p in probes.tolist()}
    assert len({tuple(p) for p in probes.tolist()}) == len(probes)


def test_turning_is_counter_clockwise_and_four_turns_are_none():
    point = np.array([[1, 2, 3]], np.float32)
    assert turn(point, 1).tolist() == [[-2, 1, 3]]
    assert turn(turn(point, 3), 1).tolist() == turn(point, 0).tolist() == turn(point, -4).tolist() == point.tolist()


@pytest.mark.parametrize("quarters", range(4))
def test_turned_shapes_have_one_sorted_descriptor_and_tell_the_turn(chair, quarters):
    other = moved(chair, quarters)
    np.testing.assert_allclose(sorted_orbits(other), sorted_orbits(chair), atol=1e-6)
    assert quarter_turns_within(descriptor(chair), descriptor(other), 1e-5) == (quarters,)


def test_descriptors_differ_by_no_more_than_the_surfaces(chair):
    """Vertices that move by at most d move the surface by at most d."""
    base = normalize(chair)
    rng = np.random.default_rng(0)
    for size in (0.001, 0.01, 0.1):
        steps = rng.normal(size=base.vertices.shape)
        steps *= size / np.linalg.norm(steps, axis=1, keepdims=True)
        other = make_surface(Mesh((base.vertices + steps).astype(np.float32), base.faces))
        difference = np.abs(np.sort(describe(other), axis=0) - np.sort(describe(make_surface(base)), axis=0)).max()
        assert 0.01 * size < difference <= size + 1e-6


def test_different_shapes_are_far_apart():
    shapes = [sorted_orbits(make_shape(label, 3)) for label in ("chair", "table", "sofa", "toilet", "bed")]
    apart = [np.abs(one - other).max() for i, one in enumerate(shapes) for other in shapes[:i]]
    assert min(apart) > 0.1


def test_query_points_lie_on_the_surface_and_follow_the_area():
    square = np.array([[0, 0, 0], [3, 0, 0], [3, 1, 0], [0, 1, 0]], np.float32)
    points = query_points(Mesh(square, np.array([[0, 1, 2], [0, 2, 3]], np.int32)))
    assert (points[-4:] == square).all()
    spread = points[:-4]
    assert (spread[:, 2] == 0).all()
    assert (spread >= 0).all()
    assert (spread <= [3, 1, 0]).all()
    cells = np.bincount((spread[:, 0] * 4 // 1).astype(int) * 4 + (spread[:, 1] * 4 // 1).astype(int), minlength=48)
    np.testing.assert_allclose(cells, len(spread) / 48, rtol=0.25)


def test_query_points_are_bounded(chair):
    fine = Mesh(np.random.default_rng(0).normal(size=(30000, 3)).astype(np.float32), np.arange(30000).reshape(-1, 3))
    assert len(query_points(fine)) <= 2 * 2048
    assert len(query_points(permuted(chair))) == len(query_points(chair))
