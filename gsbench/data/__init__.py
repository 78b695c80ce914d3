"""Objects of a task, resident in memory as tensors: points, Gaussians, images, or points and images together."""

from gsbench.data.images import open_images
from gsbench.data.objects import Objects
from gsbench.data.opening import most_inputs, open_objects, open_pairs, training_ids
from gsbench.data.pairs import check_pairs, draw_pairs

__all__ = [
    "Objects",
    "check_pairs",
    "draw_pairs",
    "most_inputs",
    "open_images",
    "open_objects",
    "open_pairs",
    "training_ids",
]
