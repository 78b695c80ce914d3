"""The board: entries checked against their own predictions, and tables that are rendered from them alone."""

import re
import time
from pathlib import Path

from gsbench.leaderboard.csv_table import to_csv
from gsbench.leaderboard.entries import CheckError, alone, check_board, load_entries, unfinished_files
from gsbench.leaderboard.submission import submit
from gsbench.leaderboard.summary import summary
from gsbench.leaderboard.table import make_rows, markdown
from gsbench.leaderboard.truth import Truth, load_truth, make_truth, truth_path
from gsbench.parsing import InputError, read_bytes
from gsbench.results import write_atomic

__all__ = [
    "CheckError",
    "Truth",
    "check",
    "load_truth",
    "make_truth",
    "publish",
    "submit",
    "truth_path",
    "unfinished_files",
]

START, END = "<!-- leaderboard:start -->", "<!-- leaderboard:end -->"

MAX_BYTES = 100_000_000
"""Of a table or README that is read."""

_UNFINISHED_SECONDS = 3600
"""No file of a board takes so long to write: what is older was left by a process that was killed."""

_TABLES = re.compile(r"\]\(([^()]*)/TABLE\.md\)")


def publish(board: Path, readme: Path) -> list[Path]:
    """Verifies every entry, then renders TABLE.md, table.csv and, in short, the README's block.

    Args:
        board: the board's folder.
        readme: the file whose block between `START` and `END` is rendered; left alone where there is no such file, or
            no such block in it, or where the block is another board's: links to its tables.

    Returns:
        The files that changed. What killed processes left unfinished an hour ago or before is gone.

    Raises:
        InputError: an entry that does not hold (`CheckError`) or is no Result, or a README with one marker of two.
        OSError: a file cannot be written.
    """
    check_board(board)
    with alone(board):
        _remove_old(unfinished_files(board))
        changed = {path: text for path, text in _render(board, readme).items() if _read(path) != text}
        for path, text in changed.items():
            write_atomic(path, text.encode())
    return list(changed)


def _remove_old(unfinished: list[Path]) -> None:
    for path in unfinished:
        if time.time() - path.lstat().st_mtime > _UNFINISHED_SECONDS:
            path.unlink()


def check(board: Path, readme: Path) -> None:
    """Recomputes every metric of every entry and compares the rendered files with what is on disk.

    Raises:
        CheckError: the first thing that does not hold: one line that names the file, the key and both values.
    """
    try:
        rendered = _render(board, readme)
        on_disk = {path: _read(path) for path in rendered}
    except InputError as error:
        raise CheckError(str(error)) from None
    for path, text in rendered.items():
        if (found := on_disk[path]) != text:
            raise CheckError(f"{path}: {_first_difference(found, text)} (run `gsbench leaderboard`)")


def _render(board: Path, readme: Path) -> dict[Path, str]:
    tables = [(truth, make_rows(truth, entries)) for truth, entries in load_entries(board)]
    rendered = {board / "TABLE.md": f"# Leaderboard\n\n{markdown(tables)}", board / "table.csv": to_csv(tables)}
    page = _read(readme)
    if page is not None and _is_of(board, page):
        rendered[readme] = _with_block(page, summary(tables, f"{board.name}/TABLE.md"), readme)
    return rendered


def _is_of(board: Path, page: str) -> bool:
    """Whether a page is to show this board: it has a marker, and a block that links to no other board's tables."""
    linked = _TABLES.findall(page.partition(START)[2].partition(END)[0])
    return (START in page or END in page) and (not linked or board.name in linked)


def _with_block(page: str, block: str, readme: Path) -> str:
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise InputError(f"{readme}: the block for the table is missing (must hold {START} and, below it, {END})")
    return f"{before}{START}\n\n{block}\n{END}{after}"


def _read(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        return read_bytes(path, MAX_BYTES).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is no UTF-8") from None


def _first_difference(found: str | None, expected: str) -> str:
    if found is None:
        return "is missing"
    ours, theirs = found.split("\n"), expected.split("\n")
    line = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return f"line {line + 1} is {_line(ours, line)}, the entries give {_line(theirs, line)}"


def _line(lines: list[str], index: int) -> str:
    return repr(lines[index]) if index < len(lines) else "nothing"
