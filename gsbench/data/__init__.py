"""Objects of a task, resident in memory as tensors: points, Gaussians, images, or points and images together."""

from gsbench.data.images import open_images
from gsbench.data.objects import Objects
from gsbench.data.opening import most_inputs, open_objects, open_pairs, training_ids

__all__ = ["Objects", "most_inputs", "open_images", "open_objects", "open_pairs", "training_ids"]
