"""What goes to stderr, one line a message; and streams that take whatever is written to them."""

import codecs
import contextlib
import io
import os
import sys
import unicodedata
from collections.abc import Iterator

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


def notice(message: str) -> None:
    """Says what nobody should miss."""
    _write("NOTE", message)


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
