"""Objects of a task, resident in memory as tensors, from which batches are drawn by index."""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from gsbench.core.parsing import InputError
from gsbench.core.types import Batch


@dataclass(frozen=True, slots=True)
class Objects:
    """All objects of a task's split, on one device; a modality that the task does not use is None.

    Attributes:
        ids: `n` object ids, sorted.
        labels: `[n]` int64 class indices.
        points: `[n p c]` float32, channels as in `Batch`; positions are centered and inside the unit sphere.
        mask: `[n p]` bool, False on padding.
        images: `[n v 3 h w]` uint8, sRGB over white; of a pixel, the three channels lie side by side in memory, which
            is the order that convolutions are fastest in. Where views are split, `[n / samples_each v 3 h w]`.
        samples_each: of `images`, see `split_views`.
    """

    ids: tuple[str, ...]
    labels: Int64[Tensor, " n"]
    points: Float32[Tensor, "n p c"] | None = None
    mask: Bool[Tensor, "n p"] | None = None
    images: UInt8[Tensor, "m v 3 h w"] | None = None
    samples_each: int = 1

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
        """The same objects on `device`; an InputError with the numbers if they do not fit into its memory."""
        tensors = (self.points, self.mask, self.images)
        try:
            points, mask, images = (None if tensor is None else tensor.to(device) for tensor in tensors)
        except torch.OutOfMemoryError:
            size = sum(tensor.nbytes for tensor in tensors if tensor is not None) / 1e9
            raise InputError(
                f"{len(self)} objects take {size:.1f} GB, too much for {device} (allowed: fewer points or views, or a "
                "smaller images.size)"
            ) from None
        return Objects(self.ids, self.labels.to(device), points, mask, images, self.samples_each)

    def split_views(self, count: int) -> "Objects":
        """Each object's views as samples of `count`, spread evenly along its rig, with no copy of the images.

        Samples of an object follow each other: of s, the first shows its views 0, s, 2 s ..., the second 1, s + 1 ...

        Raises:
            InputError: the objects have points, or `count` does not divide the number of views.
        """
        if self.images is None or self.points is not None:
            raise InputError(f"views_per_sample is {count} (allowed: leave it out, unless the model sees images alone)")
        assert self.samples_each == 1, "views are split once"
        views = self.images.shape[1]
        if views % count:
            raise InputError(f"views_per_sample is {count} (must divide the {views} views of an object)")
        each = views // count
        ids = tuple(object_id for object_id in self.ids for _ in range(each))
        return Objects(ids, self.labels.repeat_interleave(each), images=self.images, samples_each=each)

    def batch(self, index: Int64[Tensor, " b"]) -> Batch:
        """The objects at `index`, which lies on the objects' device."""
        ids = tuple(self.ids[i] for i in index.tolist())
        points, mask = (None if tensor is None else tensor[index] for tensor in (self.points, self.mask))
        return Batch(ids, self.labels[index], points, mask, self._images(index))

    def _images(self, index: Int64[Tensor, " b"]) -> UInt8[Tensor, "b c 3 h w"] | None:
        if self.images is None:
            return None
        if self.samples_each == 1:
            return self.images[index]
        dealt = self.images.unflatten(1, (-1, self.samples_each))
        return dealt[index // self.samples_each, :, index % self.samples_each]


def check_pairs(objects: Objects) -> None:
    """Raises an InputError, naming the number at fault, for objects that no pairs can be drawn from."""
    if objects.points is None or objects.images is None:
        lacking = "points or Gaussians" if objects.points is None else "images"
        raise InputError(f"supervision is pairs for objects without {lacking} (needs both)")
    if objects.images.shape[1] < 2:
        raise InputError("num_views is 1 with supervision pairs (must be at least 2)")
    if len(objects) < 2:
        raise InputError("1 training object with supervision pairs (must be at least 2)")


def draw_pairs(objects: Objects, index: torch.Tensor, generator: torch.Generator) -> Batch:
    """The objects at `index`, each with images `[b 3 3 h w]`: two of its views, and one of another object.

    All draws are uniform: the two views among the pairs of different ones, the third among the views of all other
    objects, those of the same class and those of the batch included.

    Args:
        objects: with points and images, see `check_pairs`.
        index: `[b]` int64, on the objects' device.
        generator: of that device.
    """
    assert objects.images is not None, "pairs have images"
    views = objects.images.shape[1]

    def draw(below: int) -> torch.Tensor:
        return torch.randint(below, index.shape, generator=generator, device=index.device)

    first = draw(views)
    second = (first + 1 + draw(views - 1)) % views
    other = (index + 1 + draw(len(objects) - 1)) % len(objects)
    images = objects.images[torch.stack([index, index, other], 1), torch.stack([first, second, draw(views)], 1)]
    own = dataclasses.replace(objects, images=None).batch(index)
    return dataclasses.replace(own, images=images)
