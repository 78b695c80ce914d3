"""The usual way to feed a training loop: a PyTorch DataLoader that makes each sample anew when it is asked for."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import fpsample
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gsbench.core.recipe import ImageOptions
from gsbench.core.types import Array, Batch

Sample = tuple[int, Float32[Tensor, "p 3"] | None, UInt8[Tensor, "v 3 h w"] | None]


def decode(file: bytes, how: ImageOptions) -> UInt8[Tensor, "3 h w"]:
    """An image over white, cropped, resized and mirrored at random, by Pillow."""
    rgba = Image.open(io.BytesIO(file)).convert("RGBA")
    image = Image.new("RGB", rgba.size, (255, 255, 255))
    image.paste(rgba, mask=rgba.getchannel("A"))
    side = int(rgba.width * math.sqrt(float(torch.empty(()).uniform_(*how.crop_scale))))
    left, top = (int(torch.randint(0, rgba.width - side + 1, ())) for _ in "xy")
    image = image.resize((how.size, how.size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    if how.flip and torch.rand(()) < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@dataclass(frozen=True)
class Samples(Dataset):
    """Objects as they are stored: their positions, of which a sample is the furthest points, and encoded views.

    Attributes:
        labels: of the objects.
        positions: of each object's Gaussians; None for models of images.
        count: positions of a sample.
        files: each object's views; None for models of points.
        how: what is made of an image.
        pairs: whether a sample has two views of an object and one of another, in place of all views of one.
    """

    labels: Sequence[int]
    positions: Sequence[Float32[Array, "n 3"]] | None
    count: int
    files: Sequence[Sequence[bytes]] | None
    how: ImageOptions
    pairs: bool

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        return index, self._points(index), self._images(index)

    def _points(self, index: int) -> Float32[Tensor, "p 3"] | None:
        if self.positions is None:
            return None
        everything = self.positions[index]
        chosen = everything[fpsample.fps_sampling(everything, self.count).astype(np.int64)]
        chosen = chosen - chosen.mean(0)
        return torch.from_numpy(chosen / np.linalg.norm(chosen, axis=1).max())

    def _images(self, index: int) -> UInt8[Tensor, "v 3 h w"] | None:
        if self.files is None:
            return None
        chosen = self.files[index]
        if self.pairs:
            other = self.files[(index + 1 + int(torch.randint(len(self) - 1, ()))) % len(self)]
            first, second = torch.randperm(len(chosen))[:2].tolist()
            chosen = [chosen[first], chosen[second], other[int(torch.randint(len(other), ()))]]
        return torch.stack([decode(file, self.how) for file in chosen])

    def loader(self, batch_size: int) -> DataLoader[Batch]:
        """Batches in a random order, made by the training process itself."""
        return DataLoader(self, batch_size, shuffle=True, collate_fn=self._collate)

    def _collate(self, samples: Sequence[Sample]) -> Batch:
        index, clouds, views = zip(*samples, strict=True)
        points = None if clouds[0] is None else torch.stack(clouds)
        images = None if views[0] is None else torch.stack(views)
        mask = None if points is None else torch.ones(points.shape[:2], dtype=torch.bool)
        return Batch(tuple(map(str, index)), torch.tensor([self.labels[i] for i in index]), points, mask, images)
