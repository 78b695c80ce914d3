"""What goes to stderr, one line a message; and streams that take whatever is written to them."""

import codecs
import contextlib
import io
import os
import signal
import sys
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERNAL_ERROR = 70
"""Exit status of a fault of gsbench, EX_SOFTWARE of BSD's sysexits."""

STANDARD_OUTPUT = "standard output"
"""Stands in an OSError where the name of a file does."""

_PLAIN = {"±": "+-", "–": "-", "—": "-", "×": "x", "≥": ">=", "≤": "<=", "→": "->", "∞": "inf", "°": " deg", "…": "..."}  # noqa: RUF001 -- an en dash


def bad_input(message: str) -> int:
    """Says what is wrong and what is allowed; returns the exit status."""
    _write("error", message)
    return 2


def failed_check(message: str) -> int:
    """Says what does not hold; returns the exit status."""
    _write("failed", message)
    return 1


def internal_error(error: BaseException) -> int:
    """Says that gsbench is at fault, not its input; returns the exit status."""
    _write(
        "internal error",
        f"{type(error).__name__}: {error} (this is a fault of gsbench, not of your input; run again with --debug for "
        "the traceback)",
    )
    return INTERNAL_ERROR


def note(message: str) -> None:
    """Says what nobody should miss."""
    _write("NOTE", message)


def progress_line(message: str) -> None:
    """Says how far a command is."""
    _write("progress", message)


def _write(kind: str, message: str) -> None:
    # What comes from a file, such as an object's id, must not drive the terminal.
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(message.split()))
    with contextlib.suppress(OSError):  # nobody reads it: the exit status says it still
        sys.stderr.write(f"gsbench: {kind}: {text}\n")


class _StandardOutput(io.TextIOWrapper):
    """Standard output whose errors name it: those of Python's name no file, as those of a full disk do."""

    def write(self, text: str) -> int:
        with _naming_standard_output():
            return super().write(text)

    def flush(self) -> None:
        with _naming_standard_output():
            super().flush()


@contextlib.contextmanager
def _naming_standard_output() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = STANDARD_OUTPUT
        raise


def prepare_streams() -> None:
    """Lets standard output and error take every text, whatever their encoding, and whether they are open or not.

    A character that the encoding lacks becomes what stands for it in plain text, such as `+-`. What is written to a
    stream that was closed goes nowhere; its number is taken, lest a file that is opened later gets it.
    """
    codecs.register_error("gsbench", _in_plain_text)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="replace"))  # noqa: SIM115 -- stays open
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="gsbench")
            if stream is sys.__stdout__:
                sys.stdout = _StandardOutput(stream.buffer, stream.encoding, "gsbench", None, stream.line_buffering)


def _in_plain_text(error: UnicodeError) -> tuple[str, int]:
    """What is written in place of characters that an encoding lacks, as an error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _PLAIN.get(character) or letters or "?"


def silence_broken_streams() -> None:
    """Sends what is left for standard output or error nowhere where they cannot be written to.

    Otherwise Python would complain of it once more as it ends, and change the exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError):  # no file is behind it
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
