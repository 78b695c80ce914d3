"""Turning Gaussians: what a camera sees does not depend on the frame."""

from dataclasses import replace

import numpy as np
import pytest

from gsbench.core.geometry import eval_sh, matrices_to_quats, quats_to_matrices, spiral_rig
from gsbench.formats.activation import AXES, rotate, to_y_up
from gsbench.render.splats import rasterize
from tests.formats.samples import DEGREES, assert_same, assert_shapes_close, random_gaussians

ANY = quats_to_matrices(np.array([[0.3, -0.5, 0.7, 0.4]]))[0]
TURNS = {**{name: to_y_up(name) for name in AXES}, "any": ANY}


@pytest.mark.parametrize("name", AXES)
def test_frames_are_rotations_that_put_the_named_axis_up(name: str) -> None:
    turn = to_y_up(name)
    np.testing.assert_array_equal(turn @ turn.T, np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)
    up = {"z-up": (0, 0, 1), "y-down": (0, -1, 0)}[name]
    np.testing.assert_array_equal(turn @ up, [0, 1, 0])


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"axes: 'y-up' .allowed: z-up, y-down"):
        to_y_up("y-up")


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("degree", DEGREES)
def test_colors_turn_with_the_directions(turn: np.ndarray, degree: int) -> None:
    gaussians = random_gaussians(200, degree)
    directions = np.random.default_rng(1).normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    expected = eval_sh(gaussians.sh.astype(np.float64), directions)
    found = eval_sh(rotate(gaussians, turn).sh.astype(np.float64), directions @ turn.T)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_a_turned_camera_sees_the_same_image(turn: np.ndarray) -> None:
    gaussians = random_gaussians(200, 3)
    cameras = spiral_rig(3, 3.0, 40.0, 1.0, -20.0, 60.0, 64, 64)
    back = np.eye(4)
    back[:3, :3] = turn.T
    turned = replace(cameras, viewmats=(cameras.viewmats @ back).astype(np.float32))
    expected = rasterize(gaussians, cameras).rgb
    np.testing.assert_allclose(rasterize(rotate(gaussians, turn), turned).rgb, expected, atol=2e-4)


def test_right_angles_are_exact() -> None:
    gaussians = random_gaussians(100, 3)
    flipped = rotate(gaussians, to_y_up("y-down"))
    np.testing.assert_array_equal(flipped.means, gaussians.means * np.float32([1, -1, -1]))
    np.testing.assert_array_equal(np.abs(flipped.sh), np.abs(gaussians.sh))
    assert_same(rotate(flipped, to_y_up("y-down").T), gaussians, ("means", "scales", "opacities", "sh"))
    raised = rotate(gaussians, to_y_up("z-up"))
    np.testing.assert_array_equal(raised.means, gaussians.means[:, [0, 2, 1]] * np.float32([1, 1, -1]))
    assert_same(rotate(raised, to_y_up("z-up").T)[:50], gaussians[:50], ("means", "scales", "opacities"))
    np.testing.assert_array_equal(rotate(raised, to_y_up("z-up").T).sh[:, :4], gaussians.sh[:, :4])


def test_the_identity_changes_no_bit_and_scale_is_applied() -> None:
    gaussians = random_gaussians(50, 2)
    assert rotate(gaussians, np.eye(3)) is gaussians
    doubled = rotate(gaussians, np.eye(3), 2.0)
    np.testing.assert_array_equal(doubled.means, 2 * gaussians.means)
    np.testing.assert_array_equal(doubled.scales, 2 * gaussians.scales)
    assert_shapes_close(rotate(doubled, ANY), replace(doubled, quats=_turn(doubled.quats)), 1e-5)


def _turn(quats: np.ndarray) -> np.ndarray:
    matrices = ANY @ quats_to_matrices(quats.astype(np.float64))
    return matrices_to_quats(matrices).astype(np.float32)
