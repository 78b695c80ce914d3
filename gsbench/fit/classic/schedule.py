"""What both devices do at which iteration, counted from 1."""

from gsbench.fit.classic.recipe import ClassicRecipe


def sh_degree_at(recipe: ClassicRecipe, iteration: int) -> int:
    """The degree in use."""
    return min(iteration // recipe.sh_every, recipe.sh_degree)


def means_rate_at(recipe: ClassicRecipe, iteration: int) -> float:
    """The learning rate of positions over the extent."""
    return recipe.lr_means * (recipe.lr_means_final / recipe.lr_means) ** (iteration / recipe.iterations)


def densifies_at(recipe: ClassicRecipe, iteration: int) -> bool:
    """Whether Gaussians are cloned, split and pruned after this iteration's step."""
    return recipe.densify_from < iteration < recipe.densify_until and iteration % recipe.densify_every == 0


def resets_at(recipe: ClassicRecipe, iteration: int) -> bool:
    """Whether opacities are reset after this iteration's step."""
    first = recipe.reset_first and iteration == recipe.densify_from
    return iteration < recipe.densify_until and (first or iteration % recipe.reset_every == 0)
