"""What workers run in the tests of the GPU process; they load no torch."""

from gsbench.core.types import Views
from gsbench.produce.gpu_client import RemoteFit
from gsbench.reconstruct import Fitted


def fit_one(fit: RemoteFit, views: Views, seed: int) -> Fitted | str:
    """A task: the fit, or why there is none."""
    try:
        return fit(views, fit.recipe, seed, views[:2])
    except ValueError as error:
        return str(error)
