"""Gaussians that hardly show: which they are, where they go, and when."""

import dataclasses

import numpy as np
import pytest

from gsbench.core.geometry import quats_to_matrices
from gsbench.core.types import Gaussians
from gsbench.reconstruct.hull.cpu import APART, contribution_views, contributions, optimize, relocate
from gsbench.reconstruct.hull.visual_hull import hull_gaussians
from gsbench.reconstruct.targets import relocates_before
from gsbench.render.splats import cpu as splats_cpu
from gsbench.render.splats import layout, rasterize
from tests.reconstruct.test_fit import RECIPE, ball
from tests.render.splat_reference import random_gaussians, rig


def moved(gaussians: Gaussians, shown: np.ndarray, below: float) -> tuple[Gaussians, np.ndarray]:
    """The Gaussians after relocation, and whose moments each has."""
    params = splats_cpu.pack(gaussians)
    raw = params.copy()
    scales, opacities = slice(layout.SCALE, layout.OPACITY), layout.OPACITY
    raw[scales] = np.log(np.maximum(params[scales], 1e-9))
    raw[opacities] = np.log(np.maximum(params[opacities], 1e-9) / (1 - params[opacities]))
    moments = np.broadcast_to(np.arange(params.shape[1], dtype=np.float32), params.shape).copy()
    relocate(raw, params, [moments], shown, below)
    assert (moments == moments[0]).all()
    return splats_cpu.unpack(params, len(gaussians)), moments[0, : len(gaussians)].astype(int)


def test_the_weakest_goes_to_the_strongest():
    gaussians = random_gaussians(6, 0)
    shown = np.array([5.0, 0.02, 9.0, 4.0, 0.01, 3.0], np.float32)
    after, sources = moved(gaussians, shown, 0.1)
    assert sources.tolist() == [0, 0, 2, 3, 2, 5]
    for weak, strong in ((4, 2), (1, 0)):
        longest = gaussians.scales[strong].argmax()
        axis = quats_to_matrices(gaussians.quats[strong : strong + 1])[0, :, longest]
        offset = APART * gaussians.scales[strong, longest] * axis
        np.testing.assert_allclose(after.means[weak], gaussians.means[strong] + offset, atol=1e-5)
        np.testing.assert_allclose(after.means[strong], gaussians.means[strong] - offset, atol=1e-5)
        for each in (weak, strong):
            shorter = gaussians.scales[strong] * np.where(np.arange(3) == longest, 0.6, 1)
            np.testing.assert_allclose(after.scales[each], shorter, rtol=1e-4)
            np.testing.assert_allclose(after.opacities[each], gaussians.opacities[strong], atol=1e-5)
            np.testing.assert_array_equal(after.sh[each], gaussians.sh[strong])
    for untouched in (3, 5):
        np.testing.assert_array_equal(after.means[untouched], gaussians.means[untouched])


def test_at_most_half_of_them_go():
    shown = np.array([1e-6, 1e-6, 1e-6, 1e-6, 8.0, 9.0], np.float32)
    _, sources = moved(random_gaussians(6, 1), shown, 0.5)
    assert sources.tolist() == [0, 1, 4, 5, 4, 5]
    _, sources = moved(random_gaussians(6, 1), np.zeros(6, np.float32), 0.5)
    assert sources.tolist() == list(range(6))


def test_contributions_are_the_weights_in_the_image():
    """Against finite differences: what the image gains if one Gaussian alone is painted."""
    gaussians, cameras = random_gaussians(12, 2), rig(2, 40, 24)
    found = contributions(splats_cpu.pack(gaussians), 12, splats_cpu.camera_vectors(cameras), (40, 24), False)
    black = np.zeros((12, 1, 3), np.float32) - 0.5 / 0.28209479
    expected = []
    for painted in range(12):
        sh = black.copy()
        sh[painted] = 0.5 / 0.28209479
        one = Gaussians(gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, sh)
        expected.append(rasterize(one, cameras, background=(0.0, 0.0, 0.0)).rgb[..., 0].sum() * 0.28209479)
    assert max(expected) > 5
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_hidden_gaussians_come_out():
    """Some start at the center of a solid ball, where they are never seen and no gradient reaches them."""
    views = ball(24)
    start = hull_gaussians(views, RECIPE, np.random.default_rng(0))
    hidden = np.arange(len(start)) % 4 == 0
    start.means[hidden] *= 0.05
    inside = []
    for recipe in (dataclasses.replace(RECIPE, relocate_at=()), RECIPE):
        fitted = optimize(start, views, recipe, np.random.default_rng(0))
        inside.append(np.mean(np.linalg.norm(fitted.means[hidden], axis=1) < 0.4))
    assert inside[0] > 0.9
    assert inside[1] < 0.3


def test_times_of_relocation():
    recipe = dataclasses.replace(RECIPE, relocate_at=(0.5, 0.75))
    assert [step for step in range(160) if relocates_before(recipe, step)] == [80, 120]
    short = dataclasses.replace(RECIPE, stages=RECIPE.stages[:1], relocate_at=(0.001, 0.5))
    assert [step for step in range(60) if relocates_before(short, step)] == [30]


@pytest.mark.parametrize(("views", "expected"), [(5, [0, 1, 2, 3, 4]), (64, list(range(0, 64, 4)))])
def test_views_to_compare_by(views, expected):
    assert contribution_views(views).tolist() == expected
