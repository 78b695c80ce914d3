"""Geometry against gsplat's own torch code, and camera rigs against what they promise."""

import numpy as np
import pytest
import torch
from gsplat.cuda._torch_impl import _quat_scale_to_covar_preci, _spherical_harmonics

from gsbench.core import geometry


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_covariances_match_gsplat(rng):
    quats, scales = rng.normal(size=(50, 4)).astype(np.float32), rng.uniform(0.1, 2, (50, 3)).astype(np.float32)
    expected, _ = _quat_scale_to_covar_preci(torch.from_numpy(quats), torch.from_numpy(scales))
    np.testing.assert_allclose(geometry.covariances(quats, scales), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_matrices_and_quats_are_inverse(rng):
    random = rng.normal(size=(200, 4))
    half_turns = np.eye(4)[1:]
    quats = geometry.normalize_quats(np.concatenate([random, half_turns, [[1, 0, 0, 0], [1e-9, 1, 0, 0]]]))
    quats *= np.where(quats[:, :1] < 0, -1, 1)
    matrices = geometry.quats_to_matrices(quats)
    np.testing.assert_allclose(
        matrices @ matrices.transpose(0, 2, 1), np.tile(np.eye(3), (len(quats), 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1)
    np.testing.assert_allclose(geometry.matrices_to_quats(matrices), quats, atol=1e-9)


def test_zero_quaternion_is_the_identity():
    assert geometry.quats_to_matrices(np.zeros((1, 4))).tolist() == [np.eye(3).tolist()]


@pytest.mark.parametrize("degree", range(4))
def test_sh_match_gsplat(rng, degree):
    directions = rng.normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    sh = rng.normal(size=(40, (degree + 1) ** 2, 3))
    expected = _spherical_harmonics(degree, torch.from_numpy(directions), torch.from_numpy(sh)) + 0.5
    np.testing.assert_allclose(geometry.eval_sh(sh, directions), expected.clamp(min=0).numpy(), atol=1e-12)


def test_dc_round_trip(rng):
    rgb = rng.random((5, 3))
    np.testing.assert_allclose(geometry.dc_to_rgb(geometry.rgb_to_dc(rgb)), rgb)
    directions = np.array([[0.0, 0.6, 0.8]] * 5)
    np.testing.assert_allclose(geometry.eval_sh(geometry.rgb_to_dc(rgb)[:, None], directions), rgb)


def test_sh_rejects_other_counts():
    with pytest.raises(ValueError, match="5 coefficients a channel, allowed 1, 4, 9 or 16"):
        geometry.eval_sh(np.zeros((1, 5, 3)), np.array([[0.0, 0, 1]]))
    with pytest.raises(ValueError, match="sh degree: 4, allowed 0 to 3"):
        geometry.sh_basis(np.array([[0.0, 0, 1]]), 4)


def test_look_at_is_opencv():
    viewmat = geometry.look_at(np.array([[4.0, 0, 0]]), np.zeros(3), np.array([0.0, 0, 1]))[0].astype(np.float64)
    rotation, translation = viewmat[:3, :3], viewmat[:3, 3]
    np.testing.assert_allclose(translation, [0, 0, 4], atol=1e-6)
    np.testing.assert_allclose(rotation @ [0, 0, 1], [0, -1, 0], atol=1e-6)  # up in the world is -y in the image
    np.testing.assert_allclose(rotation @ [0, 1, 0], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(geometry.camera_centers(viewmat[None]), [[4, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("eye", [[0.0, 0, 0], [0.0, 0, 3]])
def test_look_at_rejects_undefined_directions(eye):
    with pytest.raises(ValueError, match="along up"):
        geometry.look_at(np.array([eye]), np.zeros(3), np.array([0.0, 0, 1]))


RIG = {"radius": 2.8, "fov_deg": 45.0, "turns": 4.0, "elevation_min_deg": -30.0, "elevation_max_deg": 60.0}


def test_spiral_rises_and_turns():
    cameras = geometry.spiral_rig(64, **RIG, width=320, height=224)
    eyes = geometry.camera_centers(cameras.viewmats)
    np.testing.assert_allclose(np.linalg.norm(eyes, axis=1), 2.8, rtol=1e-5)
    elevations = np.degrees(np.arcsin(eyes[:, 2] / 2.8))
    assert (np.diff(elevations) > 0).all()
    np.testing.assert_allclose(elevations[[0, -1]], [-30, 60], atol=1e-3)
    turned = np.unwrap(np.arctan2(eyes[:, 1], eyes[:, 0]))
    np.testing.assert_allclose(turned[-1] - turned[0], 8 * np.pi, rtol=1e-5)


def test_unit_sphere_fits_every_view(rng):
    cameras = geometry.spiral_rig(16, **RIG, width=320, height=224)
    points = rng.normal(size=(5000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    for viewmat, K in zip(cameras.viewmats, cameras.Ks, strict=True):
        projected = (points @ viewmat[:3, :3].T + viewmat[:3, 3]) @ K.T
        pixels = projected[:, :2] / projected[:, 2:]
        assert (pixels > 0).all()
        assert (pixels < [320, 224]).all()


def test_phase_lies_between():
    eyes, shifted = (
        geometry.camera_centers(geometry.spiral_rig(32, **RIG, width=64, height=64, phase=phase).viewmats)
        for phase in (0.0, 0.5)
    )
    step = np.linalg.norm(eyes[1:] - eyes[:-1], axis=1)
    for neighbor in (eyes[:-1], eyes[1:]):
        distance = np.linalg.norm(shifted[:-1] - neighbor, axis=1)
        assert (distance < 0.6 * step).all()
        assert (distance > 0.4 * step).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 1}, "count: 1 cameras"),
        ({"phase": 1.0}, "phase: 1.0, allowed"),
        ({"radius": 2.0}, "cuts the unit sphere, allowed radius >= 2.61"),
        ({"elevation_max_deg": 90.0}, "allowed -90 to 90"),
    ],
)
def test_spiral_rejects(change, message):
    with pytest.raises(ValueError, match=message):
        geometry.spiral_rig(**{"count": 8, "width": 64, "height": 64, **RIG, **change})
