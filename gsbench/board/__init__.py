"""The board: entries checked against their own predictions, and tables that are rendered from them alone."""

import re
import time
from collections import Counter
from itertools import zip_longest
from pathlib import Path

from gsbench.board.entries import CheckError, alone, check_board, load_entries, unfinished_files
from gsbench.board.exports import FORMATS, to_csv
from gsbench.board.submission import submit
from gsbench.board.summary import summary
from gsbench.board.table import make_rows, markdown
from gsbench.board.truth import Truth, load_truth, make_truth, truth_path
from gsbench.core.files import ABANDONED_SECONDS, read_bytes, write_atomic
from gsbench.core.parsing import InputError

__all__ = [
    "CheckError",
    "Truth",
    "check",
    "export",
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

_BLANKS = {" ": "space", "\t": "tab", "\r": "carriage return"}

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


def export(board: Path, path: Path) -> None:
    """Verifies every entry and writes all rows to one file, as CSV, JSON or LaTeX by its suffix.

    Raises:
        InputError: another suffix, or an entry that does not hold (`CheckError`) or is no Result.
        OSError: the file cannot be written.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder (allowed: a file that ends in {', '.join(FORMATS)})")
    if path.suffix not in FORMATS:
        raise InputError(f"{path}: the suffix is '{path.suffix}' (allowed: {', '.join(FORMATS)})")
    tables = [(truth, make_rows(truth, entries)) for truth, entries in load_entries(board)]
    write_atomic(path, FORMATS[path.suffix](tables).encode())


def _remove_old(unfinished: list[Path]) -> None:
    for path in unfinished:
        if time.time() - path.lstat().st_mtime > ABANDONED_SECONDS:
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
    rendered = {path: _with_ends_of(_read(path), text) for path, text in rendered.items()}
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
    return before + _with_ends_of(page, f"{START}\n\n{block}\n{END}") + after


def _with_ends_of(page: str | None, text: str) -> str:
    """The text with lines that end as all of a page do: a checkout on Windows may have them end in CR LF."""
    return text.replace("\n", "\r\n") if page and 0 < page.count("\n") == page.count("\r\n") else text


def _read(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        return read_bytes(path, MAX_BYTES).decode()  # its line ends as they are
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is no UTF-8") from None


def _first_difference(found: str | None, expected: str) -> str:
    """Where a file differs from what the entries give: in more than the widths of columns, if there is such a place."""
    if found is None:
        return "is missing"
    lines = list(zip_longest(found.split("\n"), expected.split("\n")))
    differing = [number for number, (ours, theirs) in enumerate(lines) if ours != theirs]
    number = next((each for each in differing if _said(lines[each][0]) != _said(lines[each][1])), differing[0])
    ours, theirs = lines[number]
    if ours is None or theirs is None:
        return f"line {number + 1} is {_excerpt(ours, 0)}, the entries give {_excerpt(theirs, 0)}"
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    if ours.split() == theirs.split():
        return f"line {number + 1} has {_blanks(ours, at)}, the entries give {_blanks(theirs, at)}"
    return f"line {number + 1} is {_excerpt(ours, at)}, the entries give {_excerpt(theirs, at)}"


def _said(line: str | None) -> str | None:
    """A line of a table whatever the widths of its columns."""
    return None if line is None else " ".join(re.sub("-+", "-", line).split())


def _excerpt(line: str | None, at: int) -> str:
    """A line's part around a position."""
    if line is None:
        return "nothing"
    start, end = max(0, at - 40), at + 80
    return repr(f"{'...' if start else ''}{line[start:end]}{'...' if end < len(line) else ''}")


def _blanks(line: str, at: int) -> str:
    """The blanks around a position, in words: they look alike where they are printed, or are folded."""
    start, end = len(line[:at].rstrip()), len(line) - len(line[at:].lstrip())
    counts = Counter(line[start:end])
    names = [f"{count} {_BLANKS.get(blank, repr(blank))}{'s' * (count > 1)}" for blank, count in counts.items()]
    return f"{' and '.join(names) or 'no blank'} " + (
        f"before {line[end : end + 40]!r}" if line[end:] else "at its end"
    )
