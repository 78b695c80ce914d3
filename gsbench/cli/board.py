"""`gsbench submit` and `gsbench leaderboard`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsbench.cli.messages import failed_check, notice

if TYPE_CHECKING:
    from gsbench.leaderboard import Truth
    from gsbench.tasks import Task

BOARD = Path("leaderboard")


def add_commands(commands: Any) -> None:
    """Adds this module's commands to argparse's subparsers."""
    submit = commands.add_parser(
        "submit",
        help="check Result files and put them on the board",
        description="Recomputes every metric of each Result from its predictions, then puts the file on the board. "
        "What it states beside its metrics, predictions do not give: that is not checked.",
        allow_abbrev=False,
    )
    submit.add_argument("results", metavar="RESULT.json", type=Path, nargs="+", help="what `gsbench eval` wrote")
    submit.add_argument("--data", metavar="DATA", help="data folder with the test labels (default: the one it names)")
    submit.set_defaults(run=_submit)

    board = commands.add_parser(
        "leaderboard",
        help="render the board's tables, or check them",
        description="Renders TABLE.md, table.csv and the block of the README beside the board from the entries alone.",
        allow_abbrev=False,
    )
    board.add_argument(
        "--check", action="store_true", help="write nothing; recompute every metric, exit 1 on a difference"
    )
    board.set_defaults(run=_leaderboard)

    for command in (submit, board):
        command.add_argument("--board", metavar="DIR", type=Path, default=BOARD, help=f"(default: {BOARD})")


def _submit(args: argparse.Namespace) -> int:
    from gsbench.leaderboard import CheckError, submit
    from gsbench.results import load_result

    for path in args.results:
        task = load_result(path).task
        try:
            entry = submit(path, args.board, _truth(task, args.board, args.data))
        except CheckError as error:
            return failed_check(str(error))
        print(entry)
    return 0


def _truth(task: "Task", board: Path, data: str | None) -> "Truth":
    """What the board knows of the task's data set, or what the data itself says."""
    from gsbench.leaderboard import load_truth, make_truth, truth_path

    known = truth_path(board, task)
    if data is None and known.exists():
        return load_truth(known)
    from gsbench.store.folder import resolve

    return make_truth(resolve(data or task.dataset, notify=notice), task.split)


def _leaderboard(args: argparse.Namespace) -> int:
    from gsbench.leaderboard import CheckError, check, publish

    readme = args.board.parent / "README.md"
    if not args.check:
        for path in publish(args.board, readme):
            print(path)
        return 0
    try:
        check(args.board, readme)
    except CheckError as error:
        return failed_check(str(error))
    return 0
