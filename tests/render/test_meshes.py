"""Views of meshes: where points land, what alpha and color say."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from gsbench.core.geometry import spiral_rig
from gsbench.core.types import Cameras, Mesh, Views
from gsbench.meshes.load import load_mesh
from gsbench.meshes.split import list_meshes
from gsbench.meshes.surface import normalize
from gsbench.render.mesh import render_views
from tests.render.mesh_scenes import PLAIN, SETUP, cameras_at, cube


def _centroid(views: Views) -> np.ndarray:
    """The alpha-weighted mean position, in pixels with the first pixel's center at (.5, .5)."""
    alpha = views.rgba[0, ..., 3].astype(np.float64)
    rows, columns = np.indices(alpha.shape) + 0.5
    return np.array([(alpha * columns).sum(), (alpha * rows).sum()]) / alpha.sum()


@pytest.mark.parametrize("supersample", [1, 2])
@pytest.mark.parametrize("point", [(0.0, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.4, 0.3), (-0.3, -0.5, -0.4)])
def test_points_land_where_the_cameras_say(point: tuple[float, float, float], supersample: int) -> None:
    cameras = cameras_at((1.9, -1.6, 0.8), 160, 120, (150.0, 120.0))
    views = render_views(cube(point, 0.02), cameras, dataclasses.replace(SETUP, supersample=supersample))
    in_camera = cameras.viewmats[0].astype(np.float64) @ [*point, 1]
    u, v, w = cameras.Ks[0].astype(np.float64) @ in_camera[:3]
    assert np.abs(_centroid(views) - [u / w, v / w]).max() < 0.15


def test_views_are_upright_and_not_mirrored() -> None:
    cameras = cameras_at((0, -3, 0), 100, 100, (100.0, 100.0))
    center = _centroid(render_views(cube((0, 0, 0), 0.05), cameras, SETUP))
    above = _centroid(render_views(cube((0, 0, 0.5), 0.05), cameras, SETUP)) - center
    right = _centroid(render_views(cube((0.5, 0, 0), 0.05), cameras, SETUP)) - center
    np.testing.assert_allclose(above, [0, -100 * 0.5 / 3], atol=0.2)
    np.testing.assert_allclose(right, [100 * 0.5 / 3, 0], atol=0.2)


def test_nearer_surfaces_hide_further_ones() -> None:
    wall = np.array([[-0.5, 0, -0.5], [0.5, 0, -0.5], [0.5, 0, 0.5], [-0.5, 0, 0.5]], np.float32)
    floor = np.array([[-0.5, -0.6, -0.1], [0.5, -0.6, -0.1], [0.5, 0.6, -0.1], [-0.5, 0.6, -0.1]], np.float32)
    mesh = Mesh(np.concatenate([floor, wall]), np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32))
    views = render_views(mesh, cameras_at((0, -3, 0.5), 100, 100, (100.0, 100.0)), PLAIN)
    column = views.rgba[0, :, 40, 0][views.rgba[0, :, 40, 3] == 255]
    assert abs(int(column[0]) - 51) <= 1  # the wall's top, before the floor that lies behind it
    assert abs(int(column.max()) - 204) <= 1
    assert (np.diff((column > 127).astype(int)) != 0).sum() == 2  # wall, floor in front of it, wall below


def test_both_sides_of_a_face_are_drawn_and_look_the_same() -> None:
    corners = np.array([[-0.6, 0, -0.5], [0.6, 0, -0.5], [0, 0, 0.6]], np.float32)
    one, other = (Mesh(corners, np.array([order], np.int32)) for order in ([0, 1, 2], [0, 2, 1]))
    front = cameras_at((0, -2.5, 0), 96, 96, (90.0, 90.0))
    np.testing.assert_array_equal(render_views(one, front, SETUP).rgba, render_views(other, front, SETUP).rgba)
    assert (render_views(one, front, SETUP).rgba[..., 3] == 255).sum() > 500
    Ks = np.array([[[90, 0, 48], [0, 90, 48], [0, 0, 1]]], np.float32)
    back = Cameras(cameras_at((0, 2.5, 0), 96, 96, (90.0, 90.0)).viewmats, Ks, 96, 96)
    seen, from_behind = (
        render_views(one, cameras, PLAIN).rgba[0] for cameras in (Cameras(front.viewmats, Ks, 96, 96), back)
    )
    solid = (seen[..., 3] == 255) & (from_behind[:, ::-1, 3] == 255)
    assert solid.sum() > 500
    np.testing.assert_array_equal(seen[solid], from_behind[:, ::-1][solid])


def test_shade_is_ambient_plus_squared_cosines() -> None:
    tilted = np.array([[-1, -1, -1], [1, -1, -1], [1, 1, 1], [-1, 1, 1]], np.float32) * 0.5  # normal at 45 degrees
    mesh = Mesh(tilted, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    pixel = render_views(mesh, cameras_at((0, -2, 2), 64, 64, (60.0, 60.0)), PLAIN).rgba[0, 32, 28]
    np.testing.assert_allclose(pixel, [204 * (0.25 + 0.75 / 2)] * 3 + [255], atol=1)


def test_the_texture_is_a_function_of_the_position_alone() -> None:
    flat = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [0, 0, 0]], np.float32) * 0.7
    two = Mesh(flat, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    four = Mesh(flat, np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]], np.int32))
    cameras = cameras_at((0.3, 0.2, 2.5), 128, 128, (110.0, 110.0))
    coarse, fine = (render_views(mesh, cameras, SETUP).rgba.astype(int) for mesh in (two, four))
    assert np.abs(coarse - fine).max() <= 1
    solid = coarse[coarse[..., 3] == 255]
    assert np.ptp(solid[:, 0]) > 25  # it is there
    assert np.ptp(solid[:, 0]) < 80  # and soft


def test_lights_tell_the_three_directions_of_a_box_apart() -> None:
    flat = dataclasses.replace(SETUP, frequency=0.0)
    views = render_views(cube((0, 0, 0), 0.5), cameras_at((2, -2, 2), 200, 200, (200.0, 200.0)), flat)
    colors, counts = np.unique(views.rgba[0][views.rgba[0, ..., 3] == 255][:, 1], return_counts=True)
    faces = np.sort(colors[counts > 500].astype(int))
    assert len(faces) == 3
    assert np.diff(faces).min() > 15


def test_alpha_is_coverage_and_color_is_straight() -> None:
    mesh = cube((0, 0, 0), 0.4)
    views = render_views(mesh, cameras_at((0, -3, 0), 120, 120, (119.0, 119.0)), PLAIN)
    image = views.rgba[0]
    assert (image[image[..., 3] == 0] == 0).all()
    edge = (image[..., 3] > 0) & (image[..., 3] < 255)
    assert edge.sum() > 20
    assert np.abs(image[edge][:, 0].astype(int) - 51).max() <= 2  # the color inside, not mixed with the background
    area = (119 * 0.8 / (3 - 0.4)) ** 2
    assert image[..., 3].sum() / 255 == pytest.approx(area, rel=0.01)


def test_supersampling_refines_edges_and_keeps_the_rest() -> None:
    mesh, cameras = cube((0, 0, 0), 0.5), cameras_at((1, -2.5, 1.3), 150, 150, (150.0, 150.0))
    one, two, automatic = (
        render_views(mesh, cameras, dataclasses.replace(SETUP, supersample=count)).rgba[0] for count in (1, 2, 0)
    )
    np.testing.assert_array_equal(two, automatic)
    inside = (one[..., 3] == 255) & (two[..., 3] == 255)
    assert np.median(np.abs(one[inside].astype(int) - two[inside])) <= 1
    assert len(np.unique(two[..., 3])) > len(np.unique(one[..., 3]))


def test_equal_calls_give_equal_bytes_whatever_was_drawn_between() -> None:
    rig = spiral_rig(4, 2.6, 50.0, 1.0, -30.0, 75.0, 96, 96)
    mesh = cube((0.1, 0, 0), 0.5)
    first = render_views(mesh, rig, SETUP)
    render_views(cube((0, 0, 0.3), 0.2), cameras_at((0, -3, 1), 70, 50, (60.0, 60.0)), PLAIN)
    again = render_views(mesh, rig, SETUP)
    np.testing.assert_array_equal(first.rgba, again.rgba)
    assert first.cameras is rig
    np.testing.assert_array_equal(render_views(mesh, rig[[2]], SETUP).rgba[0], first.rgba[2])


def test_a_mesh_without_faces_is_refused() -> None:
    empty = Mesh(np.zeros((3, 3), np.float32), np.zeros((0, 3), np.int32))
    with pytest.raises(ValueError, match="no faces to draw"):
        render_views(empty, cameras_at((0, -3, 0), 8, 8, (8.0, 8.0)), SETUP)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"light_colour": (1.2, 0.0, 0.0)}, r"light_colour is \(1.2, 0.0, 0.0\), allowed are three values in 0..1"),
        ({"frequency": -1.0}, "frequency is -1.0"),
        ({"ambient": -0.1}, "ambient is -0.1"),
        ({"ambient": float("nan")}, "ambient is nan"),
        ({"frequency": float("inf")}, "frequency is inf"),
        ({"lights": ((0.0, 0.0, 1.0, float("nan")),)}, "lights is nan"),
        ({"lights": ((0.0, 0.0, 1.0, -0.1),)}, "must be 0 or more"),
        ({"ambient": 0.9}, "reach a shade of 1.3.*at most 1"),
        ({"lights": ((0.0, 0.0, 0.0, 0.5),)}, "a direction is zero"),
        ({"supersample": 3}, r"supersample is 3, allowed are 0 \(automatic\), 1 and 2"),
        ({"renderer": "opengl"}, "renderer is 'opengl', allowed are software, pyrender"),
    ],
)
def test_a_set_up_that_saturates_or_makes_no_sense_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETUP, **change)


@pytest.mark.modelnet
def test_real_meshes_are_seen_whole_from_every_side(modelnet10: Path) -> None:
    rig = spiral_rig(6, 2.6, 50.0, 1.0, -30.0, 75.0, 128, 128)
    for file in list_meshes(modelnet10)[::10]:
        alpha = render_views(normalize(load_mesh(file.path)), rig, SETUP).rgba[..., 3]
        assert ((alpha > 0).mean((1, 2)) > 0.01).all(), file.object_id
        border = np.concatenate([alpha[:, [0, -1]].reshape(6, -1), alpha[:, :, [0, -1]].reshape(6, -1)], 1)
        assert not border.any(), file.object_id
