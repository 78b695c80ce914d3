"""Cross-view and cross-modality correspondence (Jing et al. 2021, arXiv 2004.05749), with Gaussians for the points.

Layers, losses and their weights are those of Simionescu (Self-Supervised Cross-modality Feature Learning using 3D
Gaussian Splatting, 2024), as its public code has them: SimiOy/Self-Supervised-Learning-for-3DGS at d7c81cc. Each set
of views goes through the image encoder on its own, so that batch norm sees one set at a time, as there.
"""

import torch
import torch.nn.functional as F
from gsbench_baselines.images.views import encode_views
from gsbench_baselines.ssl.encoders import Encoders
from torch import Tensor

from gsbench.core.parsing import InputError
from gsbench.core.types import Batch


class CrossModal(Encoders):
    """F_img and F_p or F_p++ with a triplet loss over views, and one of matching views with Gaussians.

    Args:
        in_channels: channels of a Gaussian; the first three are positions.
        points: the encoder of Gaussians, see `Encoders`.
        margin: how much further the view of another object should be than that of the same, in feature units.
        triplet_weight: of the loss over views.
        match_weight: of the loss of matching.
        published_sh: whether the spherical harmonics are cut to the 44 coefficients of the published runs.
    """

    def __init__(
        self,
        in_channels: int,
        points: str = "pointnet",
        margin: float = 2.0,
        triplet_weight: float = 1.0,
        match_weight: float = 3.0,
        published_sh: bool = False,
    ) -> None:
        super().__init__(in_channels, points, published_sh)
        for name, value in (("margin", margin), ("triplet_weight", triplet_weight), ("match_weight", match_weight)):
            if value < 0:
                raise InputError(f"{name} is {value} (must be at least 0)")
        self.margin, self.triplet_weight, self.match_weight = margin, triplet_weight, match_weight

    def loss(self, batch: Batch, label_smoothing: float) -> Tensor:
        """Triplet(f1, f2, f3), Euclidean, + weight * (CE1 + CE2 + CE3), whose answers are same, same and different.

        Args:
            batch: Gaussians, and images `[b 3 3 h w]`: two views of the object and one of another.
            label_smoothing: of the cross-entropies.
        """
        assert batch.images is not None, "a model of pairs is given images"
        views = [encode_views(self.images, view[:, None])[:, 0].float() for view in batch.images.unbind(1)]
        points = self.encode_points(batch)
        answers = (True, True, False)
        matches = [
            self.fusion_loss(view, points, same, label_smoothing) for view, same in zip(views, answers, strict=True)
        ]
        with torch.autocast(points.device.type, enabled=False):
            triplet = F.triplet_margin_loss(*views, margin=self.margin)  # type: ignore[misc]
        return self.triplet_weight * triplet + self.match_weight * torch.stack(matches).sum()
