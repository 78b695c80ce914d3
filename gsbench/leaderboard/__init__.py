"""The board: entries checked against their own predictions, and tables that are rendered from them alone."""

from pathlib import Path

from gsbench.leaderboard.csv_table import to_csv
from gsbench.leaderboard.entries import CheckError, load_entries, submit
from gsbench.leaderboard.summary import summary
from gsbench.leaderboard.table import make_rows, markdown
from gsbench.leaderboard.truth import Truth, load_truth, make_truth, truth_path
from gsbench.parsing import InputError
from gsbench.results import write_atomic

__all__ = ["CheckError", "Truth", "check", "load_truth", "make_truth", "publish", "submit", "truth_path"]

START, END = "<!-- leaderboard:start -->", "<!-- leaderboard:end -->"


def publish(board: Path, readme: Path) -> list[Path]:
    """Verifies every entry, then renders TABLE.md, table.csv and, in short, the README's block.

    Args:
        board: the board's folder.
        readme: the file whose block between `START` and `END` is rendered; left alone where there is no such file.

    Returns:
        The files that changed.

    Raises:
        InputError: an entry that does not hold (`CheckError`) or is no Result, or a README without the markers.
        OSError: a file cannot be written.
    """
    changed = {path: text for path, text in _render(board, readme).items() if _read(path) != text}
    for path, text in changed.items():
        write_atomic(path, text.encode())
    return list(changed)


def check(board: Path, readme: Path) -> None:
    """Recomputes every metric of every entry and compares the rendered files with what is on disk.

    Raises:
        CheckError: the first thing that does not hold: one line that names the file, the key and both values.
    """
    try:
        rendered = _render(board, readme)
    except InputError as error:
        raise CheckError(str(error)) from None
    for path, text in rendered.items():
        found = _read(path)
        if found != text:
            raise CheckError(f"{path}: {_first_difference(found, text)} (run `gsbench leaderboard`)")


def _render(board: Path, readme: Path) -> dict[Path, str]:
    tables = [(truth, make_rows(truth, entries)) for truth, entries in load_entries(board)]
    rendered = {board / "TABLE.md": f"# Leaderboard\n\n{markdown(tables)}", board / "table.csv": to_csv(tables)}
    rendered = {path: _with_ends_of(_read(path), text) for path, text in rendered.items()}
    page = _read(readme)
    if page is not None:
        rendered[readme] = _with_block(page, summary(tables, f"{board.name}/TABLE.md"), readme)
    return rendered


def _with_block(page: str, block: str, readme: Path) -> str:
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise InputError(f"{readme}: the block for the table is missing (must hold {START} and, below it, {END})")
    return before + _with_ends_of(page, f"{START}\n\n{block}\n{END}") + after


def _with_ends_of(page: str | None, text: str) -> str:
    """The text with lines that end as those of a page do: a checkout on Windows may have them end in CR LF."""
    return text.replace("\n", "\r\n") if page and "\r\n" in page else text


def _read(path: Path) -> str | None:
    return path.read_bytes().decode() if path.exists() else None  # its line ends as they are


def _first_difference(found: str | None, expected: str) -> str:
    if found is None:
        return "is missing"
    ours, theirs = found.split("\n"), expected.split("\n")
    line = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return f"line {line + 1} is {_line(ours, line)}, the entries give {_line(theirs, line)}"


def _line(lines: list[str], index: int) -> str:
    return repr(lines[index]) if index < len(lines) else "nothing"
