"""A batch of prepared objects to fitted and scored Gaussians."""

import logging
from collections.abc import Sequence

import numpy as np
import torch

from gsbench.fit.cuda.optimise import Rasterise, activated, optimise, to_raw
from gsbench.fit.cuda.prepared import Prepared
from gsbench.fit.cuda.scores import psnr, ssim
from gsbench.fit.fitted import Fitted
from gsbench.fit.frame import from_frame
from gsbench.fit.recipe import FitRecipe
from gsbench.types import Gaussians

_LOGGER = logging.getLogger(__name__)


def fit_batch(objects: Sequence[Prepared], recipe: FitRecipe, rasterise: Rasterise) -> list[Fitted]:
    """Fits objects at once, or in halves and halves of halves where the device's memory does not hold them.

    Halving changes no object's result: it depends neither on the others nor on what a failed attempt did.

    Raises:
        torch.OutOfMemoryError: the device does not hold a single one.
    """
    try:
        optimised = optimise(objects, recipe, rasterise)
    except torch.OutOfMemoryError:
        if len(objects) == 1:
            raise
    else:
        return [_score(each, gaussians, recipe, rasterise) for each, gaussians in zip(objects, optimised, strict=True)]
    # Only here has the exception let go of the failed attempt's tensors.
    torch.cuda.empty_cache()
    half = len(objects) // 2
    _LOGGER.warning("the GPU's memory does not hold %d objects at once, going on with %d", len(objects), half)
    return [*fit_batch(objects[:half], recipe, rasterise), *fit_batch(objects[half:], recipe, rasterise)]


@torch.no_grad()
def _score(prepared: Prepared, gaussians: Gaussians, recipe: FitRecipe, rasterise: Rasterise) -> Fitted:
    """Scores on the held-out views and goes back to the views' frame."""
    device, cameras = prepared.held_out.device, prepared.held_out_cameras
    raw, _ = to_raw([gaussians], device)
    viewmats, Ks = (torch.from_numpy(array).to(device)[None] for array in (cameras.viewmats, cameras.Ks))
    images, _ = rasterise(
        *(*activated(raw), viewmats, Ks, cameras.width, cameras.height, torch.ones(3, device=device)),
        *(recipe.antialiased, recipe.sh_degree),
    )
    seen, expected = images[0].clamp_(0, 1), prepared.held_out[..., :3] / 255
    scores = torch.stack([psnr(seen, expected).mean(), ssim(seen, expected).mean()]).tolist()
    return Fitted(from_frame(gaussians, np.asarray(prepared.center), prepared.radius), *scores)
