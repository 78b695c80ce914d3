"""The board's rows as CSV, with all that tells them apart."""

import csv
import io

from gsbench.board.cells import describe_origin, or_unknown
from gsbench.board.table import Row
from gsbench.board.truth import Truth
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
        "interval_low": f"{row.interval[0]:.6f}",
        "interval_high": f"{row.interval[1]:.6f}",
        "standing": row.standing,
        "adjusted_p_value_to_best": _share(row.p_value),
        "objects_fewer_than_best": "" if row.standing == "alone" else f"{row.gap:.3f}",
        "reported_accuracy": reported.accuracy if reported else "",
        "reported_dataset": reported.dataset if reported else "",
        "reported_source": reported.source if reported else "",
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
