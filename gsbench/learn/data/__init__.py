"""Objects of a task, resident in memory as tensors: points, Gaussians, images, or points and images together."""

from gsbench.learn.data.clouds import most_points
from gsbench.learn.data.images import open_images, views_of
from gsbench.learn.data.objects import Objects, check_pairs, draw_pairs
from gsbench.learn.data.opening import (
    check_data,
    check_views,
    most_inputs,
    open_objects,
    open_pairs,
    stored_psnr,
    training_ids,
)

__all__ = [
    "Objects",
    "check_data",
    "check_pairs",
    "check_views",
    "draw_pairs",
    "most_inputs",
    "most_points",
    "open_images",
    "open_objects",
    "open_pairs",
    "stored_psnr",
    "training_ids",
    "views_of",
]
