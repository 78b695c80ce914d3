"""The `gsbench` command: results on stdout; progress and errors, one line each, on stderr.

Exit status: 0 done, 1 a check that failed, 2 bad input, 130 interrupted. The modules of the commands import nothing
heavy before a command runs, so that `gsbench --help` answers at once.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from gsbench import __version__
from gsbench.cli import audit, board, data, figures, formats, machine, reproduction, scoring, verification
from gsbench.cli.messages import bad_input
from gsbench.parsing import InputError


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line; argparse would print the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"gsbench: error: {message} (see `{self.prog} --help`)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    Args:
        argv: the words after `gsbench`; None takes those of this process.
    """
    args = _make_parser().parse_args(argv)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough, as in `gsbench models | head`. Python would complain once more on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except InputError as error:
        return bad_input(str(error))
    except OSError as error:
        return bad_input(f"{_path_of(error, args)}: {error.strerror or error}")
    except KeyboardInterrupt as interrupt:
        bad_input("; ".join(["interrupted", *map(str, interrupt.args)]))
        return 128 + signal.SIGINT
    return status


def _make_parser() -> _Parser:
    parser = _Parser(prog="gsbench", description="Benchmark suite and data-set toolkit for learning on 3D Gaussians.")
    parser.add_argument("--version", action="version", version=f"gsbench {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (scoring, reproduction, figures, data, verification, formats, audit, board, machine):
        group.add_commands(commands)
    return parser


def _path_of(error: OSError, args: argparse.Namespace) -> Path | str:
    # A full disk fails a write, which knows no name: then it is where the command puts its output.
    return error.filename or getattr(args, "out", None) or getattr(args, "board", None) or "output"
