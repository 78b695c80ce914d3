"""Training-time augmentation of point clouds, Gaussians and images, for a whole batch at once on its device."""

import dataclasses
import math

import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from gsbench.core.parsing import InputError
from gsbench.core.recipe import Augment, ImageOptions
from gsbench.core.types import Batch

XYZ, GEO = 3, 10
"""Channels of positions alone, and with log-scales and quaternions."""


def augment(batch: Batch, how: Augment, generator: torch.Generator) -> Batch:
    """The batch with every object's points changed at random; images stay as they are.

    Scaling moves a Gaussian's log-scales along, and turning its quaternions. Halves of n points have (n + 1) // 2 each,
    the first before the second, and both have padding where an object has fewer.

    Args:
        batch: any.
        how: what may change, and by how much.
        generator: of the batch's device.

    Raises:
        InputError: `rotate_z` with view-dependent spherical harmonics, which would have to turn, too.
    """
    points, mask = batch.points, batch.mask
    if points is None:
        return batch
    assert mask is not None, "points come with their mask"
    points, mask = _halved(points, mask, generator) if how.halves else (points.clone(), mask)
    if how.rotate_z:
        _rotate_z(points, _uniform(len(points), generator) * (2 * math.pi))
    low, high = how.scale
    if low != high:
        scale = low + (high - low) * _uniform(len(points), generator)
        points[..., :XYZ] *= scale[:, None, None]
        if points.shape[2] > XYZ:
            points[..., XYZ : XYZ + 3] += scale.log()[:, None, None]
    if how.jitter:
        noise = torch.randn(points[..., :XYZ].shape, generator=generator, device=points.device) * how.jitter
        points[..., :XYZ] += noise.clamp_(-5 * how.jitter, 5 * how.jitter)
    if how.shift:
        shift = torch.rand(len(points), 1, XYZ, generator=generator, device=points.device)
        points[..., :XYZ] += (2 * shift - 1) * how.shift
    if how.point_dropout:
        mask = mask & ~_dropped(mask, how.point_dropout, generator)
    # Two rows an object where there are halves, which so come to stand side by side.
    shape = (len(batch.ids), -1)
    return dataclasses.replace(batch, points=points.reshape(*shape, points.shape[2]), mask=mask.reshape(shape))


def _halved(
    points: Float32[Tensor, "b n c"], mask: Bool[Tensor, "b n"], generator: torch.Generator
) -> tuple[Float32[Tensor, "b2 m c"], Bool[Tensor, "b2 m"]]:
    """Each object's points in two random halves, a row each; those of an odd number share one."""
    count, half = mask.sum(1)[:, None, None], -(-mask.shape[1] // 2)
    draws = torch.rand(mask.shape, generator=generator, device=mask.device).masked_fill(~mask, 2)
    which = torch.arange(2, device=mask.device)[:, None]
    rank = 2 * torch.arange(half, device=mask.device) + which
    rank = torch.where((rank == count) & (which == 1), 0, rank)
    order = draws.argsort(1).gather(1, rank.clamp(max=mask.shape[1] - 1).flatten(1)).view(-1, half)
    rows = torch.arange(2 * len(points), device=mask.device)[:, None] // 2
    kept = (rank < count).flatten(0, 1)
    return points[rows, order], kept


def _uniform(count: int, generator: torch.Generator) -> Float32[Tensor, " count"]:
    return torch.rand(count, generator=generator, device=generator.device)


def _dropped(mask: Bool[Tensor, "b n"], most: float, generator: torch.Generator) -> Bool[Tensor, "b n"]:
    """Which points go: a share of each object's that is uniform in 0..`most`. Each object keeps its first point."""
    share = _uniform(len(mask), generator) * most
    dropped = torch.rand(mask.shape, generator=generator, device=mask.device) < share[:, None]
    dropped[:, 0] = False
    return dropped


def _rotate_z(points: Float32[Tensor, "b n c"], angles: Float32[Tensor, " b"]) -> None:
    if points.shape[2] > GEO + 3:
        raise InputError("augment.rotate_z is true with features xyz+geo+sh beyond degree 0 (allowed: false)")
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    x, y = points[..., 0].clone(), points[..., 1].clone()
    points[..., 0], points[..., 1] = cos * x - sin * y, sin * x + cos * y
    if points.shape[2] >= GEO:
        half_cos, half_sin = (angles / 2).cos()[:, None], (angles / 2).sin()[:, None]
        w, i, j, k = points[..., 6:GEO].clone().unbind(-1)
        turned = (
            half_cos * w - half_sin * k,
            half_cos * i - half_sin * j,
            half_cos * j + half_sin * i,
            half_cos * k + half_sin * w,
        )
        quats = torch.stack(turned, -1)
        points[..., 6:GEO] = torch.where(quats[..., :1] < 0, -quats, quats)


_ASPECT = 4 / 3
"""A crop is at most so much wider than high, or higher than wide."""

_TRIES = 10
"""Crops drawn for an image, of which the first that fits is taken, else the whole image."""


def augment_images(batch: Batch, how: ImageOptions, generator: torch.Generator) -> Batch:
    """The batch with each view cropped, resized and mirrored at random; points stay as they are.

    A crop is drawn as torchvision's RandomResizedCrop draws it, and resized bilinearly to the size of the images. It is
    never larger than they are, so that there is nothing to smooth.

    Args:
        batch: any.
        how: the shares that a crop may keep, and whether views are mirrored.
        generator: of the batch's device.
    """
    if batch.images is None:
        return batch
    images = batch.images.flatten(0, 1)
    if how.crop_scale != (1.0, 1.0):
        images = _cropped(images, how.crop_scale, generator)
    if how.flip:
        mirrored = _uniform(len(images), generator) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    return dataclasses.replace(batch, images=images.unflatten(0, batch.images.shape[:2]))


def _cropped(
    images: UInt8[Tensor, "n 3 h w"], scale: tuple[float, float], generator: torch.Generator
) -> UInt8[Tensor, "n 3 h w"]:
    """Resizing is linear, and the same for each row and for each column: two matrix products an image."""
    count, _, height, width = images.shape
    top, left, rows, columns = draw_crops(count, height, width, scale, generator)
    lines = images.permute(0, 3, 2, 1).float().flatten(2)  # [n w h3]
    lines = (_resampling(left, columns, width) @ lines).unflatten(2, (height, 3)).transpose(1, 2).flatten(2)  # [n h w3]
    pixels = (_resampling(top, rows, height) @ lines).unflatten(2, (width, 3))
    return pixels.round_().clamp_(0, 255).byte().permute(0, 3, 1, 2)


def draw_crops(
    count: int, height: int, width: int, scale: tuple[float, float], generator: torch.Generator
) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " n"], Int64[Tensor, " n"], Int64[Tensor, " n"]]:
    """Top, left, height and width of `count` crops of an image, in pixels.

    The share of the area is uniform in `scale`, the logarithm of the aspect ratio between those of 3/4 and 4/3.
    """
    low, high = scale
    draws = torch.rand(2, count, _TRIES, generator=generator, device=generator.device)
    area = height * width * (low + (high - low) * draws[0])
    ratio = ((2 * draws[1] - 1) * math.log(_ASPECT)).exp()
    rows, columns = (area / ratio).sqrt().round().long(), (area * ratio).sqrt().round().long()
    fits = (rows <= height) & (columns <= width) & (rows > 0) & (columns > 0)
    first = fits.int().argmax(1, keepdim=True)
    whole = ~fits.any(1)
    rows = rows.gather(1, first)[:, 0].masked_fill(whole, height)
    columns = columns.gather(1, first)[:, 0].masked_fill(whole, width)
    top = (_uniform(count, generator) * (height - rows + 1)).long()
    left = (_uniform(count, generator) * (width - columns + 1)).long()
    return top, left, rows, columns


def _resampling(start: Int64[Tensor, " n"], length: Int64[Tensor, " n"], size: int) -> Float32[Tensor, "n size size"]:
    """The matrices that map a line of `size` pixels to its part `start`..`start + length`, resized to `size`.

    The part is no longer than that, so a pixel's weights are a triangle around its center, one pixel to each side.
    """
    pixel = torch.arange(size, device=start.device)
    step = (length / size)[:, None]
    centers = start[:, None] + (pixel + 0.5) * step
    distance = (pixel + 0.5 - centers[..., None]).abs()
    inside = (pixel >= start[:, None]) & (pixel < (start + length)[:, None])
    weights = (1 - distance).clamp(min=0) * inside[:, None]
    return weights / weights.sum(2, keepdim=True)
