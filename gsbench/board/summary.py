"""The board in brief, for the README: for each data set and input the rows of the highest accuracy."""

from typing import get_args

from gsbench.board.cells import (
    NONE,
    as_markdown,
    compact_table,
    describe_figure,
    describe_input,
    describe_origin,
    describe_pretext,
    percent,
)
from gsbench.board.table import Row, describe_labels
from gsbench.board.truth import Truth
from gsbench.core.results import Result
from gsbench.core.tasks import UNKNOWN, Modality

MOST = 3
"""Rows of a data set and input."""

_NOTES = (
    "Accuracy in per cent on the test objects, by the share of the training labels; without ± it is of one seed. "
    "*Published* is what a paper reports on its own data. Intervals, ties, and scores without leaked objects: the "
    "[whole table]({})."
)


def summary(tables: list[tuple[Truth, list[Row]]], whole: str) -> str:
    """A table for each data set: of each input the best rows, the first of them in bold.

    Args:
        tables: as `markdown` takes them.
        whole: link to the whole table.
    """
    if not tables:
        return "No entries yet.\n"
    return "\n\n".join([*(_section(truth, rows) for truth, rows in tables), _NOTES.format(whole)]) + "\n"


def _section(truth: Truth, rows: list[Row]) -> str:
    blocks = [_best(rows, modality) for modality in get_args(Modality)]
    shown_rows = [row for block in blocks for line in block for row in line.values()]
    shares = {
        row.first.task.regime or 0: describe_labels(truth, row) for row in shown_rows
    }  # all draws have as many objects
    regimes = sorted(shares, reverse=True)
    body = [
        {
            "Model": _model(next(iter(line.values())).first),
            "Input": describe_input(next(iter(line.values())).first.task),
            **{shares[regime]: _accuracy(line.get(regime), bold=place == 0) for regime in regimes},
            "Published": _published(line),
        }
        for block in blocks
        for place, line in enumerate(block)
    ]
    shown = f"**{as_markdown(truth.dataset)}** `{truth.fingerprint[:8]}`, {len(truth.labels)} test objects"
    count = len({_line(row.first) for row in rows})
    more = f", the best {MOST} of each input among {count}" if count > len(body) else ""
    return f"{shown}{more}:\n\n{compact_table(body)}"


def _best(rows: list[Row], modality: Modality) -> list[dict[int, Row]]:
    """The best rows of an input, those that differ in labels alone together, by the share of the labels."""
    lines: dict[tuple[object, ...], dict[int, Row]] = {}
    for row in rows:
        if row.first.task.modality == modality:
            lines.setdefault(_line(row.first), {})[row.first.task.regime or 0] = row
    return sorted(lines.values(), key=_rank)[:MOST]


def _line(result: Result) -> tuple[object, ...]:
    """What the rows of a line share: all but the labels."""
    return describe_input(result.task), result.model.name, result.pretext.slug() if result.pretext else ""


def _rank(by_regime: dict[int, Row]) -> tuple[float, ...]:
    """By accuracy, that of most labels first."""
    regime = max(by_regime)
    return -regime, -by_regime[regime].metrics["accuracy"][0]


def _model(result: Result) -> str:
    """An encoder of images is told from others by what it learned from; another arithmetic than fp32 is said."""
    learned = result.task.modality == "images" and result.pretext is not None
    more = f"; learned from {describe_pretext(result.pretext)}" if learned else ""
    arithmetic = "" if result.precision in ("fp32", UNKNOWN) else f"; trained in {result.precision}"
    arithmetic += f"; {describe_origin(result.outside)}" if result.outside else ""
    return f"{as_markdown(result.model.title)} `{result.model.name}`{more}{arithmetic}"


def _accuracy(row: Row | None, bold: bool) -> str:
    if row is None:
        return NONE
    runs = len(row.correct)
    text = percent(*row.metrics["accuracy"]) + (f" ({runs})" if runs > 1 else "")
    return f"**{text}**" if bold else text


def _published(by_regime: dict[int, Row]) -> str:
    """The published figure of the most labels that there is one of."""
    regime = max((regime for regime, row in by_regime.items() if row.first.reported), default=100)
    figure = as_markdown(describe_figure(by_regime[regime].first.reported)) if regime in by_regime else NONE
    return figure if regime == 100 else f"{figure}, {regime} % of the labels"
