"""The board in short, for the README: a line a model and input, its accuracies side by side by the share of labels."""

import dataclasses

from tabulate import tabulate

from gsbench.board.table import (
    NONE,
    Row,
    as_cells,
    as_markdown,
    describe_data,
    describe_figure,
    describe_input,
    describe_labels,
    describe_pretext,
    percent,
)
from gsbench.board.truth import Truth
from gsbench.core.results import Result

_NOTES = (
    "Accuracy in per cent on the test objects, by the share of the training labels. A number alone is of one seed; "
    "where several seeds or draws of the labels ran, mean ± sample standard deviation and how many. *Published* is of "
    "all labels, unless it says otherwise. 95 % intervals, which rows can be told from the best one, class accuracy "
    "and the scores without leaked objects: the [whole table]({})."
)


def summary(tables: list[tuple[Truth, list[Row]]], whole: str) -> str:
    """A section a data set, as in the whole table, of which each line holds the rows that differ in labels alone.

    Args:
        tables: as `markdown` takes them.
        whole: link to the whole table.
    """
    if not tables:
        return "No entries yet.\n"
    return "\n".join([*(_section(truth, rows) for truth, rows in tables), _NOTES.format(whole), ""])


def _section(truth: Truth, rows: list[Row]) -> str:
    shares = {row.first.task.regime: describe_labels(truth, row) for row in rows}  # all draws have as many objects
    regimes = sorted(shares, reverse=True)
    lines: dict[str, dict[int, Row]] = {}
    for row in rows:
        lines.setdefault(_line(row.first), {})[row.first.task.regime] = row
    body = [
        {
            **_names(next(iter(by_regime.values())).first),
            **{shares[regime]: _accuracy(by_regime.get(regime)) for regime in regimes},
            "Published": _published(by_regime),
        }
        for by_regime in lines.values()
    ]
    table = tabulate(as_cells(body), headers="keys", tablefmt="github", disable_numparse=True)
    return f"### {as_markdown(truth.dataset)}\n\n{describe_data(truth)}\n\n{table}\n"


def _line(result: Result) -> str:
    """What the rows of a line share: all but the labels."""
    task = dataclasses.replace(result.task, regime=100, draw=0)
    return f"{task.slug()}/{result.model.name}/{result.pretext.slug() if result.pretext else ''}"


def _names(result: Result) -> dict[str, str]:
    """Model and input; an encoder of images is told from others by what it learnt from."""
    seen = describe_input(result.task)
    if result.task.modality == "images" and result.pretext is not None:
        seen = f"{seen}; learnt from {describe_pretext(result.pretext)}"
    return {"Model": f"{as_markdown(result.model.title)} `{result.model.name}`", "Input": seen}


def _accuracy(row: Row | None) -> str:
    if row is None:
        return NONE
    runs = len(row.correct)
    return percent(*row.metrics["accuracy"]) + (f" ({runs})" if runs > 1 else "")


def _published(by_regime: dict[int, Row]) -> str:
    """The published figure of the most labels that there is one of."""
    regime = max((regime for regime, row in by_regime.items() if row.first.reported), default=100)
    figure = as_markdown(describe_figure(by_regime[regime].first.reported)) if regime in by_regime else NONE
    return figure if regime == 100 else f"{figure}, {regime} % of the labels"
