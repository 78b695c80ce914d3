"""The board's rows for programs and papers: CSV and JSON with all that tells them apart, LaTeX with a table a task."""

import csv
import io
import itertools
import json
from collections.abc import Callable

import numpy as np

from gsbench.board.cells import as_latex, describe_input, describe_origin, or_unknown
from gsbench.board.table import Row, unless_fp32
from gsbench.board.truth import Truth
from gsbench.core.tasks import UNKNOWN
from gsbench.store.audit import LEVELS

_PRETEXT = ("features", "sampling", "num_points", "num_views", "objects", "epochs", "precision")
"""What the CSV says of how an encoder learned."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell begins with that spreadsheets run, the wide forms of the signs among it."""


def to_csv(tables: list[tuple[Truth, list[Row]]]) -> str:
    """Every row of every data set with all that tells rows apart; shares in 0..1."""
    records = [_record(truth, row) for truth, rows in tables for row in rows]
    columns = dict.fromkeys(key for record in records for key in record)
    out = io.StringIO()
    if records:
        writer = csv.DictWriter(out, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in record.items()} for record in records)
    return out.getvalue()


def to_json(tables: list[tuple[Truth, list[Row]]]) -> str:
    """The rows of the CSV as a list of objects, numbers as numbers, what is not there as null."""
    records = (_record(truth, row) for truth, rows in tables for row in rows)
    plain = [{key: _value(key, value) for key, value in record.items()} for record in records]
    return json.dumps(plain, indent=1, allow_nan=False) + "\n"


def to_latex(tables: list[tuple[Truth, list[Row]]]) -> str:
    """A `table` environment for each task, for the package booktabs; rows by accuracy, the best one bold."""
    parts = ["% Made by `gsbench leaderboard --export`; needs the package booktabs."]
    for truth, rows in tables:
        tasks = itertools.groupby(rows, key=lambda row: (describe_input(row.first.task), row.first.task.regime))
        parts += [_latex_table(truth, list(of_task)) for _, of_task in tasks]
    return "\n\n".join(parts) + "\n"


FORMATS: dict[str, Callable[[list[tuple[Truth, list[Row]]]], str]] = {
    ".csv": to_csv,
    ".json": to_json,
    ".tex": to_latex,
}
"""A file's suffix -> what makes its text of the board's rows."""


_LATEX_HEAD = r"Model & Accuracy & 95\,\% interval & $n$ & Fewer & Behind from & Published \\"


def _latex_table(truth: Truth, rows: list[Row]) -> str:
    task = rows[0].first.task
    share = "" if task.regime is None else f", {task.regime} % of the labels"
    data = f"{truth.dataset} {truth.fingerprint[:8]}, {len(truth.labels)} test objects"
    caption = f"{data}: {describe_input(task)}{share}."
    if len(rows) > 1:
        caption += (
            " Fewer: how many objects fewer than the best row a row gets right. Behind from: a row that gets so many "
            "fewer right is behind the best row; with less it is tied with it. Published: on the paper's own data."
        )
    lines = [
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{as_latex(caption)}}}",
        r"  \begin{tabular}{lrrrrrr}",
        r"    \toprule",
        f"    {_LATEX_HEAD}",
        r"    \midrule",
        *(f"    {' & '.join(_latex_row(row))} \\\\" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _latex_row(row: Row) -> list[str]:
    mean, spread = row.metrics["accuracy"]
    accuracy = f"{100 * mean:.1f}" + ("" if spread is None else f" $\\pm$ {100 * spread:.1f}")
    reported = row.first.reported
    alone = row.standing in ("alone", "best")
    return [
        as_latex(row.first.model.title) + as_latex(unless_fp32(row)),
        f"\\textbf{{{accuracy}}}" if row.standing == "best" else accuracy,
        f"{100 * row.interval[0]:.1f}--{100 * row.interval[1]:.1f}",
        str(len(row.correct)),
        "--" if alone else f"{row.gap:.1f}",
        "--" if alone else f"{row.resolution:.1f}",
        f"{100 * reported.accuracy:.1f} ({as_latex(reported.dataset)})" if reported else "--",
    ]


_TEXTS = {
    *("model", "title", "dataset", "fingerprint", "split", "modality", "protocol", "features", "sampling"),
    *(
        "views_from",
        "cameras",
        "selection",
        "precision",
        "standing",
        "reported_dataset",
        "reported_source",
        "pretrained",
    ),
    *("recipe_sha256", "code_sha256", "trained", "pretext_features", "pretext_sampling", "pretext_precision"),
}
"""Columns of texts; those of the others that are no number are `unknown`."""


def _value(key: str, value: object) -> object:
    """A cell of the CSV as JSON has it."""
    if value == "":
        return None
    if not isinstance(value, str) or key in _TEXTS or value == UNKNOWN:
        return value
    return float(value) if "." in value else int(value)


def _record(truth: Truth, row: Row) -> dict[str, object]:
    task, model, run = row.first.task, row.first.model, row.first.run
    reported, pretext = row.first.reported, row.first.pretext
    described = {key: value for key, value in task.as_dict().items() if key not in ("revision", "draw")}
    described |= {key: or_unknown(described[key]) for key in task.unknown()}
    described["cameras"] = task.cameras if task.modality == "images" else None
    scores = {
        f"{key}_{part}": _share(value)
        for key, pair in row.metrics.items()
        for part, value in zip(("mean", "std"), pair, strict=True)
    }
    return {
        "model": model.name,
        "title": model.title,
        **{key: "" if value is None else value for key, value in described.items()},
        "test_objects": len(truth.labels),
        "train_objects": or_unknown(run.train_objects),
        "epochs": or_unknown(run.epochs),
        "selection": run.selection,
        "precision": run.precision,
        "draws": row.draws,
        "n": len(row.correct),
        **scores,
        **{f"accuracy_without_leaked_{level}": _share(row.without.get(level)) for level in LEVELS},
        "accuracy_without_disputed": _share(row.undisputed),
        "standard_error": f"{row.correct.mean(axis=0).std() / np.sqrt(len(truth.labels)):.6f}",
        "interval_low": f"{row.interval[0]:.6f}",
        "interval_high": f"{row.interval[1]:.6f}",
        "standing": row.standing,
        "adjusted_p_value_to_best": _share(row.p_value),
        "objects_fewer_than_best": "" if row.standing == "alone" else f"{row.gap:.3f}",
        "objects_fewer_to_be_behind": "" if row.standing in ("alone", "best") else f"{row.resolution:.3f}",
        "reported_accuracy": reported.accuracy if reported else "",
        "reported_in_interval": "" if reported is None else row.interval[0] <= reported.accuracy <= row.interval[1],
        "reported_dataset": reported.dataset if reported else "",
        "reported_source": reported.source if reported else "",
        "train_seconds": or_unknown(run.train_seconds),
        "num_params": or_unknown(model.num_params),
        "pretrained": model.pretrained or "",
        "recipe_sha256": model.recipe_sha256,
        "code_sha256": model.code_sha256 or "unknown",
        "trained": describe_origin(row.first.outside) if row.first.outside else "by gsbench",
        **{f"pretext_{key}": getattr(pretext, key) if pretext else "" for key in _PRETEXT},
        **{f"stated_{key}": f"{value:.6f}" for key, value in row.unverified.items()},
    }


def _cell(value: object) -> object:
    """A text of others with a quote before it where a spreadsheet would take it for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
