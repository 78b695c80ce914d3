"""Adaptive density control on CPU: what comes and goes, with which moments, and the gradients that decide it."""

import dataclasses

import numpy as np
import pytest
import torch

from gsbench.core.geometry import normalize_quats, quats_to_matrices, spiral_rig
from gsbench.core.types import Cameras, Gaussians
from gsbench.reconstruct import ClassicRecipe
from gsbench.reconstruct.classic import cuda
from gsbench.reconstruct.classic.cpu import ImageLoss
from gsbench.reconstruct.classic.density import Population
from gsbench.render.splats import cpu as splats_cpu
from gsbench.render.splats import layout, rasterize

from .test_fit_classic_loss import colors

PUBLISHED = ClassicRecipe()


def population(count: int) -> Population:
    """Small, opaque Gaussians, all different."""
    raw = np.random.default_rng(count).normal(size=(23, count)).astype(np.float32)
    raw[layout.SCALE : layout.OPACITY] = np.log(0.001)
    raw[layout.OPACITY] = 1 + 0.1 * raw[layout.OPACITY]
    return Population(raw)


def trained(made: Population) -> np.ndarray:
    """Gives every Gaussian moments of its own, 2 and 3 times its parameters; returns these."""
    made.first[:], made.second[:] = 2 * made.raw, 3 * made.raw
    return made.raw[:, : made.count].copy()


def observed(made: Population, gradients: dict[int, float]) -> None:
    """As if a view of 2 pixels showed these Gaussians with these gradients."""
    by_image = np.zeros((2, made.raw.shape[1]), np.float32)
    by_image[1, list(gradients)] = list(gradients.values())
    made.observe(np.array(list(gradients), np.int32), by_image, 2, 2)


def columns(array: np.ndarray, count: int) -> set[bytes]:
    return {column.tobytes() for column in np.ascontiguousarray(array[:, :count].T)}


def test_gradient_is_by_position_in_image_halves():
    """One Gaussian's gradient is the loss's by a shift of the whole image; a step of 2 is the image's size."""
    width, height = 40, 24
    cameras = spiral_rig(2, 2.8, 45.0, 1.0, 0.0, 30.0, width, height)[[0]]
    fields = [[0.05, 0.1, 0]], [[1, 0, 0, 0]], [[0.1, 0.2, 0.3]], [0.8], [[[-1, -1, 0]]]
    one = Gaussians(*(np.array(field, np.float32) for field in fields))
    target = np.full((4, 32, 48), 255, np.uint8)
    target[:3, 4:11, 9:20] = 0
    wanted = colors(target[:, :height, :width])

    def loss_at(dx: float, dy: float) -> float:
        Ks = cameras.Ks.copy()
        Ks[0, :2, 2] += dx, dy
        rgb = rasterize(one, Cameras(cameras.viewmats, Ks, width, height)).rgb
        return cuda.loss(torch.from_numpy(rgb.astype(np.float64)), wanted, 0.2).item()

    step = 0.02
    by_x = (loss_at(step, 0) - loss_at(-step, 0)) / (2 * step) * width / 2
    by_y = (loss_at(0, step) - loss_at(0, -step)) / (2 * step) * height / 2
    params = splats_cpu.pack(one)
    workspace = splats_cpu.Workspace(params.shape, width, height)
    planes = np.empty((5, 32, 48), np.float32)
    workspace.project(params, splats_cpu.camera_vectors(cameras)[0], 0, False)
    workspace.composite(np.ones(3, np.float32), planes)
    d_planes = ImageLoss(width, height).gradient(planes, target, 0.2)
    workspace.backward(params, np.ones(3, np.float32), d_planes, False, np.zeros_like(params))
    assert len(workspace.visible) == 1
    # The difference quotient also sees the Gaussian's cut at alpha 1/255 move.
    for threshold, count in ((0.95, 2), (1.05, 1)):
        grown = population(1)
        grown.observe(workspace.visible, workspace.image_gradients, width, height)
        recipe = dataclasses.replace(PUBLISHED, densify_gradient=threshold * float(np.hypot(by_x, by_y)))
        grown.densify(recipe, 1.0, False, np.random.default_rng(0))
        assert grown.count == count


def test_clone_copies_and_its_moments_are_zero():
    made = population(20)
    before = trained(made)
    observed(made, {3: 1e-3, 7: 3e-4, 9: 1e-4})
    observed(made, {3: 0.0, 7: 3e-4, 11: 1e-4})  # means over the views that show it: 5e-4, 3e-4; 1e-4 is not enough
    made.densify(PUBLISHED, 1.0, True, np.random.default_rng(0))
    assert made.count == 22
    np.testing.assert_array_equal(made.raw[:, :20], before)
    np.testing.assert_array_equal(made.raw[:, 20:22], before[:, [3, 7]])
    for moment, factor in ((made.first, 2), (made.second, 3)):
        np.testing.assert_array_equal(moment[:, :20], factor * before)
        assert not moment[:, 20:].any()
    made.densify(PUBLISHED, 1.0, True, np.random.default_rng(0))
    assert made.count == 22, "gradients are forgotten"


def test_split_replaces_a_large_one_by_two():
    made = population(20)
    made.raw[layout.SCALE + 1, [4, 5]] = np.log([0.02, 0.02])
    before = trained(made)
    observed(made, {4: 1e-3, 6: 1e-3})
    made.densify(PUBLISHED, 1.0, True, np.random.default_rng(0))
    assert made.count == 22
    stayed = np.delete(before, 4, axis=1)
    np.testing.assert_array_equal(made.raw[:, :19], stayed)
    np.testing.assert_array_equal(made.first[:, :19], 2 * stayed)
    np.testing.assert_array_equal(made.raw[:, 19], before[:, 6])
    halves = made.raw[:, 20:22]
    others = np.r_[layout.QUAT : layout.SCALE, layout.OPACITY : 23]
    np.testing.assert_array_equal(halves[others], before[others][:, [4, 4]])
    shrunk = before[layout.SCALE : layout.OPACITY, [4]] - np.log(1.6)
    np.testing.assert_allclose(halves[layout.SCALE : layout.OPACITY], shrunk.repeat(2, 1), rtol=1e-6)
    assert (halves[:3, 0] != halves[:3, 1]).all()
    assert np.abs(halves[:3] - before[:3, [4]]).max() < 6 * 0.02
    assert not made.first[:, 19:].any()
    assert not made.second[:, 19:].any()


def test_split_draws_from_the_gaussian():
    count = 4000
    made = population(count)
    made.raw[: layout.OPACITY] = 0
    quat, scales = np.array([[0.3, -0.5, 0.7, 0.1]], np.float32), np.array([0.5, 0.1, 0.02])
    made.raw[layout.QUAT : layout.SCALE] = 3 * quat.T  # as long as it likes
    made.raw[layout.SCALE : layout.OPACITY] = np.log(scales)[:, None]
    observed(made, dict.fromkeys(range(count), 1.0))
    made.densify(PUBLISHED, 1.0, False, np.random.default_rng(0))
    assert made.count == 2 * count
    rotation = quats_to_matrices(normalize_quats(quat))[0]
    drawn = rotation.T @ made.raw[:3, : 2 * count]
    np.testing.assert_allclose(np.cov(drawn) / np.outer(scales, scales), np.eye(3), atol=0.06)


def test_densification_stops_at_the_limit_with_the_largest_gradients():
    made = population(20)
    made.raw[layout.SCALE, 5] = np.log(0.02)
    before = trained(made)
    observed(made, {i: 1e-3 * (1 + i % 7) for i in range(20)})  # 6, 13: 7e-3; 5, 12, 19: 6e-3
    made.densify(dataclasses.replace(PUBLISHED, max_gaussians=23, init_points=20), 1.0, True, np.random.default_rng(0))
    assert made.count == 23
    np.testing.assert_array_equal(made.raw[:, 19:21], before[:, [6, 13]])
    assert before[:, 5].tobytes() not in columns(made.raw, 23), "of equal gradients the first: 5, which is split"
    observed(made, {0: 1.0})
    made.densify(dataclasses.replace(PUBLISHED, max_gaussians=22, init_points=20), 1.0, True, np.random.default_rng(0))
    assert made.count == 23


@pytest.mark.parametrize(("prune_large", "gone"), [(False, {2, 8}), (True, {2, 8, 15})])
def test_pruning(prune_large, gone):
    made = population(20)
    made.raw[layout.OPACITY, [2, 8]] = np.log(0.004 / 0.996)
    made.raw[layout.OPACITY, 9] = np.log(0.006 / 0.994)
    made.raw[layout.SCALE + 2, [15, 16]] = np.log([0.31, 0.29])
    before = trained(made)
    observed(made, {8: 1e-3})  # what is transparent is no better twice
    made.densify(PUBLISHED, 3.0, prune_large, np.random.default_rng(0))
    stayed = np.delete(before, sorted(gone), axis=1)
    assert made.count == 20 - len(gone)
    np.testing.assert_array_equal(made.raw[:, : made.count], stayed)
    np.testing.assert_array_equal(made.second[:, : made.count], 3 * stayed)


def test_pruning_everything_is_an_error():
    made = population(20)
    with pytest.raises(ValueError, match="views: pruning left no Gaussian"):
        made.densify(dataclasses.replace(PUBLISHED, prune_opacity=1.0), 1.0, False, np.random.default_rng(0))


def test_reset_lowers_opacities_and_forgets_their_moments():
    made = population(20)
    made.raw[layout.OPACITY, 3] = np.log(0.006 / 0.994)
    before = trained(made)
    made.reset_opacities(0.01)
    opacities = 1 / (1 + np.exp(-made.raw[layout.OPACITY, :20]))
    np.testing.assert_allclose(np.delete(opacities, 3), 0.01, rtol=1e-5)
    assert opacities[3] == pytest.approx(0.006, rel=1e-5)
    others = np.delete(np.arange(23), layout.OPACITY)
    np.testing.assert_array_equal(made.raw[others, :20], before[others])
    np.testing.assert_array_equal(made.first[others, :20], 2 * before[others])
    assert not made.first[layout.OPACITY].any()
    assert not made.second[layout.OPACITY].any()


def test_arrays_grow_and_shrink_by_steps_and_their_room_is_invisible():
    made = population(100)
    sizes = set()
    for _ in range(40):
        observed(made, {0: 1.0, 1: 0.9, 2: 0.8})
        made.densify(PUBLISHED, 1.0, False, np.random.default_rng(0))
        sizes.add(made.raw.shape[1])
        assert made.raw.shape == made.first.shape == made.second.shape
        assert made.raw.shape[1] % 16 == 0
        assert made.count <= made.raw.shape[1] < 1.5 * made.count
        assert (made.raw[layout.OPACITY, made.count :] == -50).all()
    assert made.count == 220
    assert len(sizes) < 10
    made.raw[layout.OPACITY, 10:] = -20
    made.densify(PUBLISHED, 1.0, False, np.random.default_rng(0))
    assert made.count == 10
    assert made.raw.shape[1] < 40
