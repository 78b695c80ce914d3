"""Types of command-line values; their errors say what is allowed."""

import argparse
from pathlib import Path


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed (must be a whole number of at least 1)")
    return int(text)


def seed_list(text: str) -> tuple[int, ...]:
    """Distinct whole numbers in 0..2^32-1, with commas between them: `0,1,2`."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) < 2**32 for word in words) or len(set(map(int, words))) < len(words):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of seeds (must be distinct whole numbers, like 0,1,2)")
    return tuple(map(int, words))


def two_counts(text: str) -> tuple[int, int]:
    """Two whole numbers of at least 1, with a comma between them: `40,10`."""
    words = [word.strip() for word in text.split(",")]
    if len(words) != 2 or not all(word.isdecimal() and int(word) >= 1 for word in words):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed (must be two whole numbers of at least 1, like 40,10)"
        )
    return int(words[0]), int(words[1])


def cell_list(text: str) -> tuple[int, ...]:
    """Numbers of at least 1, and ranges of them, with commas between: `1,4-6`."""
    numbers: set[int] = set()
    for word in text.split(","):
        first, dash, last = (part.strip() for part in word.partition("-"))
        ends = (first, last) if dash else (first, first)
        if not all(end.isdecimal() and int(end) >= 1 for end in ends) or int(ends[0]) > int(ends[1]):
            raise argparse.ArgumentTypeError(f"{text!r} is no list of cells (must be numbers and ranges, like 1,4-6)")
        numbers.update(range(int(ends[0]), int(ends[1]) + 1))
    return tuple(sorted(numbers))


WIDTHS = {"column": 3.25, "text": 6.75}
"""Inches of a column and of the text of a page, in the styles of the field's conferences."""


def figure_width(text: str) -> float:
    """The width of a figure in inches: a number, `column` or `text`."""
    try:
        width = WIDTHS.get(text) or float(text)
    except ValueError:
        width = 0.0
    if not 1 <= width <= 50:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed (must be 1 to 50 inches, {' or '.join(WIDTHS)})")
    return width


def mesh_folder(text: str) -> Path:
    """A folder of meshes; the names of data sets mean those everywhere."""
    from gsbench.store.folder import NAMES

    if text in NAMES:
        raise argparse.ArgumentTypeError(f"{text} is a data set, not meshes (a folder of that name here is ./{text})")
    return Path(text)
