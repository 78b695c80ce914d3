"""Objects of a task, resident in memory as tensors, from which batches are drawn by index."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from gsbench.types import Batch


@dataclass(frozen=True, slots=True)
class Objects:
    """All objects of a task's split, on one device; a modality that the task does not use is None.

    Attributes:
        ids: `n` object ids, sorted.
        labels: `[n]` int64 class indices.
        points: `[n p c]` float32, channels as in `Batch`; positions are centred and inside the unit sphere.
        mask: `[n p]` bool, False on padding.
        images: `[n v 3 h w]` uint8, sRGB over white; of a pixel, the three channels lie side by side in memory, which
            is the order that convolutions are fastest in.
    """

    ids: tuple[str, ...]
    labels: Int64[Tensor, " n"]
    points: Float32[Tensor, "n p c"] | None = None
    mask: Bool[Tensor, "n p"] | None = None
    images: UInt8[Tensor, "n v 3 h w"] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def input(self) -> Tensor:
        """What the model sees: `points` or `images`."""
        chosen = self.images if self.points is None else self.points
        assert chosen is not None, "objects have points or images"
        return chosen

    @property
    def channels(self) -> int:
        """Channels of a point, or of an image."""
        return self.input.shape[2]

    def to(self, device: torch.device) -> "Objects":
        """The same objects on `device`."""
        points, mask, images = (None if t is None else t.to(device) for t in (self.points, self.mask, self.images))
        return Objects(self.ids, self.labels.to(device), points, mask, images)

    def split_views(self, count: int) -> "Objects":
        """Each object's views in runs of `count`, each an object of its own, with no copy of the images.

        Raises:
            ValueError: the objects have points, or `count` does not divide the number of views.
        """
        if self.images is None or self.points is not None:
            raise ValueError(f"views_per_sample is {count} (allowed: leave it out, unless the model sees images alone)")
        views = self.images.shape[1]
        if views % count:
            raise ValueError(f"views_per_sample is {count} (must divide the {views} views of an object)")
        runs = views // count
        ids = tuple(object_id for object_id in self.ids for _ in range(runs))
        images = self.images.unflatten(1, (runs, count)).flatten(0, 1)
        return Objects(ids, self.labels.repeat_interleave(runs), images=images)

    def batch(self, index: Int64[Tensor, " b"], views: Int64[Tensor, "b k"] | None = None) -> Batch:
        """The objects at `index`, on the objects' device as `views` is; of an object's images those `views`, or all."""
        ids = tuple(self.ids[i] for i in index.tolist())
        points, mask = (None if tensor is None else tensor[index] for tensor in (self.points, self.mask))
        if self.images is None:
            return Batch(ids, self.labels[index], points, mask)
        images = self.images[index] if views is None else self.images[index[:, None], views]
        return Batch(ids, self.labels[index], points, mask, images)
