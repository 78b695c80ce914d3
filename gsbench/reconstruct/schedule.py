"""What both devices do at which step: learning rates, views, and degrees of the spherical harmonics."""

import numpy as np

from gsbench.reconstruct.hull.recipe import FitRecipe, Stage
from gsbench.render.splats.cpu import LOW_PASS


def learning_rates(recipe: FitRecipe) -> dict[str, float]:
    """Learning rates at the first step by group of raw parameters."""
    return {
        "means": recipe.lr_means,
        "quats": recipe.lr_quats,
        "scales": recipe.lr_scales,
        "opacities": recipe.lr_opacities,
        "dc": recipe.lr_dc,
        "sh": recipe.lr_sh,
    }


def decay_at(recipe: FitRecipe, step: int) -> float:
    """What the learning rates are multiplied by at `step`, counted from 0."""
    return 1 - (1 - recipe.lr_decay) * step / max(recipe.iterations - 1, 1)


def low_pass_of(stage: Stage, width: int) -> float:
    """Variance in its pixels^2 that a stage adds to Gaussians in the image, fitted to views of `width` pixels.

    That of the rasteriser at the views' resolution and of the box that averages them from there: so Gaussians that fit
    the stage's smaller views fit the views. The rasteriser's .3 would make them too small, by 4.8 pixels^2 at 1/4.
    """
    factor = width / stage.resolution
    return (LOW_PASS + (factor**2 - 1) / 12) / factor**2


def sh_degree_at(recipe: FitRecipe, step: int) -> int:
    """The degree in use at `step`, counted from 0: none until the recipe's start, then all."""
    return recipe.sh_degree if step >= recipe.sh_start * recipe.iterations else 0


def relocates_before(recipe: FitRecipe, step: int) -> bool:
    """Whether Gaussians that hardly show move before `step`, counted from 0."""
    return step > 0 and step in {int(share * recipe.iterations) for share in recipe.relocate_at}


def view_order(count: int, steps: int, rng: np.random.Generator) -> list[int]:
    """The view of each step: every view once in random order, again and again."""
    rounds = [rng.permutation(count) for _ in range(-(-steps // count))]
    return np.concatenate(rounds)[:steps].tolist()
