"""Augmentation: what moves together, what never changes, and that it is the generator's alone."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from gsbench.core.geometry import covariances, rgb_to_dc
from gsbench.core.recipe import Augment, ImageOptions
from gsbench.core.types import Batch
from gsbench.learn.augment import augment, augment_images, draw_crops

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


@pytest.mark.parametrize("size", [N, N - 1])
def test_halves_share_nothing_and_leave_nothing_out(size):
    before = batch()
    before = dataclasses.replace(before, points=before.points[:, :size], mask=before.mask[:, :size])
    before.mask[0] = torch.arange(size) == 7
    after, other = (run(before, halves=True, seed=seed) for seed in (1, 2))
    half = -(-size // 2)
    for i in range(B):
        own = {tuple(point.tolist()) for point in before.points[i][before.mask[i]]}
        first, second = (after.points[i, part][after.mask[i, part]] for part in (slice(half), slice(half, None)))
        halves = [{tuple(point.tolist()) for point in points} for points in (first, second)]
        assert halves[0] | halves[1] == own
        assert len(first) == len(second) == len(halves[0]) == len(halves[1]) == (len(own) + 1) // 2
        assert len(halves[0] & halves[1]) == len(own) % 2, "halves of an odd number share one"
    assert not torch.equal(after.points, other.points)


def test_halves_are_augmented_apart():
    whole, scaled = (run(batch(), halves=True, scale=scale) for scale in ((1.0, 1.0), (0.5, 2.0)))
    factors = (scaled.points / whole.points)[..., 0].unflatten(1, (2, -1))
    torch.testing.assert_close(factors, factors[..., :1].expand_as(factors))
    one, two = factors[..., 0].T
    assert np.corrcoef(one, two)[0, 1] < 0.4


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
    assert torch.equal(after.points[..., 10:], before.points[..., 10:]), "the DC color has no direction"


def test_view_dependent_color_cannot_turn():
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


def views(objects=20, count=3, size=24):
    """Noise with the channels of a pixel side by side, as `Objects` holds images."""
    shape = (objects, count, size, size, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ids = tuple(map(str, range(objects)))
    return Batch(ids, torch.zeros(objects, dtype=torch.int64), images=pixels.permute(0, 1, 4, 2, 3))


def run_images(before, seed=1, **how):
    return augment_images(before, ImageOptions(**how), torch.Generator().manual_seed(seed))


def test_images_stay_without_crop_and_mirror():
    assert torch.equal(run_images(views()).images, views().images)
    points = batch()
    assert run_images(points, crop_scale=(0.5, 1.0), flip=True) is points


def test_crops_are_those_of_the_plain_way():
    """Each view cut out by slicing, then resized alone by torch."""
    before, scale = views(), (0.2, 1.0)
    after = run_images(before, seed=7, crop_scale=scale)
    crops = torch.stack(draw_crops(60, 24, 24, scale, torch.Generator().manual_seed(7)), 1)
    for image, changed, crop in zip(before.images.flatten(0, 1), after.images.flatten(0, 1), crops, strict=True):
        top, left, height, width = crop.tolist()
        part = image[None, :, top : top + height, left : left + width].float()
        expected = torch.nn.functional.interpolate(part, (24, 24), mode="bilinear", antialias=True, align_corners=False)
        assert (changed - expected[0]).abs().max() <= 0.501, "rounded to the nearest"
    assert after.images.shape == before.images.shape
    assert after.images.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_crops_keep_their_share_and_shape():
    top, left, height, width = draw_crops(4000, 100, 100, (0.3, 0.6), torch.Generator().manual_seed(0))
    area = (height * width) / 10_000
    assert 0.29 < area.min() < 0.31
    assert 0.59 < area.max() < 0.61
    assert area.mean().item() == pytest.approx(0.45, abs=0.01), "uniform in the share"
    ratio = width / height
    assert 0.73 < ratio.min() < 0.77
    assert 1.30 < ratio.max() < 1.36
    assert ratio.log().mean().item() == pytest.approx(0, abs=0.02)
    for start, length in ((top, height), (left, width)):
        assert start.min() == 0
        assert (start + length).max() == 100
        assert ((start >= 0) & (start + length <= 100)).all()


def test_a_crop_that_never_fits_is_the_whole_image():
    """All shares are 1 and no ratio is: a square image holds none of them."""
    crops = draw_crops(500, 100, 100, (1.0, 1.0), torch.Generator().manual_seed(0))
    wide = draw_crops(50, 10, 400, (1.0, 1.0), torch.Generator().manual_seed(0))
    for top, left, height, width in zip(*wide, strict=True):
        assert (top, left, height, width) == (0, 0, 10, 400)
    assert (crops[2] * crops[3] > 9_800).all()


def test_half_of_the_views_are_mirrored():
    before = views(objects=200)
    after = run_images(before, flip=True)
    same = (after.images == before.images).flatten(2).all(2)
    mirrored = (after.images == before.images.flip(4)).flatten(2).all(2)
    assert (same ^ mirrored).all()
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.06)
    assert not (mirrored.all(1) | same.all(1)).all(), "each view by itself"


def test_the_generator_decides_on_images():
    how = {"crop_scale": (0.3, 1.0), "flip": True}
    first, same, other = run_images(views(), 1, **how), run_images(views(), 1, **how), run_images(views(), 2, **how)
    assert torch.equal(first.images, same.images)
    assert not torch.equal(first.images, other.images)
    assert torch.equal(views().images, run_images(views()).images)
