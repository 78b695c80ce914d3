"""How many objects a device holds at once."""

import torch

from gsbench.fit.recipe import FitRecipe
from gsbench.types import Views

MOST_OBJECTS = 64
"""Beyond as many, gsplat's own figures show no gain a scene."""

# What a step keeps of a pixel, 4 bytes each: image, alpha, last Gaussian, the derivatives by the first two, the target;
# and as much again for gsplat's intermediate results and what the allocator rounds up.
_STEP_BYTES = 2 * 4 * (3 + 1 + 1 + 3 + 1 + 1)
# Of each parameter: itself raw and activated, both derivatives, Adam's two averages; and twice as much while it steps.
_PARAMETER_BYTES = 2 * 4 * 6
# Of a Gaussian's intersections with tiles, some 50, and of their sorting.
_INTERSECTION_BYTES = 24 * 50
# Of a pixel while views are averaged or carved (8 at a time, as integers), and of a held-out one while it is scored.
_PREPARING_BYTES, _SCORING_BYTES = 8 * 60, 4 * 40


def objects_at_once(views: Views, held_out: Views, recipe: FitRecipe, free_bytes: int) -> int:
    """How many objects with such views fit into `free_bytes` of device memory, 1 to `MOST_OBJECTS`.

    One object takes its targets of all stages (4 bytes a pixel) and those of the largest stage once more, joined with
    the other objects'; its held-out views; the images of a step; its parameters. At 64 views of 800x800 in stages of
    200, 400 and 800 pixels that is .5 GB. A tenth of the memory stays free.
    """
    area = views.cameras.width * views.cameras.height
    stages = [area * (stage.resolution / views.cameras.width) ** 2 for stage in recipe.stages]
    pixels = 4 * len(views) * (sum(stages) + max(stages)) + 4 * len(held_out) * area + _STEP_BYTES * max(stages)
    parameters = 11 + 3 * (recipe.sh_degree + 1) ** 2
    gaussians = recipe.num_gaussians * (parameters * _PARAMETER_BYTES + _INTERSECTION_BYTES)
    shared = area * (4 * len(views) + _PREPARING_BYTES + len(held_out) * _SCORING_BYTES)
    return int(min(max((0.9 * free_bytes - shared) // (pixels + gaussians), 1), MOST_OBJECTS))


def free_bytes() -> int:
    """Memory of the current CUDA device that torch can still use: what is free, and what it holds but does not use."""
    free, _ = torch.cuda.mem_get_info()
    return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
