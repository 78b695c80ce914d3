"""What the models of pairs share: an encoder of images, one of Gaussians, and a head that compares their features."""

from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from gsbench_baselines.images.backbones import ResNet18
from gsbench_baselines.images.views import encode_views
from gsbench_baselines.pointnet.model import PointNetEncoder as PointNet
from gsbench_baselines.pointnet.model import Vanilla
from gsbench_baselines.pointnet2.model import PointNet2Encoder as PointNet2
from torch import Tensor, nn

from gsbench.core.parsing import InputError
from gsbench.core.types import Batch

_GEOMETRY, _TRUE_SH = 10, 48
"""Channels of a Gaussian's position, log-scales and quaternion, and of its spherical harmonics up to degree 3."""

_PUBLISHED_SH = slice(_GEOMETRY + 3, _GEOMETRY + 47)
"""The 44 channels f_rest_0 to f_rest_43 of an INRIA PLY: no base color, and not the last coefficient of blue."""


def _pointnet(channels: int) -> PointNet:
    """F_p. Its transforms start near the identity, by PyTorch's own initialization, as the reference's do."""
    encoder = PointNet(channels, 512)
    for transform in (encoder.input_transform, encoder.feature_transform):
        transform.head.last.reset_parameters()
    return encoder


_POINT_ENCODERS: dict[str, tuple[int, Callable[[int], PointNet | Vanilla | PointNet2]]] = {
    "pointnet": (512, _pointnet),
    "pointnet-vanilla": (1024, lambda channels: Vanilla(channels, 1024)),
    "pointnet-vanilla-narrow": (256, lambda channels: Vanilla(channels, 256)),
    "pointnet-vanilla-wide": (4096, lambda channels: Vanilla(channels, 4096)),
    "pointnet++": (512, lambda channels: PointNet2(channels, "msg", (128, 256, 512))),
    "pointnet++-wide": (1024, lambda channels: PointNet2(channels, "msg")),
    "pointnet++-ssg": (1024, lambda channels: PointNet2(channels, "ssg")),
}
"""Width of the pooled features, and the encoder for a number of channels."""


class Encoders(nn.Module):
    """F_img, F_p or F_p++, and the fusion head.

    Args:
        in_channels: channels of a Gaussian; the first three are positions.
        points: the encoder of Gaussians: with 512 features `pointnet` or `pointnet++`, as published; with 1024
            `pointnet-vanilla` (no transforms; `-narrow` with 256, `-wide` with 4096), `pointnet++-wide` (several
            neighborhood sizes a level) or `pointnet++-ssg` (one, a quarter of the work).
        published_sh: whether the spherical harmonics are cut to the 44 coefficients of the published runs.
        code: the features of Gaussians are a linear map of the encoder's to so many; None: the encoder's own.
    """

    inputs: ClassVar[tuple[str, ...]] = ("gaussians", "images")

    def __init__(self, in_channels: int, points: str, published_sh: bool = False, code: int | None = None) -> None:
        super().__init__()
        if points not in _POINT_ENCODERS:
            raise InputError(f"points is '{points}' (allowed: {', '.join(_POINT_ENCODERS)})")
        if published_sh and in_channels != _GEOMETRY + _TRUE_SH:
            raise InputError(
                f"published_sh is true for {in_channels} channels "
                f"(allowed: {_GEOMETRY + _TRUE_SH}, those of features xyz+geo+sh of degree 3)"
            )
        if code is not None and code < 1:
            raise InputError(f"code is {code} (must be at least 1)")
        self.published_sh = published_sh
        pooled, make = _POINT_ENCODERS[points]
        width = pooled if code is None else code
        self.images = ResNet18()
        self.points = make(_PUBLISHED_SH.stop - 3 if published_sh else in_channels)
        self.code = nn.Identity() if code is None else nn.Linear(pooled, code)
        self.fusion = nn.Sequential(nn.Linear(ResNet18.width + width, 256), nn.ReLU(), nn.Linear(256, 2))

    def embed(self, batch: Batch) -> Tensor:
        """Features `[b d]` of a batch of either modality; of views, the maximum over an object's.

        Raises:
            InputError: the batch holds both modalities.
        """
        if batch.images is not None and batch.points is not None:
            raise InputError("embed is given images and Gaussians (must be either)")
        if batch.images is None:
            return self.encode_points(batch)
        return encode_views(self.images, batch.images).amax(1).float()

    def encode_points(self, batch: Batch) -> Tensor:
        """Features `[b d]` of the Gaussians of a batch."""
        if self.published_sh:
            assert batch.points is not None, "gsbench hands a model of Gaussians points"
            points = torch.cat([batch.points[..., :_GEOMETRY], batch.points[..., _PUBLISHED_SH]], 2)
            batch = Batch(batch.ids, batch.labels, points, batch.mask)
        pooled = self.points.embed(batch)
        with torch.autocast(pooled.device.type, enabled=False):
            return self.code(pooled.float())

    def same_object(self, images: Tensor, points: Tensor) -> Tensor:
        """How much more likely image features `[b d]` and point features `[b e]` are of one object: log-odds `[b]`."""
        different, same = self.fuse(images, points).unbind(1)
        return same - different

    def fuse(self, images: Tensor, points: Tensor) -> Tensor:
        """Scores `[b 2]`, of different objects and of one, of image features `[b d]` and point features `[b e]`."""
        with torch.autocast(images.device.type, enabled=False):
            return self.fusion(torch.cat([images.float(), points.float()], 1))

    def fusion_loss(self, images: Tensor, points: Tensor, same: bool, label_smoothing: float) -> Tensor:
        """Cross-entropy of the fusion head on pairs that all are, or all are not, of one object."""
        answer = torch.full((len(images),), int(same), device=images.device)
        return F.cross_entropy(self.fuse(images, points), answer, label_smoothing=label_smoothing)
