"""What goes to stderr: one line a message."""

import sys


def bad_input(message: str) -> int:
    """Says what is wrong and what is allowed; returns the exit status."""
    _write("error", message)
    return 2


def failed_check(message: str) -> int:
    """Says what does not hold; returns the exit status."""
    _write("failed", message)
    return 1


def notice(message: str) -> None:
    """Says what nobody should miss."""
    _write("NOTE", message)


def _write(kind: str, message: str) -> None:
    sys.stderr.write(f"gsbench: {kind}: {' '.join(message.split())}\n")
