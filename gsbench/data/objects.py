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
        """The same objects on `device`; a ValueError with the numbers if they do not fit into its memory."""
        tensors = (self.points, self.mask, self.images)
        try:
            points, mask, images = (None if tensor is None else tensor.to(device) for tensor in tensors)
        except torch.OutOfMemoryError:
            size = sum(tensor.nbytes for tensor in tensors if tensor is not None) / 1e9
            raise ValueError(
                f"{len(self)} objects take {size:.1f} GB, too much for {device} (allowed: fewer points or views, or a "
                "smaller images.size)"
            ) from None
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

    def batch(self, index: Int64[Tensor, " b"]) -> Batch:
        """The objects at `index`, which lies on the objects' device."""
        ids = tuple(self.ids[i] for i in index.tolist())
        inputs = (None if tensor is None else tensor[index] for tensor in (self.points, self.mask, self.images))
        return Batch(ids, self.labels[index], *inputs)
