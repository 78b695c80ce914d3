"""`gsbench leaderboard`, `gsbench compare`, `gsbench errors` and `gsbench export`."""

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsbench.cli.messages import failed_check, note
from gsbench.core.parsing import InputError

if TYPE_CHECKING:
    from gsbench.board import Truth
    from gsbench.board.commits import CodeCheck
    from gsbench.board.compare import Comparison
    from gsbench.core.results import Result
    from gsbench.core.tasks import Task

BOARD = Path("leaderboard")


def add_commands(commands: Any) -> None:
    """Adds this module's commands to argparse's subparsers."""
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
    board.add_argument("--site", metavar="DIR", type=Path, help="also write the board as a static site")
    board.add_argument("--export", metavar="FILE", type=Path, help="also write all rows as .csv, .json or .tex")
    board.set_defaults(run=_leaderboard)

    compare = commands.add_parser(
        "compare",
        help="which test objects make the difference between two rows",
        description="Compares two rows of the board, or Result files, on the same test objects: the difference with "
        "its interval, two tests of it, the classes, and each object that one gets right and the other does not.",
        allow_abbrev=False,
    )
    compare.add_argument("a", metavar="A", type=Path, help="an entry of the board, or a Result file")
    compare.add_argument("b", metavar="B", type=Path, help="another, of the same test objects")
    compare.add_argument(
        "--all-seeds", action="store_true", help="also take the other seeds of each that stand beside it in its folder"
    )
    compare.add_argument(
        "--page",
        metavar="FILE.html",
        type=Path,
        help="also write those objects as a page with a picture of each, from the views of --data",
    )
    compare.set_defaults(run=_compare)

    errors = commands.add_parser(
        "errors",
        help="what an entry gets wrong",
        description="The confusion matrix of an entry or Result file, each object that it gets wrong, and how many "
        "other rows of the board get that one wrong as well.",
        allow_abbrev=False,
    )
    errors.add_argument("result", metavar="ENTRY", type=Path, help="an entry of the board, or a Result file")
    errors.set_defaults(run=_errors)

    export = commands.add_parser(
        "export",
        help="an entry in the form of others",
        description="Prints an entry as an evaluation result of the Hub, YAML for `.eval_results/` of a model's repo.",
        allow_abbrev=False,
    )
    export.add_argument("result", metavar="ENTRY", type=Path, help="an entry of the board, or a Result file")
    export.add_argument("--to", choices=("eval-results",), required=True, help="the form")
    export.add_argument("--repo", metavar="ORG/NAME", required=True, help="the data set's repository on the Hub")
    export.add_argument("--source", metavar="URL", help="where the result stands")
    export.add_argument(
        "--all-seeds", action="store_true", help="with the other seeds that stand beside it in its folder"
    )
    export.add_argument("--data", metavar="DATA", help="data folder with the test labels (default: the board's)")
    export.add_argument("--out", metavar="FILE", type=Path, help="write it there instead of printing it")
    export.set_defaults(run=_export)

    for command in (compare, errors):
        command.add_argument("--data", metavar="DATA", help="data folder with the test labels (default: the board's)")
        command.add_argument("--json", action="store_true", help="print everything as JSON")
    for command in (board, compare, errors, export):
        command.add_argument("--board", metavar="DIR", type=Path, default=BOARD, help=f"(default: {BOARD})")


def publish_board(board: Path) -> None:
    """Renders the tables, and the block of the README beside the board; prints what changed."""
    from gsbench.board import publish

    for path in publish(board, board.parent / "README.md"):
        print(path)
    _tell_unfinished(board)


def _tell_unfinished(board: Path) -> None:
    from gsbench.board import unfinished_files

    for path in unfinished_files(board):
        note(f"{path}: passed over, it is unfinished (if no gsbench is running, remove it)")


def truth_of(task: "Task", board: Path, data: str | None) -> "Truth":
    """What the board knows of the task's data set, or what the data itself says."""
    from gsbench.board import load_truth, make_truth, truth_path

    known = truth_path(board, task)
    if data is None and task.split == "test" and known.exists():
        return load_truth(known)
    from gsbench.store.load import resolve

    return make_truth(resolve(data or task.dataset, notify=note), task.split)


def _compare(args: argparse.Namespace) -> int:
    from gsbench.board.compare import check_comparable, compare, comparison_text
    from gsbench.board.entries import runs_beside
    from gsbench.core.results import load_result

    firsts = [load_result(path) for path in (args.a, args.b)]
    check_comparable(firsts[0], firsts[1], (str(args.a), str(args.b)))
    rows = [
        runs_beside(path) if args.all_seeds else [result] for path, result in zip((args.a, args.b), firsts, strict=True)
    ]
    found = compare(rows[0], rows[1], truth_of(firsts[0].task, args.board, args.data))
    names = (_name(firsts[0]), _name(firsts[1]))
    if args.page:
        _write_page(args.page, names, found, firsts[0].task, args.data)
    _print(found, args.json, lambda: comparison_text(names, found))
    return 0


def _write_page(path: Path, names: tuple[str, str], found: "Comparison", task: "Task", data: str | None) -> None:
    from gsbench.board.flips import write_flips
    from gsbench.store.folder import open_folder
    from gsbench.store.load import resolve
    from gsbench.store.validation import hold_out

    folder = open_folder(resolve(data or task.dataset, notify=note))
    if (ours := folder.manifest.fingerprint()) != task.fingerprint:
        raise InputError(
            f"{folder.path}: fingerprint {ours[:8]}, the entries are of {task.fingerprint[:8]} (see --data)"
        )
    write_flips(path, names, found, hold_out(folder) if task.split == "val" else folder)
    note(f"{path}: a picture of each of {len(found.flips)} objects")


def _errors(args: argparse.Namespace) -> int:
    from gsbench.board import load_entries, truth_path
    from gsbench.board.errors import errors, errors_text, missed_by_others
    from gsbench.core.results import load_result

    result = load_result(args.result)
    truth = truth_of(result.task, args.board, args.data)
    groups = load_entries(args.board) if truth_path(args.board, result.task).exists() else []
    entries = [each for known, some in groups if known.fingerprint == truth.fingerprint for each in some]
    found = errors(result, truth, *missed_by_others(entries, result)) if entries else errors(result, truth)
    _print(found, args.json, lambda: errors_text(_name(result), found))
    return 0


def _export(args: argparse.Namespace) -> int:
    from gsbench.board.entries import runs_beside
    from gsbench.board.eval_results import eval_results
    from gsbench.core.files import write_atomic
    from gsbench.core.results import load_result

    result = load_result(args.result)
    runs = runs_beside(args.result) if args.all_seeds else [result]
    text = eval_results(runs, truth_of(result.task, args.board, args.data), args.repo, args.source)
    if args.out is None:
        print(text, end="")
    else:
        write_atomic(args.out, text.encode())
        print(args.out)
    return 0


def _name(result: "Result") -> str:
    from gsbench.board.cells import describe_input

    return f"{result.model.title} ({result.model.name}), {describe_input(result.task)}, {result.task.regime} %"


def _print(found: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Prints a dataclass as JSON, or its text."""
    if as_json:
        record = dataclasses.asdict(found)
        print(json.dumps(record, indent=1, default=lambda array: array.tolist()))
    else:
        print(text())


def _leaderboard(args: argparse.Namespace) -> int:
    from gsbench.board import CheckError, check, export

    if args.code and not args.check:
        raise InputError("--code is of --check (allowed: leave it out, or give both)")
    for option in ("site", "export"):
        if getattr(args, option) and args.check:
            raise InputError(f"--{option} writes and --check does not (allowed: one of them)")
    if not args.check:
        publish_board(args.board)
        if args.site:
            _write_site(args.board, args.site)
        if args.export:
            export(args.board, args.export)
            print(args.export)
        return 0
    try:
        check(args.board, args.board.parent / "README.md")
    except CheckError as error:
        return failed_check(str(error))
    _tell_unfinished(args.board)
    return _check_code(args.board) if args.code else 0


def _write_site(board: Path, folder: Path) -> None:
    from gsbench.board.site import write_site

    known = {check.path: check.standing for check in _code_checks(board)}
    print(f"{folder / 'index.html'} ({write_site(board, folder, known)} pages)")


def _code_checks(board: Path) -> "list[CodeCheck]":
    import gsbench
    from gsbench.board import load_entries
    from gsbench.board.commits import check_code

    entries = [(entry.path, entry.result) for _, some in load_entries(board) for entry in some]
    return check_code(entries, Path(gsbench.__file__).parent)


def _check_code(board: Path) -> int:
    from gsbench.board.commits import count_standings

    checks = _code_checks(board)
    print(f"code of entries: {count_standings(checks)}")
    differing = [check for check in checks if check.standing == "differ"]
    for check in differing:
        failed_check(f"{check.path}: {check.why}")
    return 1 if differing else 0
