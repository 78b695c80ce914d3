"""The software rasterizer where coordinates are extreme: cameras inside a mesh, huge and tiny sizes, bad meshes."""

import dataclasses

import numpy as np
import pytest

from gsbench.core.geometry import look_at, spiral_rig
from gsbench.core.types import Cameras, Mesh
from gsbench.render.mesh import render_depth, render_views
from tests.render.mesh_scenes import PLAIN, SETUP, cameras_at, cube, on_image, rectangle, straight


def wide(eye: tuple[float, float, float], target: tuple[float, float, float], size: int = 61) -> Cameras:
    K = np.array([[[size / 3, 0, size / 2], [0, size / 3, size / 2], [0, 0, 1]]], np.float32)
    up = np.array([0.0, 0.0, 1.0])
    return Cameras(look_at(np.array([eye], np.float64), np.array(target, np.float64), up), K, size, size)


def rays(cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """World directions `[h w 3]` of depth 1 through the pixel centers, and the eye."""
    viewmat, K = cameras.viewmats[0].astype(np.float64), cameras.Ks[0].astype(np.float64)
    rows, columns = np.indices((cameras.height, cameras.width)) + 0.5
    local = np.stack([(columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1], np.ones_like(rows)], -1)
    return local @ viewmat[:3, :3], -viewmat[:3, :3].T @ viewmat[:3, 3]


@pytest.mark.parametrize(
    ("eye", "target"),
    [((0.1, 0.2, -0.1), (1.0, 0.5, 0.2)), ((0.6, 0.0, 0.69), (0.0, 0.1, 0.5)), ((0, 0, 0), (1, 1, 1))],
)
def test_a_camera_inside_a_box_sees_its_walls_all_around(eye: tuple, target: tuple) -> None:
    cameras = wide(eye, target)
    depth = render_depth(cube((0, 0, 0), 0.7), cameras)[0]
    directions, origin = rays(cameras)
    with np.errstate(divide="ignore"):
        walls = np.where(directions > 0, (0.7 - origin) / directions, (-0.7 - origin) / directions)
    expected = walls.min(-1)
    assert (depth > 0).all()
    np.testing.assert_allclose(depth, expected, rtol=3e-5)  # float32 at a hundredth from a wall
    image = render_views(cube((0, 0, 0), 0.7), cameras, SETUP).rgba[0]
    assert (image[..., 3] == 255).all()


def test_a_floor_runs_to_the_horizon_and_below_the_camera() -> None:
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) * 1000
    floor = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    cameras = wide((0, 0, 1.7), (5, 1, 1.7), 64)
    depth = render_depth(floor, cameras)[0]
    directions, origin = rays(cameras)
    hits = -origin[2] / directions[32:, :, 2]
    assert not depth[:32].any()
    near_enough = hits < 800
    np.testing.assert_allclose(depth[32:][near_enough], hits[near_enough], rtol=1e-4)
    assert near_enough.mean() > 0.9


def test_clipped_triangles_still_meet_without_holes_or_double_hits() -> None:
    rng = np.random.default_rng(0)
    grid = rng.uniform(-3, 3, (9, 9, 3))
    x, y = np.meshgrid(np.linspace(-30, 30, 9), np.linspace(-30, 30, 9))
    grid[..., 0] += x
    grid[..., 1] += y
    grid[..., 2] *= 0.3
    index = np.arange(81).reshape(9, 9)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3).astype(np.int32)
    vertices = grid.reshape(-1, 3).astype(np.float32)
    cameras = wide((0.3, 0.2, 2.5), (1, 0.4, 1.2), 96)
    whole = render_depth(Mesh(vertices, faces), cameras)[0] > 0
    single = sum((render_depth(Mesh(vertices, faces[[i]]), cameras)[0] > 0).astype(int) for i in range(len(faces)))
    directions, _ = rays(cameras)
    straight_down = whole & (directions[..., 2] < -0.25)  # there nothing of the gentle hills hides another part
    assert straight_down.sum() > 1000
    assert (single[straight_down] == 1).all()
    assert (single[~whole] == 0).all()
    below = directions[..., 2] < -0.25
    assert (whole[below]).mean() > 0.999


def test_behind_and_beside_the_camera_nothing_is_drawn() -> None:
    for center in ((0, 0, -3), (50, 0, 3), (-50, 0, 3), (0, 50, 3), (0, -50, 3)):
        assert not render_views(cube(center, 0.5), straight(40, 40, 20.0), SETUP).rgba.any()


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**-10, 2.0**20, 2.0**60])
def test_scale_changes_nothing(scale: float) -> None:
    rig = spiral_rig(3, 3.0, 40.0, 1.0, -30.0, 75.0, 90, 90)
    mesh, plain = cube((0.1, 0, 0), 0.5), dataclasses.replace(SETUP, frequency=0.0)
    viewmats = rig.viewmats.copy()
    viewmats[:, :3, 3] *= np.float32(scale)
    scaled = Cameras(viewmats, rig.Ks, 90, 90)
    larger = Mesh(mesh.vertices * np.float32(scale), mesh.faces)
    np.testing.assert_array_equal(render_views(mesh, rig, plain).rgba, render_views(larger, scaled, plain).rgba)
    np.testing.assert_array_equal(render_depth(mesh, rig) * np.float32(scale), render_depth(larger, scaled))


def test_the_largest_floats_are_drawn() -> None:
    largest = np.finfo(np.float32).max
    mesh = cube((0, 0, 0), float(largest))
    cameras = cameras_at((0, -3, 0), 32, 32, (30.0, 30.0))  # deep inside
    depth = render_depth(mesh, cameras)
    assert (depth > 0).all()
    assert np.isfinite(depth).all()
    assert (render_views(mesh, cameras, PLAIN).rgba[..., 3] == 255).all()
    tiny = Mesh(np.concatenate([mesh.vertices, cube((0, 0, 0), 0.5).vertices]), cube((0, 0, 0), 1).faces + 8)
    assert render_views(tiny, cameras_at((0, -3, 0), 32, 32, (30.0, 30.0)), PLAIN).rgba.shape == (1, 32, 32, 4)


def test_a_triangle_far_larger_than_the_image_fills_it() -> None:
    for size in (1e2, 1e3, 1e4, 1e5):
        corners = np.array([[[-size, -size], [3 * size, -size], [-size, 3 * size]]])
        depth = render_depth(on_image(corners, 2.0), straight(50, 40))
        np.testing.assert_allclose(depth, 2.0, rtol=1e-5)


def test_faces_without_area_draw_nothing() -> None:
    point = np.array([0.1, 0.2, 2.0])
    step = np.array([0.3, 0.1, 0])
    line = [point, point + step, point + 2 * step]
    edge_on = [[0, 0, 2], [0, 0, 3], [0, 0, 5]]  # through the eye
    for corners in ([point] * 3, [point, point, point + 0.3], line, edge_on):
        mesh = Mesh(np.array(corners, np.float32), np.array([[0, 1, 2]], np.int32))
        assert not render_views(mesh, straight(64, 64, 40.0), SETUP).rgba.any()
        assert not render_depth(mesh, straight(64, 64, 40.0)).any()


def test_slivers_keep_depth_and_color_in_bounds() -> None:
    rng = np.random.default_rng(5)
    ends = rng.uniform(0, 64, (300, 2, 2))
    middle = ends.mean(1) + rng.normal(size=(300, 2)) * 10.0 ** rng.uniform(-7, -1, (300, 1))
    triangles = np.concatenate([ends, middle[:, None]], axis=1)
    depth = render_depth(on_image(triangles, rng.uniform(1, 2, (300, 3))), straight(64, 64))
    assert depth.max() <= 2.01
    assert depth[depth > 0].min() >= 0.99


def test_the_largest_images_are_drawn_and_no_larger() -> None:
    mesh = on_image(rectangle(5, 1, 8190, 2))
    depth = render_depth(mesh, straight(8192, 3))
    assert np.count_nonzero(depth) == 8185
    with pytest.raises(ValueError, match=r"images of 8193 x 3 pixels, allowed are 1 to 8192 a side"):
        render_depth(mesh, straight(8193, 3))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (17, 33), (64, 5)])
def test_images_of_any_size_are_whole(size: tuple[int, int]) -> None:
    mesh = on_image(rectangle(-5, -5, 100, 100))
    for supersample in (1, 2):
        views = render_views(mesh, straight(*size), dataclasses.replace(PLAIN, supersample=supersample))
        assert views.rgba.shape == (1, size[1], size[0], 4)
        assert (views.rgba[..., 3] == 255).all()
    assert (render_depth(mesh, straight(*size)) > 0).all()


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        ([[0, 0, 0]], np.zeros((0, 3)), "no faces to draw"),
        ([[0, 0, 1], [1, 0, np.nan], [0, 1, 1]], [[0, 1, 2]], "vertex 1 of the mesh is not finite"),
        ([[0, 0, 1], [1, 0, 1], [np.inf, 1, 1]], [[0, 1, 2]], "vertex 2 of the mesh is not finite"),
        ([[0, 0, 1], [1, 0, 1], [0, 1, 1]], [[0, 1, 3]], "names vertex 3, allowed are 0 to 2"),
        ([[0, 0, 1], [1, 0, 1], [0, 1, 1]], [[0, -1, 2]], "names vertex -1, allowed are 0 to 2"),
    ],
)
def test_meshes_that_cannot_be_drawn_are_refused(vertices: list, faces: list, message: str) -> None:
    mesh = Mesh(np.array(vertices, np.float32), np.array(faces, np.int32))
    for draw in (lambda: render_views(mesh, straight(8, 8), SETUP), lambda: render_depth(mesh, straight(8, 8))):
        with pytest.raises(ValueError, match=message):
            draw()
