"""One function over many items in processes of one thread each, or in this process."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from gsbench.core.parsing import InputError

Item = TypeVar("Item")
Value = TypeVar("Value")

_CHUNK = 8  # items a message


def map_in_processes(function: Callable[[Item], Value], items: Sequence[Item], workers: int) -> Iterator[Value]:
    """Yields `function(item)` in the order of `items`.

    Args:
        function: can be pickled, and uses one thread.
        items: can be pickled.
        workers: processes; 1 is this one. They end when this process does, however it ends.

    Raises:
        InputError: the memory does not suffice, or a process died.
    """
    workers = min(workers, len(items))
    try:
        if workers <= 1:
            yield from map(function, items)
        else:
            yield from _map_in_pool(function, items, workers)
    except (BrokenProcessPool, MemoryError):
        raise InputError("audit: the memory does not suffice, or a worker process died; try fewer workers") from None


def _map_in_pool(function: Callable[[Item], Value], items: Sequence[Item], workers: int) -> Iterator[Value]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin) as pool:
        try:
            yield from pool.map(function, items, chunksize=_CHUNK)
        finally:
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """The first thing that a worker does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all: the parent ends the run, and says so
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
