"""What workers run in the tests of the GPU process; they load no torch."""

from gsbench.build.gpu_client import RemoteFit
from gsbench.fit import Fitted
from gsbench.types import Views


def fit_one(fit: RemoteFit, views: Views, seed: int) -> Fitted | str:
    """A task: the fit, or why there is none."""
    try:
        return fit(views, fit.recipe, seed, views[:2])
    except ValueError as error:
        return str(error)
