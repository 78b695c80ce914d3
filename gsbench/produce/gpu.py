"""Fitting on a GPU in a build: one process owns it, the workers read, draw, order and save.

Workers are the same as on CPU and make objects by the same function; only the fit is another's. The images do not pass
through a pipe but through memory that a worker shares with the GPU process.
"""

import contextlib
import multiprocessing
import os
import secrets
import threading
from collections.abc import Iterator
from typing import Any

from gsbench.core.memory import available_cores, free_memory
from gsbench.core.parsing import InputError
from gsbench.produce.gpu_client import RemoteFit
from gsbench.produce.local import single_threaded_children
from gsbench.produce.preset import Preset
from gsbench.reconstruct import ClassicRecipe, FitRecipe
from gsbench.render.splats.cuda import rasterize_tensors, require_gsplat

_WAITING = 48
"""Objects that wait for the GPU or are on it at most, where memory allows: batches need not be larger."""
_PROCESS_BYTES = 400 << 20
"""What a worker process takes without its object."""
_ENDS = 20
"""After as many ends of the GPU process it is not started again."""


def default_workers(recipe: Preset, device: str) -> int:
    """Worker processes: one a core; on CUDA up to `_WAITING` more, which wait for the GPU while others draw.

    As many as wait can be fitted at once. A waiting worker keeps an object's images, and shares a copy with the GPU
    process: those that wait take at most half of the memory that is free.
    """
    cores = available_cores()
    if device == "cpu":
        return cores
    images = recipe.rig.views + len(recipe.between) + recipe.store.views
    held = _PROCESS_BYTES + 2 * 4 * images * recipe.rig.size**2
    free = free_memory()
    return cores + (_WAITING if free is None else min(_WAITING, free // 2 // held))


@contextlib.contextmanager
def gpu_fit(recipe: FitRecipe | ClassicRecipe, at_once: int | None = None) -> Iterator[RemoteFit]:
    """Starts the process that owns the GPU; yields what takes the place of `gsbench.reconstruct.fit` in workers.

    The GPU is CUDA's first: CUDA_VISIBLE_DEVICES chooses another. If the process ends, it is started again, and the
    objects that it had are fitted anew, those that it worked on one by one.

    Args:
        recipe: of every fit.
        at_once: objects in a batch at most; None is as many as the GPU's memory holds.

    Raises:
        InputError: there is no GPU or no gsplat, gsplat cannot be compiled, or `at_once` is below 1.
    """
    if at_once is not None and at_once < 1:
        raise InputError(f"at_once: {at_once} (must be at least 1)")
    require_gsplat()
    from gsbench.produce.gpu_service import Setup  # here, since it loads torch

    with serving(Setup(recipe, at_once, "cuda", rasterize_tensors)) as fit:
        yield fit


@contextlib.contextmanager
def serving(setup: Any) -> Iterator[RemoteFit]:
    """`gpu_fit` with any `gsbench.produce.gpu_service.Setup`."""
    # Abstract: the address is no file and goes with its process.
    address, key = f"\0gsbench-{os.getpid()}-{secrets.token_hex(8)}", secrets.token_bytes(32)
    keeper = _Keeper(setup, address, key)
    try:
        yield RemoteFit(address, key, setup.recipe)
    finally:
        keeper.stop()


class _Keeper:
    """Starts the GPU process, and starts it again when it ends."""

    def __init__(self, setup: Any, address: str, key: bytes) -> None:
        self._arguments = (setup, address, key)
        self._stopping, self._lock = False, threading.Lock()
        self._process, ready = self._start()
        try:
            problem = ready.recv()
        except EOFError:
            self._process.join()
            problem = f"the process that owns the GPU ended with status {self._process.exitcode}"
        if problem:
            raise InputError(f"device: 'cuda' cannot be used: {problem}")
        threading.Thread(target=self._keep, daemon=True).start()

    def stop(self) -> None:
        """Ends the process."""
        with self._lock:
            self._stopping = True
            self._process.kill()
        self._process.join()

    def _start(self) -> tuple[Any, Any]:
        """The process, and the pipe in which it says when it is ready."""
        from gsbench.produce.gpu_service import serve  # here, since it loads torch

        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=serve, args=(*self._arguments, theirs), daemon=True)
        with single_threaded_children():
            process.start()
        theirs.close()
        return process, ours

    def _keep(self) -> None:
        for _ in range(_ENDS):
            self._process.join()
            with self._lock:
                if self._stopping:
                    return
                self._process, _ = self._start()
