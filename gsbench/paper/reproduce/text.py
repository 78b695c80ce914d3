"""A reproduced table as Markdown, and as a record for programs."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gsbench.board.cells import NONE, compact_table, percent
from gsbench.board.table import unverified_means, unverified_score
from gsbench.core.metrics import mean_and_std
from gsbench.paper.reproduce.run import Line
from gsbench.paper.reproduce.tables import DISTANCES, SOURCE, Table, Variant

_MINUS = "\N{MINUS SIGN}"


def as_markdown(table: Table, lines: Sequence[Line], variant: Variant) -> str:
    """A heading, a row a cell, and below them where the two differ, a line for all cells that differ alike."""
    shares = not any(line.cell.metric in DISTANCES for line in lines)
    scored = [line for line in lines if line.lacks is None]
    body = compact_table([_row(table, line, variant) for line in scored or lines])
    unit = "Per cent, differences in percentage points. " if shares else ""
    ours = "Ours is the mean over n seeds, ± sample standard deviation where n > 1, of the last epoch."
    notes = f"{unit}{ours} Published: {SOURCE}."
    data = " and ".join(dict.fromkeys(line.dataset for line in lines))
    number = table.name.replace("table", "Table ")
    heading = f"### {number}, published on {table.data.name}, ours on {data}: {table.title}"
    lacking = _lacking(lines) if scored else []
    return "\n".join(
        [heading, "", body, "", *lacking, notes, "", "Where the two differ:", "", *_reasons(scored or lines)]
    )


def _lacking(lines: Sequence[Line]) -> list[str]:
    """A line for the cells without a score, by their reasons, and an empty one."""
    reasons: dict[str, list[int]] = {}
    for line in lines:
        if line.lacks is not None:
            reasons.setdefault(line.lacks, []).append(line.number)
    found = [f"{_ranges(numbers)} ({reason})" for reason, numbers in reasons.items()]
    return [f"Cells without a score: {', '.join(found)}.", ""] if found else []


def _row(table: Table, line: Line, variant: Variant) -> dict[str, str]:
    published, ours = _published(line), _ours(line)
    shortened = "" if variant == "full" else f"{variant}: "
    cells = {
        "#": str(line.number),
        **dict(zip(table.headings, line.cell.row, strict=True)),
        "Published": published,
        "Ours": ours,
        "Difference": _difference(line),
        "n": str(len(line.results)),
        "Beside it": "; ".join(_beside(line)) or NONE,
        "Our run": f"{shortened}`{line.recipe.name}` on {line.dataset}",
    }
    return {key: " ".join(value.split()).replace("|", "\\|") for key, value in cells.items()}


def _published(line: Line) -> str:
    if line.cell.published is None:
        return NONE
    return f"{line.cell.published:.2f}" if line.cell.metric in DISTANCES else f"{100 * line.cell.published:.1f}"


def _ours(line: Line) -> str:
    if line.lacks is not None:
        return f"{NONE} ({line.lacks})"
    mean, spread = mean_and_std(line.values)
    if line.cell.metric in DISTANCES:
        return f"{mean:.2f}" + ("" if spread is None else f" ± {spread:.2f}")
    return percent(mean, spread)


def _beside(line: Line) -> Iterator[str]:
    """What tells how much a figure means: means over the seeds."""
    stated = unverified_means(line.results) if line.results else {}
    metric = line.cell.metric
    if metric == "cross_modality_accuracy":
        yield from _interval(stated, "{:.1f}", 100, metric)
        yield from _mean(stated, "balanced {:.1f}", 100, "cross_modality_balanced")
    elif metric in DISTANCES:
        yield from _interval(stated, "{:.2f}", 1, metric)
        yield from _mean(stated, "ratio {:.2f}", 1, "mpd_ratio")
        yield from _mean(stated, "AUC {:.1f}", 100, "mpd_auc")
    else:
        draws = f"{stated['sampling_draws']:.0f} draws of points: " if "sampling_draws" in stated else ""
        words = {"accuracy": draws, "knn_accuracy": "kNN ", "retrieval_map": "mAP "}
        scores = {before: unverified_score(stated, key) for key, before in words.items()}
        yield from (before + score for before, score in scores.items() if score is not None)
        yield from _mean(stated, "renders of {:.1f} dB", 1, "psnr")


def _interval(stated: Mapping[str, float], words: str, unit: float, metric: str) -> Iterator[str]:
    """The ends of a pretext score's 95 % interval."""
    ends = (_mean(stated, words, unit, f"{metric}_{end}") for end in ("low", "high"))
    yield from (f"95 %: {low} to {high}" for low, high in zip(*ends, strict=True))


def _mean(stated: Mapping[str, float], words: str, unit: float, key: str) -> Iterator[str]:
    """A stated mean in words, if there is one."""
    if key in stated:
        yield words.format(unit * stated[key])


def _difference(line: Line) -> str:
    if line.difference is None:
        return NONE
    words = f"{line.difference:+.2f}" if line.cell.metric in DISTANCES else f"{100 * line.difference:+.1f}"
    return words.replace("-", _MINUS)


def _reasons(lines: Sequence[Line]) -> list[str]:
    """What all cells share, and a line for each set of other differences, with the numbers of its cells."""
    shared = [what for what in lines[0].differs if len(lines) > 1 and all(what in line.differs for line in lines)]
    alike: dict[tuple[str, ...], list[int]] = {}
    for line in lines:
        if own := tuple(what for what in line.differs if what not in shared):
            alike.setdefault(own, []).append(line.number)
    each = [f"- {_ranges(numbers)}: {'; '.join(differs)}." for differs, numbers in alike.items()]
    return [f"- All: {'; '.join(shared)}.", *each] if shared else each


def _ranges(numbers: Iterable[int]) -> str:
    """`1-3, 7` of 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def as_record(table: Table, lines: Sequence[Line], variant: Variant) -> dict[str, Any]:
    """The table for programs: shares in 0..1, every cell with its runs."""
    return {
        "table": table.name,
        "title": table.title,
        "variant": variant,
        "source": SOURCE,
        "cells": [_record(table, line) for line in lines],
    }


def _record(table: Table, line: Line) -> dict[str, Any]:
    cell = dataclasses.asdict(line.cell)
    mean, spread = mean_and_std(line.values) if line.lacks is None else (None, None)
    return {
        "number": line.number,
        "row": dict(zip(table.headings, line.cell.row, strict=True)),
        "task": {key: cell[key] for key in ("modality", "protocol", "features", "sampling", "regime")}
        | {key: cell[key] for key in ("num_views", "views_from", "cameras")},
        "metric": line.cell.metric,
        "published": line.cell.published,
        "mean": mean,
        "std": spread,
        "difference": line.difference,
        "comparable": line.comparable,
        "recipe": line.recipe.name,
        "dataset": line.dataset,
        "lacks": line.lacks,
        "differs": list(line.differs),
        "seeds": [result.run.seed for result in line.results],
        "values": line.values if line.lacks is None else [],
        "pretext": [dataclasses.asdict(result.pretext) for result in line.results if result.pretext],
        "stated": [result.stated for result in line.results],
    }
