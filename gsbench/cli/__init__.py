"""The `gsbench` command: results on stdout; progress and errors, one line each, on stderr.

Exit status: 0 done, 1 a check that failed, 2 bad input, 70 a fault of gsbench, 130 interrupted. The modules of the
commands import nothing heavy before a command runs, so that `gsbench --help` answers at once.
"""

import argparse
import importlib.util
import signal
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from gsbench import __version__
from gsbench.cli.messages import (
    INTERNAL_ERROR,
    STANDARD_OUTPUT,
    bad_input,
    internal_error,
    interruptible,
    prepare_streams,
    silence_broken_streams,
)
from gsbench.core.parsing import InputError

_NO_CACHE = (
    "numba finds no folder for its machine code: none of NUMBA_CACHE_DIR, the home folder's caches and TMPDIR can be "
    "written (must name a folder that can be; mend it: export NUMBA_CACHE_DIR=$(mktemp -d))"
)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line; argparse would print the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(bad_input(f"{message} (see `{self.prog} --help`)"))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    Args:
        argv: the words after `gsbench`; None takes those of this process.
    """
    prepare_streams()
    args = argparse.Namespace(debug=False)
    try:
        with interruptible():
            status = _run(argv, args)
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        if args.debug:
            traceback.print_exc()
        status = _explain(error, args)
    silence_broken_streams()
    return status


def _run(argv: Sequence[str] | None, args: argparse.Namespace) -> int:
    parser = _make_parser()
    if not (sys.argv[1:] if argv is None else argv):
        parser.print_help()
        return 0
    try:
        parser.parse_args(argv, args)
    except SystemExit as leave:  # the parser has said what it had to, as for --help
        return int(leave.code or 0)
    status: int = args.run(args)
    return status


def _explain(error: BaseException, args: argparse.Namespace) -> int:
    """Says in one line why a command did not end as it should; returns the exit status."""
    if isinstance(error, KeyboardInterrupt):
        bad_input("; ".join(["interrupted", *map(str, error.args)]))
        return 128 + signal.SIGINT
    if isinstance(error, BrokenPipeError) and error.filename == STANDARD_OUTPUT:
        return 128 + signal.SIGPIPE  # the reader has seen enough, as in `gsbench models | head`
    if "cannot cache function" in str(error):
        return bad_input(f"NUMBA_CACHE_DIR: {_NO_CACHE}")
    if isinstance(error, InputError):
        return bad_input(str(error))
    if isinstance(error, OSError):
        # A write that fails may know no name: then it is where the command puts its output.
        name = error.filename or getattr(args, "out", None) or getattr(args, "board", None) or "output"
        return bad_input(f"{name}: {error.strerror or error}")
    if _is_out_of_memory(error):
        return bad_input(f"too little memory: {error}".removesuffix(": "))
    if (place := _outside(error)) is not None:
        return bad_input(f"{place}: {type(error).__name__}: {error} (run again with --debug for the traceback)")
    return internal_error(error)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, numpy or torch, which has an error of its own on CUDA and none on CPU, could not allocate."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _outside(error: BaseException) -> str | None:
    """`FILE:LINE` where the code of a user, such as a recipe's model, was left by an exception; None if it was not."""
    packages = [importlib.util.find_spec(name) for name in ("gsbench", "gsbench_baselines")]
    known = [folder for spec in packages if spec for folder in spec.submodule_search_locations or ()]
    known += sysconfig.get_paths().values()
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        path = Path(frame.f_code.co_filename)
        installed = {"site-packages", "dist-packages"} & set(path.parts)
        if path.is_file() and not installed and not any(path.is_relative_to(folder) for folder in known):
            return f"{path}:{line}"
    return None


def _make_parser() -> _Parser:
    # Here, where an interrupt is caught.
    from gsbench.cli import board, data, formats, machine, paper, rerun, scoring, submission

    parser = _Parser(
        prog="gsbench",
        description="Benchmark suite and data-set toolkit for learning on 3D Gaussians.",
        epilog=f"Exit status: 0 done, 1 a check that failed, 2 bad input, {INTERNAL_ERROR} a fault of gsbench, "
        "130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"gsbench {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (scoring, paper, data, formats, submission, board, rerun, machine):
        group.add_commands(commands)
    for every in (parser, *commands.choices.values()):
        every.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error as well"
        )
    return parser
