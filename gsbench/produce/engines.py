"""Which engine runs a build, and what fits its Gaussians."""

import contextlib
import functools
from collections.abc import Iterator

from gsbench.core.parsing import InputError
from gsbench.produce.engine import Engine
from gsbench.produce.gpu import default_workers, gpu_fit
from gsbench.produce.local import LocalEngine
from gsbench.produce.objects import Fit
from gsbench.produce.preset import Preset
from gsbench.produce.ray_engine import connected
from gsbench.reconstruct import fit
from gsbench.render.splats.cuda import require_gsplat

ENGINES = ("local", "ray")
DEVICES = ("cpu", "cuda", "auto")


def choose_device(device: str, engine: str) -> str:
    """`cpu` or `cuda`; `auto` is `cuda` where this machine has it.

    Raises:
        InputError: another device, or no CUDA on this machine, if that is to fit.
    """
    if device not in DEVICES:
        raise InputError(f"device: {device!r} (allowed: {', '.join(DEVICES)})")
    if device == "cuda" and engine == "local":
        require_gsplat()
    if device != "auto":
        return device
    try:
        require_gsplat()
    except ValueError:
        return "cpu"
    return "cuda"


@contextlib.contextmanager
def start_engine(
    engine: str, recipe: Preset, device: str, workers: int | None, ray_address: str | None, gpu_share: float
) -> Iterator[Engine]:
    """The engine of that name, ready to run tasks for as long as the block lasts.

    Raises:
        InputError: no such engine, a value out of range, or a cluster that cannot be used.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers: {workers} (must be at least 1)")
    if engine == "local":
        if ray_address is not None:
            raise InputError(f"ray_address: {ray_address} (only the engine ray has one)")
        yield LocalEngine(workers or default_workers(recipe, device))
    elif engine == "ray":
        if not 0 < gpu_share <= 1:
            raise InputError(f"gpu_share: {gpu_share} (must be above 0, up to 1)")
        with connected(ray_address, workers, gpu_share if device == "cuda" else 0.0) as cluster:
            if device == "cuda":
                cluster.require_gpu()
            yield cluster
    else:
        raise InputError(f"engine: {engine!r} (allowed: {', '.join(ENGINES)})")


@contextlib.contextmanager
def start_fit(engine: str, recipe: Preset, device: str) -> Iterator[Fit]:
    """What takes the place of `gsbench.reconstruct.fit` in workers, for as long as the block lasts."""
    if device == "cpu":
        yield fit
    elif engine == "local":
        with gpu_fit(recipe.fit) as remote:
            yield remote
    else:
        yield functools.partial(fit, device="cuda")
