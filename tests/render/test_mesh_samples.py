"""The software rasterizer: which samples a triangle covers, what hides what, and that nothing else decides."""

import dataclasses
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from gsbench.core.geometry import spiral_rig
from gsbench.core.types import Mesh
from gsbench.meshes.shapes import make_shape
from gsbench.meshes.surface import normalize
from gsbench.render.mesh import render_depth, render_views, software
from tests.render.mesh_scenes import PLAIN, SETUP, cube, on_image, rectangle, straight

FINE = dataclasses.replace(PLAIN, supersample=2)
RIG = spiral_rig(5, 3.0, 40.0, 2.0, -30.0, 75.0, 150, 130)


def coverage(mesh: Mesh, width: int, height: int, samples: int = 16) -> np.ndarray:
    """Covered samples of every pixel, of the camera `straight`."""
    setup = FINE if samples == 16 else PLAIN
    alpha = render_views(mesh, straight(width, height), setup).rgba[0, ..., 3]
    counts = np.rint(alpha / 255 * samples).astype(int)
    assert (np.floor(counts * 255 / samples + 0.5) == alpha).all()
    return counts


def soup(count: int, seed: int = 0) -> Mesh:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.7, 0.7, (count, 1, 3)) + rng.normal(size=(count, 3, 3)) * rng.choice(
        [0.02, 0.3], (count, 1, 1)
    )
    return Mesh(points.reshape(-1, 3).astype(np.float32), np.arange(3 * count, dtype=np.int32).reshape(-1, 3))


@pytest.mark.parametrize("samples", [4, 16])
def test_a_rectangle_covers_exactly_its_area(samples: int) -> None:
    counts = coverage(on_image(rectangle(3, 5, 40, 23)), 50, 40, samples)
    expected = np.zeros((40, 50), int)
    expected[5:23, 3:40] = samples
    np.testing.assert_array_equal(counts, expected)
    # Half a pixel, of either axis: half of the samples, as no two share a row or a column.
    half = coverage(on_image(rectangle(3.5, 5.25, 40.75, 23.5)), 50, 40, samples)
    assert half[10, 3] == samples // 2
    assert half[10, 40] == 3 * samples // 4
    assert half[5, 20] == 3 * samples // 4
    assert half[23, 20] == samples // 2


@pytest.mark.parametrize("samples", [4, 16])
def test_triangles_that_share_edges_leave_neither_holes_nor_double_hits(samples: int) -> None:
    rng = np.random.default_rng(samples)
    ticks = np.linspace(2, 60, 12)
    grid = np.stack(np.meshgrid(ticks, ticks), -1)
    grid[1:-1, 1:-1] += rng.uniform(-1.2, 1.2, (10, 10, 2))
    grid[4:7, 4:7] = np.round(grid[4:7, 4:7] * 16) / 16  # some corners right on samples
    triangles = []
    for i in range(11):
        for j in range(11):
            a, b, c, d = grid[i, j], grid[i, j + 1], grid[i + 1, j + 1], grid[i + 1, j]
            triangles += [[a, b, c], [c, d, a]] if rng.random() < 0.5 else [[b, c, d], [d, a, b]]
    single = sum(coverage(on_image(np.array([triangle])), 64, 64, samples) for triangle in triangles)
    expected = np.zeros((64, 64), int)
    expected[2:60, 2:60] = samples
    np.testing.assert_array_equal(single, expected)
    np.testing.assert_array_equal(coverage(on_image(np.array(triangles)), 64, 64, samples), expected)


def test_a_fan_about_a_sample_covers_it_once() -> None:
    # Pixel centers are samples of the depth's pattern, and here the hub of every fan.
    rng = np.random.default_rng(3)
    for turns in range(3, 12):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 2)) if turns == 3 else np.arange(turns) * 2 * np.pi / turns
        angles = np.append(angles, angles.sum() / 2 + np.pi) if turns == 3 else angles
        rim = 8.5 + 6 * np.stack([np.cos(angles), np.sin(angles)], 1)
        hits = 0
        for i in range(len(rim)):
            fan = np.array([[[8.5, 8.5], rim[i], rim[(i + 1) % len(rim)]]])
            hits += render_depth(on_image(fan), straight(17, 17))[0, 8, 8] > 0
        assert hits == 1


def test_coverage_of_edges_at_any_angle_is_the_area_to_a_few_percent() -> None:
    for samples, limit in ((4, 0.11), (16, 0.04)):
        errors = []
        for angle in np.linspace(0.01, 3.1, 23):
            along = np.array([np.cos(angle), np.sin(angle)])
            across = np.array([-along[1], along[0]])
            corners = 32.3 + np.array([40 * along, 40 * across, -40 * along])
            counts = coverage(on_image(corners[None]), 64, 64, samples) / samples
            exact = coverage(on_image(corners[None] * 8), 512, 512).reshape(64, 8, 64, 8).sum((1, 3)) / 1024
            edge = (exact > 0) & (exact < 1)
            errors.append((counts - exact)[edge])
        assert np.sqrt((np.concatenate(errors) ** 2).mean()) < limit


def test_depth_of_a_plane_is_exact() -> None:
    corners = rectangle(4, 4, 90, 70)
    depths = np.where(corners[..., 0] < 50, 1.0, 2.0) * np.where(corners[..., 1] < 40, 1.0, 1.5)
    depth = render_depth(on_image(corners[:1], depths[:1]), straight(100, 80))[0].astype(np.float64)
    rows, columns = np.nonzero(depth)
    # 1/z is linear on the image.
    system = np.concatenate([corners[0], np.ones((3, 1))], axis=1)
    plane = np.linalg.solve(system, 1 / depths[0])
    expected = 1 / (np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], 1) @ plane)
    np.testing.assert_allclose(depth[rows, columns], expected, rtol=2e-6)
    assert abs(len(rows) - 86 * 66 / 2) < 90
    flat = render_depth(on_image(corners, 2.5), straight(100, 80))[0]
    np.testing.assert_allclose(flat[4:70, 4:90], 2.5, rtol=1e-7)
    assert np.count_nonzero(flat) == 66 * 86


def test_depth_is_that_of_the_nearest_surface_in_the_units_of_the_mesh() -> None:
    near, far = on_image(rectangle(10, 10, 30, 30), 3.0), on_image(rectangle(0, 0, 64, 64), 7.0)
    mesh = Mesh(np.concatenate([far.vertices, near.vertices]), np.concatenate([far.faces, near.faces + 6]))
    depth = render_depth(mesh, straight(64, 64))[0]
    expected = np.full((64, 64), 7.0, np.float32)
    expected[10:30, 10:30] = 3
    np.testing.assert_allclose(depth, expected, rtol=1e-6)


def test_surfaces_that_cross_are_cut_where_they_do() -> None:
    # One wall recedes from z 1 to 3 (1/z falls linearly), the other approaches; they meet in the middle of the image.
    corners = rectangle(0, 0, 64, 64)
    one = np.where(corners[..., 0] < 32, 1.0, 3.0)
    mesh, other = on_image(corners, one), on_image(corners, 1 / (4 / 3 - 1 / one))
    both = Mesh(np.concatenate([mesh.vertices, other.vertices]), np.concatenate([mesh.faces, other.faces + 6]))
    depth = render_depth(both, straight(64, 64))[0]
    np.testing.assert_allclose(depth[:, :32], render_depth(mesh, straight(64, 64))[0, :, :32], rtol=1e-6)
    np.testing.assert_allclose(depth[:, 32:], render_depth(other, straight(64, 64))[0, :, 32:], rtol=1e-6)


@pytest.mark.parametrize("supersample", [1, 2])
def test_order_winding_and_repetition_of_faces_change_nothing(supersample: int) -> None:
    setup, rng = dataclasses.replace(SETUP, supersample=supersample), np.random.default_rng(1)
    shape = normalize(make_shape("chair", 3))
    for mesh in (soup(400), shape):
        faces = rng.permutation(np.concatenate([mesh.faces, mesh.faces[::3]]))
        faces = rng.permuted(faces, axis=1)
        first = render_views(mesh, RIG, setup).rgba
        assert (first[..., 3] > 0).mean() > 0.05
        np.testing.assert_array_equal(first, render_views(Mesh(mesh.vertices, faces), RIG, setup).rgba)
        np.testing.assert_array_equal(render_depth(mesh, RIG), render_depth(Mesh(mesh.vertices, faces), RIG))


def test_a_view_does_not_depend_on_the_others_nor_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = soup(700, seed=2)
    images, depths = render_views(mesh, RIG, SETUP).rgba, render_depth(mesh, RIG)
    np.testing.assert_array_equal(images[[3]], render_views(mesh, RIG[[3]], SETUP).rgba)
    np.testing.assert_array_equal(depths[[3]], render_depth(mesh, RIG[[3]]))
    monkeypatch.setattr(software, "_CHUNK", 96)
    np.testing.assert_array_equal(images, render_views(mesh, RIG, SETUP).rgba)
    np.testing.assert_array_equal(depths, render_depth(mesh, RIG))


def test_when_no_more_planes_fit_blocks_are_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = normalize(make_shape("sofa", 1))
    images, depths = render_views(mesh, RIG, SETUP).rgba, render_depth(mesh, RIG)
    monkeypatch.setattr(software, "_PLANES", 3)
    again = render_views(mesh, RIG, SETUP).rgba
    np.testing.assert_array_equal(depths, render_depth(mesh, RIG))
    np.testing.assert_array_equal(images[..., 3], again[..., 3])
    assert np.abs(images.astype(int) - again).max() <= 1  # the mean of the samples' 1/z, in place of the center's


def test_what_is_drawn_before_changes_nothing() -> None:
    first = render_views(soup(100), RIG, SETUP).rgba
    render_views(cube((0, 0, 0), 0.9), straight(70, 50), FINE)
    np.testing.assert_array_equal(first, render_views(soup(100), RIG, SETUP).rgba)


def test_memory_does_not_grow_with_faces_or_views() -> None:
    def peak(faces: int, views: int) -> int:
        mesh = soup(faces)
        rig = spiral_rig(views, 3.0, 40.0, 2.0, -30.0, 75.0, 32, 32)
        tracemalloc.start()
        render_views(mesh, rig, SETUP)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest - 32 * 32 * 4 * views

    small, many_faces, many_views = peak(140_000, 2), peak(700_000, 2), peak(140_000, 40)
    assert small < 25e6
    assert many_faces < 1.01 * small
    assert many_views < 1.01 * small


@pytest.mark.slow
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="names of x86 processors")
def test_the_bytes_are_those_of_any_processor(tmp_path: Path) -> None:
    script = (
        "import hashlib; from tests.render.test_mesh_samples import *\n"
        "data = render_views(soup(300), RIG, SETUP).rgba.tobytes() + render_depth(soup(300), RIG).tobytes()\n"
        "print(hashlib.sha256(data).hexdigest())"
    )
    digests = set()
    for processor in ("", "haswell"):  # this machine's own, with 512-bit vectors perhaps, and one that has AVX2 only
        environment = {
            "NUMBA_CPU_NAME": processor,
            "NUMBA_CPU_FEATURES": "",
            "NUMBA_CACHE_DIR": str(tmp_path / processor),
        }
        done = subprocess.run(
            [sys.executable, "-c", script], env=os.environ | environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1
