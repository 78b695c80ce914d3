"""What a submission got: its row as it stands in its task, and what was checked of it."""

from collections.abc import Sequence

from gsbench.board.cells import describe_input, describe_origin, percent
from gsbench.board.entries import row_of
from gsbench.board.submission import Receipt
from gsbench.board.table import Row, describe_labels
from gsbench.board.truth import Truth

_CHECKED = (
    "Checked: the objects and their labels, against the data set's; every probability; every metric, recomputed from "
    "them; the place in the task, by the board's own test{}. "
)
_NOT_CHECKED = "Not checked: how the model was trained, on what, and what else is said of it."
_OF_OURS = "Not checked: times, memory, device, versions and scores beside the metrics, which predictions do not give."


def receipt_text(receipt: Receipt, dry_run: bool) -> str:
    """The rows with their tie groups, and what was checked, in lines."""
    blocks = [_task_text(truth, rows, receipt) for truth, rows in receipt.tasks]
    own = [row for _, rows in receipt.tasks for row in rows if row_of(row.first) in receipt.own]
    ours = all(row.first.outside is None for row in own)
    end = "Nothing was written." if dry_run or not receipt.written else ""
    passed = not receipt.reviewed and not receipt.findings
    twins = "; that no other entry says nearly the same; that the score is not beyond all here" if passed else ""
    return "\n".join([*blocks, _CHECKED.format(twins) + (_OF_OURS if ours else _NOT_CHECKED), *([end] if end else [])])


def _task_text(truth: Truth, rows: Sequence[Row], receipt: Receipt) -> str:
    group = [row for row in rows if row.standing != "behind"]
    own = [row for row in rows if row_of(row.first) in receipt.own]
    shown = [*group, *(row for row in own if row not in group)] if len(rows) > 1 else list(rows)
    head = f"{truth.dataset} {truth.fingerprint[:8]}, {describe_input(rows[0].first.task)}, "
    head += f"{describe_labels(truth, rows[0])} of the labels: {len(rows)} row{'s' * (len(rows) != 1)}"
    told = "alone in its task" if len(rows) == 1 else f"the best, and {len(group) - 1} not told apart from it"
    lines = [f"{head}, {told}"]
    for row in shown:
        mark = ">" if row in own else " "
        low, high = (f"{100 * bound:.1f}" for bound in row.interval)
        lines.append(
            f"{mark} {rows.index(row) + 1:2d}. {percent(*row.metrics['accuracy'])} ({low} to {high})  "
            f"{row.first.model.name}, n = {len(row.correct)}, {_place(row)}{_from(row)}"
        )
    return "\n".join(lines)


def _place(row: Row) -> str:
    if row.standing in ("alone", "best"):
        return row.standing
    return f"{row.standing}, {row.gap:.1f} objects fewer than the best (behind from {row.resolution:.1f} on)"


def _from(row: Row) -> str:
    return f"; {describe_origin(row.first.outside)}" if row.first.outside else ""
