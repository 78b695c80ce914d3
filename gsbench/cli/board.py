"""`gsbench submit` and `gsbench leaderboard`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsbench.cli.messages import failed_check, notice
from gsbench.core.parsing import InputError

if TYPE_CHECKING:
    from gsbench.board import Truth
    from gsbench.core.tasks import Task

BOARD = Path("leaderboard")


def add_commands(commands: Any) -> None:
    """Adds this module's commands to argparse's subparsers."""
    submit = commands.add_parser(
        "submit",
        help="check Result files and put them on the board",
        description="Recomputes every metric of each Result from its predictions, puts the files on the board "
        "(all of them, or none), and renders the tables. What a Result states beside its metrics, predictions do not "
        "give: that is not checked. The same predictions again reproduce the entry that is there, which stays.",
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
    board.add_argument(
        "--code", action="store_true", help="with --check: compare each entry's code with that of the commit it names"
    )
    board.set_defaults(run=_leaderboard)

    for command in (submit, board):
        command.add_argument("--board", metavar="DIR", type=Path, default=BOARD, help=f"(default: {BOARD})")


def _submit(args: argparse.Namespace) -> int:
    from gsbench.board import CheckError, submit, truth_path
    from gsbench.core.results import load_result

    truths: dict[Path, Truth] = {}
    results = []
    for path in args.results:
        task = load_result(path).task
        known = truth_path(args.board, task)
        if known not in truths:
            truths[known] = _truth(task, args.board, args.data)
        results.append((path, truths[known]))
    try:
        entries = submit(results, args.board)
    except CheckError as error:
        return failed_check(str(error))
    for entry, new in entries:
        print(entry if new else f"{entry} (on the board already: reproduced)")
    _publish(args.board)
    return 0


def _publish(board: Path) -> None:
    """Renders the tables, and the block of the README beside the board; prints what changed."""
    from gsbench.board import publish

    for path in publish(board, board.parent / "README.md"):
        print(path)
    _tell_unfinished(board)


def _tell_unfinished(board: Path) -> None:
    from gsbench.board import unfinished_files

    for path in unfinished_files(board):
        notice(f"{path}: passed over, it is unfinished (if no gsbench is running, remove it)")


def _truth(task: "Task", board: Path, data: str | None) -> "Truth":
    """What the board knows of the task's data set, or what the data itself says."""
    from gsbench.board import load_truth, make_truth, truth_path

    known = truth_path(board, task)
    if data is None and known.exists():
        return load_truth(known)
    from gsbench.store.folder import resolve

    return make_truth(resolve(data or task.dataset, notify=notice), task.split)


def _leaderboard(args: argparse.Namespace) -> int:
    from gsbench.board import CheckError, check

    if args.code and not args.check:
        raise InputError("--code is of --check (allowed: leave it out, or give both)")
    if not args.check:
        _publish(args.board)
        return 0
    try:
        check(args.board, args.board.parent / "README.md")
    except CheckError as error:
        return failed_check(str(error))
    _tell_unfinished(args.board)
    return _check_code(args.board) if args.code else 0


def _check_code(board: Path) -> int:
    import gsbench
    from gsbench.board import load_entries
    from gsbench.board.commits import check_code, count_standings

    entries = [(entry.path, entry.result) for _, some in load_entries(board) for entry in some]
    checks = check_code(entries, Path(gsbench.__file__).parent)
    print(f"code of entries: {count_standings(checks)}")
    differing = [check for check in checks if check.standing == "differ"]
    for check in differing:
        failed_check(f"{check.path}: {check.why}")
    return 1 if differing else 0
