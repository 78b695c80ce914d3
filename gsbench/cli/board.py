"""`gsbench submit` and `gsbench leaderboard`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsbench.cli.messages import failed_check

if TYPE_CHECKING:
    from gsbench.leaderboard import Truth
    from gsbench.tasks import Task

BOARD = Path("leaderboard")


def add_commands(commands: Any) -> None:
    """Adds this module's commands to argparse's subparsers."""
    submit = commands.add_parser(
        "submit",
        help="check Result files and put them on the board",
        description="Recomputes every metric of each Result from its predictions, puts the file on the board, and "
        "renders the tables. What it states beside its metrics, predictions do not give: that is not checked. The same "
        "predictions again reproduce the entry that is there, which stays as it is.",
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

    accepted = False
    try:
        for path in args.results:
            truth = _truth(load_result(path).task, args.board, args.data)
            entry, new = submit(path, args.board, truth)
            accepted = True
            print(entry if new else f"{entry} (on the board already: reproduced)")
    except CheckError as error:
        return failed_check(str(error))
    finally:
        if accepted:  # also where a later one was refused, or an earlier submit was killed before it came to this
            _publish(args.board)
    return 0


def _publish(board: Path) -> None:
    """Renders the tables, and the block of the README beside the board; prints what changed."""
    from gsbench.leaderboard import publish

    for path in publish(board, board.parent / "README.md"):
        print(path)


def _truth(task: "Task", board: Path, data: str | None) -> "Truth":
    """What the board knows of the task's data set, or what the data itself says."""
    from gsbench.leaderboard import load_truth, make_truth, truth_path

    known = truth_path(board, task)
    if data is None and known.exists():
        return load_truth(known)
    from gsbench.store.folder import resolve

    return make_truth(resolve(data or task.dataset), task.split)


def _leaderboard(args: argparse.Namespace) -> int:
    from gsbench.leaderboard import CheckError, check

    if not args.check:
        _publish(args.board)
        return 0
    try:
        check(args.board, args.board.parent / "README.md")
    except CheckError as error:
        return failed_check(str(error))
    return 0
