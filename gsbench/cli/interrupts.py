"""Ctrl-C that ends a command, whatever the libraries that it interrupts make of the exception."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AGAIN_SECONDS = 0.2


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C in the block raises KeyboardInterrupt here, even if the code that it interrupts lets none through.

    Imports of compiled modules and numba's compiler swallow an exception at times, or make another one of it, and the
    command would run to its end. So the exception is raised again and again until it is on its way, which is seen by
    what is handled: an interrupted `finally` or `with` finishes. Where Ctrl-C is ignored, as under nohup, it stays so.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        if number == signal.SIGINT or not _on_its_way():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        if interrupted:
            raise KeyboardInterrupt from error
        raise
    finally:
        if interrupted and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if interrupted:
        raise KeyboardInterrupt


def _on_its_way() -> bool:
    """Whether the code that runs just now cleans up after an interrupt or closes a generator that one has left."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            return True
        error = error.__context__
    return False
