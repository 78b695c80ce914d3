"""Views to Gaussians, from the views alone: from their visual hull, or as published, on CPU or on CUDA (gsplat)."""

from gsbench.fit.classic.recipe import ClassicRecipe
from gsbench.fit.fitted import Fitted
from gsbench.fit.optimise import fit, fit_many
from gsbench.fit.recipe import FitRecipe, Stage

__all__ = ["ClassicRecipe", "FitRecipe", "Fitted", "Stage", "fit", "fit_many"]
