"""Training-time augmentation of point clouds and Gaussians, for a whole batch at once on its device."""

import dataclasses
import math

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from gsbench.recipe import Augment
from gsbench.types import Batch

XYZ, GEO = 3, 10
"""Channels of positions alone, and with log-scales and quaternions."""


def augment(batch: Batch, how: Augment, generator: torch.Generator) -> Batch:
    """The batch with every object's points changed at random; images stay as they are.

    Scaling moves a Gaussian's log-scales along, and turning its quaternions.

    Args:
        batch: any.
        how: what may change, and by how much.
        generator: of the batch's device.

    Raises:
        ValueError: `rotate_z` with view-dependent spherical harmonics, which would have to turn, too.
    """
    points, mask = batch.points, batch.mask
    if points is None:
        return batch
    assert mask is not None, "points come with their mask"
    points = points.clone()
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
    return dataclasses.replace(batch, points=points, mask=mask)


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
        raise ValueError("augment.rotate_z is true with features xyz+geo+sh beyond degree 0 (allowed: false)")
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
