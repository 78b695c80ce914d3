"""What both devices do at which step: learning rates, views, and degrees of the spherical harmonics."""

import numpy as np

from gsbench.fit.recipe import FitRecipe


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


def sh_degree_at(recipe: FitRecipe, step: int) -> int:
    """The degree in use at `step`, counted from 0: none until the recipe's start, then all."""
    return recipe.sh_degree if step >= recipe.sh_start * recipe.iterations else 0


def relocates_after(recipe: FitRecipe, steps: int) -> bool:
    """Whether faded Gaussians move once `steps` are done; what moved has as many left as from one time to the next."""
    every = recipe.relocate_every
    return every > 0 and steps % every == 0 and steps + every <= recipe.iterations


def view_order(count: int, steps: int, rng: np.random.Generator) -> list[int]:
    """The view of each step: every view once in random order, again and again."""
    rounds = [rng.permutation(count) for _ in range(-(-steps // count))]
    return np.concatenate(rounds)[:steps].tolist()
