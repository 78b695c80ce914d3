"""The board's tables: rows of entries that differ only in seed and draw, and their Markdown."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Bool

from gsbench.board.cells import (
    NONE,
    accuracy_without,
    as_markdown,
    compact_table,
    describe_data,
    describe_figure,
    describe_input,
    describe_origin,
    describe_pretext,
    leak_columns,
    or_unknown,
    percent,
)
from gsbench.board.entries import Entry, check_one_recipe
from gsbench.board.errors import disputed_objects
from gsbench.board.truth import Truth
from gsbench.core.metrics import FLIPS, accuracy_interval, compare_with_best, mean_and_std
from gsbench.core.parsing import LINK
from gsbench.core.provenance import Outside
from gsbench.core.recipe import Reported
from gsbench.core.results import Result
from gsbench.core.tasks import UNKNOWN, Task, describe_share
from gsbench.core.types import Array
from gsbench.store.audit import Level

SIGNIFICANT = 0.05
"""Rows whose adjusted p-value is at least this are tied with the best one."""

"""As what a leaked test object is in the training set as well."""


_NOTES = (
    "Accuracy and class accuracy in per cent: mean over the n runs (seeds, and draws of the labels), ± their sample "
    "standard deviation where there are several. The 95 % interval is a bootstrap over the test objects. The last "
    "epoch is scored, and networks were trained in fp32, unless the column of epochs says otherwise. Columns that "
    "begin with *No* give the accuracy on so many test objects: those without such a twin in the whole training split, "
    "however many of its labels are used."
)

_NOTES_ON_STANDING = (
    "Within a task (one data set, input and share of the labels), *best* is the row of the highest accuracy. A row is "
    "*behind* where its difference to the best one exceeds the 95 % point of the largest difference between any two "
    "rows of the task that chance makes of equally good models (each in units of its own standard error; {flips:,} "
    "random flips of the objects' signs): some row is then called behind in about 5 % of such tasks, however many rows "
    "they have. Else it is *tied*: not told apart, which is not the same as equal. The test objects are the sample, "
    "and a row counts on each by the mean over its runs: this is about these trained models and other such objects. "
    "About other seeds it says nothing; where a row is of one seed, another may change its place."
)

_NOTES_ON_DRAWS = (
    "*Over draws* is the accuracy over other ways to sample the test objects' points, mean ± standard deviation. A run "
    "states it; its predictions are of the first draw, and all other columns follow from those."
)

_NOTES_ON_PRETEXT = (
    "Rows of a *probe* are a linear support-vector machine on the frozen features of an encoder that learned without "
    "labels; rows of *finetune* trained that encoder further. Epochs and training objects are those with labels."
)

_NOTES_ON_OUTSIDE = (
    "A row *trained elsewhere* is of predictions that were handed in, one of *features from elsewhere* of features "
    "that were, and of the probe that was fitted to them here. Every figure is recomputed; how the model was trained "
    "nobody here has checked. What its authors did not say is *unknown*."
)


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one task, over its seeds and draws.

    Attributes:
        first: one of the row's Results, without predictions, for all that they share.
        draws: how many draws of the regime the runs cover.
        correct: `[r n]` which run got which test object right.
        metrics: metric -> mean and sample standard deviation over the runs.
        without: level -> mean accuracy on the test objects that have not leaked at that level.
        unverified: what the runs state and predictions do not give, pretext scores too -> mean over the runs.
        interval: 95 % interval of the mean accuracy, over objects.
        standing: in its task: `alone`, `best`, `tied` with the best one, or `behind` it.
        p_value: of the difference to the best row, adjusted over all pairs of rows of the task; None where there is
            nothing to compare.
        gap: objects fewer than the best row of the task gets right, in the mean over runs.
        resolution: how large that gap would have to be for the row to be behind.
        undisputed: mean accuracy on the objects whose labels are not disputed; None where that is not known.
    """

    first: Result
    draws: int
    correct: Bool[Array, "r n"]
    metrics: dict[str, tuple[float, float | None]]
    without: dict[Level, float]
    unverified: dict[str, float]
    interval: tuple[float, float]
    standing: Literal["alone", "best", "tied", "behind"] = "alone"
    p_value: float | None = None
    gap: float = 0.0
    resolution: float = 0.0
    undisputed: float | None = None


def make_rows(truth: Truth, entries: list[Entry]) -> list[Row]:
    """The rows of one data set: task by task, tasks by what the model sees and by label share, rows by accuracy.

    Raises:
        CheckError: entries of one row that were made in different ways.
    """
    tasks: dict[Task, dict[tuple[str, str], list[Entry]]] = {}
    for entry in sorted(entries, key=lambda entry: (_order(entry.result.task), str(entry.path))):
        by_model = tasks.setdefault(dataclasses.replace(_any_draw(entry.result.task), revision="any"), {})
        learned_from = entry.result.pretext.slug() if entry.result.pretext else ""
        by_model.setdefault((entry.result.model.name, learned_from), []).append(entry)
    rows = [row for by_model in tasks.values() for row in _rank([_row(truth, group) for group in by_model.values()])]
    if (disputed := _disputed(rows)) is None or disputed.all():
        return rows
    return [dataclasses.replace(row, undisputed=float(row.correct[:, ~disputed].mean())) for row in rows]


def _disputed(rows: list[Row]) -> Bool[Array, " n"] | None:
    """The disputed objects of a data set, by its rows with all labels."""
    return disputed_objects([row.correct for row in rows if row.first.task.regime == 100])


def _any_draw(task: Task) -> Task:
    return dataclasses.replace(task, draw=0)


def _order(task: Task) -> tuple[object, ...]:
    """By what the model sees, counts as numbers, and then the largest share of the labels first."""
    shape = (task.features or "", task.sampling or "", task.views_from or "", task.cameras)
    count = task.num_points or task.num_views or 0
    return task.modality, task.protocol != "supervised", task.protocol, shape, count, -(task.regime or 0), task.draw


def _row(truth: Truth, entries: list[Entry]) -> Row:
    results = [entry.result for entry in entries]
    check_one_recipe([(entry.path, entry.result) for entry in entries])
    correct = np.stack([entry.correct for entry in entries])
    metrics = {key: mean_and_std([result.metrics[key] for result in results]) for key in results[0].metrics}
    draws = len({result.task.draw for result in results})
    without, interval = accuracy_without(truth, correct), accuracy_interval(correct)
    return Row(results[0], draws, correct, metrics, without, unverified_means(results), interval)


def unverified_means(results: Sequence[Result]) -> dict[str, float]:
    """The means of what all runs state and predictions do not give, scores of pretext tasks among them."""
    runs = [result.stated | (result.pretext.metrics if result.pretext else {}) for result in results]
    keys = [key for key in runs[0] if all(key in run for run in runs)]
    return {key: mean_and_std([run[key] for run in runs])[0] for key in keys}


def unverified_score(stated: dict[str, float], key: str) -> str | None:
    """`86.2 ± 0.5`, a score over draws of the points; `86.2` where there is one draw; None where it is not stated."""
    drawn = f"{key}_over_draws"
    if drawn in stated:
        return percent(stated[drawn], stated[f"{drawn}_std"])
    return f"{100 * stated[key]:.1f}" if key in stated else None


def _rank(rows: list[Row]) -> list[Row]:
    rows = sorted(rows, key=lambda row: (-row.correct.mean(), row.first.model.name, row.first.file_name()))
    if len(rows) == 1:
        return rows
    best, (p_values, resolution) = rows[0].correct, compare_with_best([row.correct for row in rows])
    return [
        dataclasses.replace(rows[0], standing="best"),
        *map(partial(_against, best), rows[1:], p_values[1:].tolist(), resolution[1:].tolist()),
    ]


def _against(best: Bool[Array, "r n"], row: Row, p_value: float, resolution: float) -> Row:
    gap = float(best.mean(axis=0).sum() - row.correct.mean(axis=0).sum())
    standing: Literal["tied", "behind"] = "tied" if p_value >= SIGNIFICANT else "behind"
    return dataclasses.replace(row, standing=standing, p_value=p_value, gap=gap, resolution=resolution)


def markdown(tables: list[tuple[Truth, list[Row]]]) -> str:
    """A section a data set, each with its own heading and table, so that no score stands under other data."""
    if not tables:
        return "No entries yet.\n"
    sections = [_section(truth, rows) for truth, rows in tables]
    notes = [_NOTES]
    if any(_over_draws(rows) for _, rows in tables):
        notes.append(_NOTES_ON_DRAWS)
    if any(_learns_from_pairs(rows) for _, rows in tables):
        notes.append(_NOTES_ON_PRETEXT)
    if any(row.first.outside for _, rows in tables for row in rows):
        notes.append(_NOTES_ON_OUTSIDE)
    standing = _NOTES_ON_STANDING.format(flips=FLIPS)
    return "\n".join([*sections, " ".join(notes), "", standing, ""])


def _origin(outside: Outside | None) -> str:
    """That a model was trained elsewhere, and where it is described."""
    if outside is None:
        return ""
    links = {"paper": outside.paper, "code": outside.code}
    told = "".join(f", [{name}]({link})" for name, link in links.items() if link)
    return f" ({describe_origin(outside)}{told})"


def _over_draws(rows: list[Row]) -> bool:
    return any("accuracy_over_draws" in row.unverified for row in rows)


def _learns_from_pairs(rows: list[Row]) -> bool:
    return any(row.first.pretext for row in rows)


def _section(truth: Truth, rows: list[Row]) -> str:
    tasks: dict[str, list[Row]] = {}
    for row in rows:
        tasks.setdefault(f"{describe_input(row.first.task)}, {describe_labels(truth, row)}", []).append(row)
    pairs, draws = _learns_from_pairs(rows), _over_draws(rows)
    tables = "".join(f"\n#### {task}\n\n{_table(truth, of_task, pairs, draws)}\n" for task, of_task in tasks.items())
    return f"### {as_markdown(truth.dataset)}\n\n{describe_data(truth)}{_describe_disputed(truth, rows)}\n{tables}"


def _describe_disputed(truth: Truth, rows: list[Row]) -> str:
    if (disputed := _disputed(rows)) is None or not disputed.any():
        return ""
    ids = [f"`{object_id}`" for object_id, doubted in zip(truth.labels, disputed, strict=True) if doubted]
    return (
        f"\n\nDisputed labels: the {len(ids)} objects that three quarters of the better half of the rows with all "
        "labels get wrong. *No disputed* leaves them out, and tells what they take from a score. It is no score to "
        f"compare by, since the models chose them: {', '.join(ids)}."
    )


def _table(truth: Truth, rows: list[Row], pairs: bool, draws: bool) -> str:
    """The rows of one task, the best first."""
    body = [
        {
            "Model": f"{as_markdown(row.first.model.title)} `{row.first.model.name}`{_origin(row.first.outside)}",
            **({"Learned before from": describe_pretext(row.first.pretext)} if pairs else {}),
            "Accuracy": percent(*row.metrics["accuracy"]),
            "Class acc.": percent(*row.metrics["class_accuracy"]),
            **({"Over draws": _draws(row)} if draws else {}),
            **leak_columns(truth, row.without),
            **({} if row.undisputed is None else {"No disputed": f"{100 * row.undisputed:.1f}"}),
            "n": f"{len(row.correct)}{_drawn(row)}",
            "95 % interval": " to ".join(f"{100 * bound:.1f}" for bound in row.interval),
            "In its task": _standing(row),
            "Published": _published(row.first.reported),
            "Epochs": or_unknown(row.first.run.epochs) + unless_fp32(row) + _unless_last(row.first.run.selection),
            "Train objects": or_unknown(row.first.run.train_objects),
        }
        for row in rows
    ]
    return compact_table(body)


def _published(reported: Reported | None) -> str:
    if reported is None:
        return NONE
    link = LINK.fullmatch(reported.source)
    source = f"[source]({reported.source})" if link else as_markdown(reported.source)
    return f"{as_markdown(describe_figure(reported))} ({source})"


def describe_labels(truth: Truth, row: Row) -> str:
    """The share of the labels that a row was trained on, and how many objects that are, in a table's words."""
    return describe_share(row.first.task.regime, row.first.run.train_objects, truth.train_objects(100))


def _drawn(row: Row) -> str:
    """Which draw of the labels, or how many of them, the runs cover."""
    if row.first.task.regime in (100, None):
        return ""
    return f", draw {row.first.task.draw}" if row.draws == 1 else f", {row.draws} draws"


def _standing(row: Row) -> str:
    """The row's place in its task. That the best has one run is said with it: its place may be that seed's."""
    if row.standing == "best":
        return "best" if len(row.correct) > 1 else "best, of one seed"
    return f"{row.standing}, {_fewer(row.gap)}" if row.gap else row.standing


def _fewer(objects: float) -> str:
    """`1 object fewer`, `2.5 objects fewer`: than the best row gets right."""
    count = f"{objects:.1f}".removesuffix(".0")
    return f"{count} object{'' if count == '1' else 's'} fewer"


def _draws(row: Row) -> str:
    score = unverified_score(row.unverified, "accuracy")
    return NONE if score is None else f"{score} ({row.unverified['sampling_draws']:.0f})"


def unless_fp32(row: Row) -> str:
    """In which arithmetic the row's networks were trained, where that is not single precision."""
    pretext = row.first.pretext
    used = {row.first.run.precision, pretext.precision if pretext and pretext.epochs else "fp32"} - {"fp32", UNKNOWN}
    return f", {' and '.join(sorted(used))}" if used else ""


def _unless_last(selection: str) -> str:
    return "" if selection in ("last", UNKNOWN) else f", selected on {selection}"
