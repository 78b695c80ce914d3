"""Views to Gaussians, from the views alone: visual hull, then Adam, on CPU (our own kernels) or CUDA (gsplat)."""

from gsbench.fit.optimise import Fitted, fit, fit_many
from gsbench.fit.recipe import FitRecipe, Stage

__all__ = ["FitRecipe", "Fitted", "Stage", "fit", "fit_many"]
