"""One function over many items in processes of one thread each, or in this process."""

import concurrent.futures
import concurrent.futures.process
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")

_CHUNK = 8  # items a message


def map_in_processes(function: Callable[[Item], Value], items: Sequence[Item], workers: int) -> Iterator[Value]:
    """Yields `function(item)` in the order of `items`.

    Args:
        function: can be pickled, and uses one thread.
        items: can be pickled.
        workers: processes; 1 is this one.

    Raises:
        ValueError: a process died.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, _ignore_interrupts) as pool:
        try:
            yield from pool.map(function, items, chunksize=_CHUNK)
        except concurrent.futures.process.BrokenProcessPool:
            raise ValueError(
                "audit: a worker process died, most likely for want of memory; try fewer workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """An interrupt goes to every process of a terminal; only the parent's ends the run, and says so in one line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
