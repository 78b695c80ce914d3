"""Contrast within a batch in place of triplets, after CrossPoint (Afham et al. 2022, arXiv 2203.00680).

An object has four samples in a step: two views, and two random halves of its Gaussians (`augment.halves`), each scaled,
shifted and thinned out on its own. Each is to be closer to the object's others than to any other object's; an InfoNCE
loss compares it with the whole batch where a triplet compares two. Halves share no size or place that gives the pair
away, and no Gaussian but one where their number is odd; two cost PointNet what one set costs. From its features, each
half is also drawn again (an autoencoder, after Achlioptas et al. 2018, arXiv 1707.02392): telling objects apart needs
few of their traits, so the others would be lost. The features of Gaussians are few, mapped linearly from many pooled
ones: by hundreds a linear probe learns its objects by heart.
"""

import itertools

import torch
import torch.nn.functional as F
from gsbench_baselines.heads import Head
from gsbench_baselines.images.views import encode_views
from gsbench_baselines.ssl.encoders import Encoders
from torch import Tensor, nn

from gsbench.core.parsing import InputError
from gsbench.core.types import Batch

_DRAWN = 256
"""Positions drawn from the features of half an object."""

_NEAREST = 1e-4
"""Distances are at least so long: the gradient of a root has no bound near 0."""


class Contrast(Encoders):
    """Encoders of images and Gaussians, each with a projection into one space where objects are told apart.

    The fusion head learns beside them, on features that it does not change.

    Args:
        in_channels: channels of a Gaussian; the first three are positions.
        points: the encoder of Gaussians, see `Encoders`.
        temperature: that cosines are divided by.
        view_weight: of the contrast of views with views.
        point_weight: of the contrast of halves with halves; that of views with halves has weight 1.
        shape_weight: of the distance between a half's positions and those drawn from its features.
        code: features of Gaussians, see `Encoders`.
        dimensions: of the space.
    """

    def __init__(
        self,
        in_channels: int,
        points: str = "pointnet++-wide",
        temperature: float = 0.1,
        view_weight: float = 0.5,
        point_weight: float = 0.5,
        shape_weight: float = 10.0,
        code: int = 128,
        dimensions: int = 128,
    ) -> None:
        super().__init__(in_channels, points, code=code)
        if temperature <= 0:
            raise InputError(f"temperature is {temperature} (must be above 0)")
        self.temperature = temperature
        self.view_weight, self.point_weight, self.shape_weight = view_weight, point_weight, shape_weight
        width = self.images.width
        self.project_images = Head(width, (width,), dimensions)
        self.project_points = Head(code, (code,), dimensions)
        widths = (code, 512, 512)
        hidden = [layer for i, o in itertools.pairwise(widths) for layer in (nn.Linear(i, o), nn.ReLU())]
        self.draw = nn.Sequential(*hidden, nn.Linear(widths[-1], 3 * _DRAWN))

    def loss(self, batch: Batch, label_smoothing: float) -> Tensor:
        """Contrast of views with halves, views with views, halves with halves, what is lost of the halves' shapes, and
        the fusion head's cross-entropies.

        Args:
            batch: Gaussians in halves, the same number in each, and images `[b 3 3 h w]`, of which the view of another
                object is not looked at: the batch has enough of them.
            label_smoothing: of all cross-entropies.
        """
        assert batch.images is not None, "a model of pairs is given images"
        views = encode_views(self.images, batch.images[:, :2]).float().transpose(0, 1).flatten(0, 1)
        clouds = _halved(batch)
        halves = self.encode_points(clouds)
        first, second = F.normalize(self.project_images(views)).chunk(2)
        one, other = F.normalize(self.project_points(halves)).chunk(2)
        total = self._contrast(first, one, label_smoothing) + self._contrast(second, other, label_smoothing)
        total = total / 2 + self.view_weight * self._contrast(first, second, label_smoothing)
        total = total + self.point_weight * self._contrast(one, other, label_smoothing)
        total = total + self.shape_weight * self._shape_loss(halves, clouds)
        return total + self._fusion_losses(views.detach(), halves.detach(), label_smoothing)

    def _contrast(self, a: Tensor, b: Tensor, label_smoothing: float) -> Tensor:
        """InfoNCE of unit vectors `[b d]`, both ways: each row of `a` is to find its own in `b`, and the reverse."""
        with torch.autocast(a.device.type, enabled=False):
            cosines = a @ b.T / self.temperature
        own = torch.arange(len(a), device=a.device)
        ways = (F.cross_entropy(scores, own, label_smoothing=label_smoothing) for scores in (cosines, cosines.T))
        return torch.stack(list(ways)).mean()

    def _shape_loss(self, halves: Tensor, clouds: Batch) -> Tensor:
        """Chamfer distance between each half's first positions, which are any, and those drawn from its features."""
        assert clouds.points is not None, "a model of pairs is given Gaussians"
        assert clouds.mask is not None, "points come with their mask"
        with torch.autocast(halves.device.type, enabled=False):
            drawn = self.draw(halves.float()).unflatten(1, (_DRAWN, 3))
            return chamfer(drawn, clouds.points[:, :_DRAWN, :3], clouds.mask[:, :_DRAWN])

    def _fusion_losses(self, views: Tensor, halves: Tensor, label_smoothing: float) -> Tensor:
        """The fusion head's cross-entropies, with the next object's Gaussians for those of another."""
        return self.fusion_loss(views, halves, True, label_smoothing) + self.fusion_loss(
            views, halves.roll(1, 0), False, label_smoothing
        )


def chamfer(drawn: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
    """The mean distance of drawn positions to the nearest of a cloud's, plus that of the cloud's to the nearest drawn.

    Args:
        drawn: `[b k 3]`.
        positions: `[b m 3]`.
        mask: `[b m]`, False where there is no position; each cloud has one at least.
    """
    squares = drawn.square().sum(2)[:, :, None] + positions.square().sum(2)[:, None] - 2 * drawn @ positions.mT
    distances = squares.clamp(min=_NEAREST**2).sqrt()
    to_cloud = distances.masked_fill(~mask[:, None], torch.inf).amin(2).mean()
    return to_cloud + distances.amin(1)[mask].mean()


def _halved(batch: Batch) -> Batch:
    """The two halves that an object's Gaussians are given in, as a batch of first halves and then second ones."""
    assert batch.points is not None, "a model of pairs is given Gaussians"
    assert batch.mask is not None, "points come with their mask"
    points, mask = (torch.cat(given.tensor_split(2, 1)) for given in (batch.points, batch.mask))
    return Batch(batch.ids * 2, batch.labels.repeat(2), points, mask)
