"""Augmentation: what moves together, what never changes, and that it is the generator's alone."""

import math

import numpy as np
import pytest
import torch

from gsbench.augment import augment
from gsbench.geometry import covariances, rgb_to_dc
from gsbench.recipe import Augment
from gsbench.types import Batch

B, N = 64, 50


def batch(channels=3):
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(B, N, channels, generator=generator)
    if channels >= 10:
        quats = torch.nn.functional.normalize(points[..., 6:10], dim=-1)
        points[..., 6:10] = torch.where(quats[..., :1] < 0, -quats, quats)
    mask = torch.rand(B, N, generator=generator) > 0.2
    mask[:, 0] = True
    return Batch(tuple(map(str, range(B))), torch.zeros(B, dtype=torch.int64), points, mask)


def run(before, seed=1, **how):
    return augment(before, Augment(**how), torch.Generator().manual_seed(seed))


def sigma(points):
    flat = points[..., :10].reshape(-1, 10).double().numpy()
    return covariances(flat[:, 6:10], np.exp(flat[:, 3:6]))


def test_the_defaults_change_nothing():
    before = batch(10)
    after = run(before)
    assert torch.equal(after.points, before.points)
    assert torch.equal(after.mask, before.mask)


def test_the_batch_given_stays_as_it_was():
    before = batch(10)
    kept = before.points.clone(), before.mask.clone()
    run(before, point_dropout=0.9, scale=(0.5, 2.0), shift=1.0, jitter=0.1, rotate_z=True)
    assert torch.equal(before.points, kept[0])
    assert torch.equal(before.mask, kept[1])


def test_scale_moves_gaussians_with_their_positions():
    before = batch(10)
    after = run(before, scale=(0.8, 1.25))
    factors = (after.points[..., :3] / before.points[..., :3]).flatten(1)
    factor = factors.median(1).values
    torch.testing.assert_close(factors, factor[:, None].expand_as(factors))
    assert 0.8 <= factor.min() < 0.9
    assert 1.1 < factor.max() <= 1.25
    expected = sigma(before.points) * (factor**2).repeat_interleave(N)[:, None, None].double().numpy()
    np.testing.assert_allclose(sigma(after.points), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(after.points[..., 6:], before.points[..., 6:])


def test_rotation_turns_positions_and_covariances_alike():
    before = batch(13)
    before.points[..., 10:] = torch.from_numpy(rgb_to_dc(before.points[..., 10:].numpy()))
    after = run(before, rotate_z=True)
    x, y = before.points[..., 0], before.points[..., 1]
    turned = torch.atan2(after.points[..., 1], after.points[..., 0]) - torch.atan2(y, x)
    angles = torch.atan2(turned.sin(), turned.cos())
    spread = (torch.exp(1j * angles).mean(1)).abs()
    torch.testing.assert_close(spread, torch.ones(B), atol=1e-4, rtol=0)
    angle = torch.angle(torch.exp(1j * angles).mean(1))
    assert angle.min() < -math.pi / 2
    assert angle.max() > math.pi / 2
    turn = torch.zeros(B, 3, 3, dtype=torch.float64)
    turn[:, 0, 0], turn[:, 0, 1] = angle.cos(), -angle.sin()
    turn[:, 1, 0], turn[:, 1, 1], turn[:, 2, 2] = angle.sin(), angle.cos(), 1
    turn = turn.repeat_interleave(N, 0).numpy()
    np.testing.assert_allclose(
        sigma(after.points), turn @ sigma(before.points) @ turn.transpose(0, 2, 1), rtol=1e-3, atol=1e-2
    )
    assert (after.points[..., 6] >= 0).all()
    assert torch.equal(after.points[..., 10:], before.points[..., 10:]), "the DC colour has no direction"


def test_view_dependent_colour_cannot_turn():
    with pytest.raises(ValueError, match=r"rotate_z is true with features xyz\+geo\+sh beyond degree 0"):
        run(batch(22), rotate_z=True)


def test_shift_is_one_per_object_and_bounded():
    before = batch()
    moved = (run(before, shift=0.1).points - before.points)[..., :3]
    torch.testing.assert_close(moved, moved[:, :1].expand_as(moved), atol=1e-5, rtol=0)
    assert 0.08 < moved.abs().max() <= 0.1 + 1e-5
    assert moved.min() < 0 < moved.max()


def test_jitter_is_one_per_point_and_clipped():
    before = batch(10)
    noise = run(before, jitter=0.01).points - before.points
    assert noise[..., :3].std() == pytest.approx(0.01, rel=0.05)
    assert noise[..., :3].abs().max() <= 0.05 + 1e-6
    assert not noise[..., 3:].any()


def test_point_dropout_only_masks_and_keeps_the_first():
    before = batch()
    after = run(before, point_dropout=0.875)
    assert torch.equal(after.points, before.points)
    assert not (after.mask & ~before.mask).any()
    assert after.mask[:, 0].all()
    kept = after.mask.sum(1) / before.mask.sum(1)
    assert kept.min() < 0.3
    assert kept.max() > 0.9
    assert kept.mean() == pytest.approx(1 - 0.875 / 2, abs=0.1)


def test_the_generator_decides():
    how = {"point_dropout": 0.9, "scale": (0.5, 2.0), "shift": 1.0, "jitter": 0.1, "rotate_z": True}
    first, same, other = run(batch(10), 1, **how), run(batch(10), 1, **how), run(batch(10), 2, **how)
    assert torch.equal(first.points, same.points)
    assert torch.equal(first.mask, same.mask)
    assert not torch.equal(first.points, other.points)


def test_images_stay_as_they_are():
    images = torch.zeros(2, 1, 3, 4, 4, dtype=torch.uint8)
    before = Batch(("a", "b"), torch.zeros(2, dtype=torch.int64), images=images)
    assert run(before, scale=(0.5, 2.0), point_dropout=0.5) is before
