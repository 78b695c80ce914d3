"""A wrong value of a table, and the first of many."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from gsbench.types import Array


class Finding(NamedTuple):
    """A row of the table and a column of it that are wrong, and how."""

    row: int
    column: str
    what: str


def first_row(bad: Bool[Array, " b"], column: str, what: str) -> Iterator[Finding]:
    """Yields the first row that is bad, if one is."""
    if bad.any():
        yield Finding(int(bad.argmax()), column, what)


def first_value(
    values: tuple[Array, Int64[Array, " b_plus_1"]], is_bad: Callable[[Array], Array], column: str, what: str
) -> Iterator[Finding]:
    """Yields the row of the first value of `ragged`'s that is bad, if one is."""
    flat, offsets = values
    bad = is_bad(flat)
    if bad.any():
        yield Finding(int(np.searchsorted(offsets, bad.argmax(), side="right")) - 1, column, what)
