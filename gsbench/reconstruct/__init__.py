"""Views to Gaussians, from the views alone: from their visual hull, or as published, on CPU or on CUDA (gsplat)."""

from gsbench.reconstruct.classic.recipe import ClassicRecipe
from gsbench.reconstruct.hull.recipe import FitRecipe, Stage
from gsbench.reconstruct.optimize import fit, fit_many
from gsbench.reconstruct.targets import Fitted

__all__ = ["ClassicRecipe", "FitRecipe", "Fitted", "Stage", "fit", "fit_many"]
