"""Batches for pretext tasks: an object's Gaussians, two views of it, and a view of another object."""

import dataclasses

import torch

from gsbench.core.parsing import InputError
from gsbench.core.types import Batch
from gsbench.learn.data.objects import Objects


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
