"""The published tables as data, scored again on any data set, with where the two differ and why."""

from gsbench.paper.reproduce.run import How, Line, reproduce
from gsbench.paper.reproduce.tables import FIGURE, TABLES, VARIANTS, Cell, Table, Variant, load_table
from gsbench.paper.reproduce.text import as_markdown, as_record

__all__ = [
    "FIGURE",
    "TABLES",
    "VARIANTS",
    "Cell",
    "How",
    "Line",
    "Table",
    "Variant",
    "as_markdown",
    "as_record",
    "load_table",
    "reproduce",
]
