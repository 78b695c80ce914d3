"""An entry's row in the form of others: the Hub's `.eval_results/*.yaml`, which model pages show."""

import re
from collections.abc import Sequence

import numpy as np

from gsbench.board.cells import or_unknown
from gsbench.board.entries import correct_objects
from gsbench.board.truth import Truth
from gsbench.core.metrics import accuracy_interval, mean_and_std
from gsbench.core.parsing import InputError, check_link, shown
from gsbench.core.results import Result

_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def eval_results(runs: Sequence[Result], truth: Truth, repo: str, source: str | None = None) -> str:
    """The runs of a row as one evaluation result: a YAML document for `.eval_results/` of a model's repository.

    The value is the mean accuracy in per cent; runs, spread and interval stand in the notes, as there is one value.

    Args:
        runs: an entry, and other seeds and draws of its row.
        truth: the labels.
        repo: the data set's repository on the Hub, ORG/NAME.
        source: a link to where the result stands; None where there is none.

    Raises:
        InputError: no such name or link.
        CheckError: a run that does not hold.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml  # takes .3 s
    from huggingface_hub.utils import yaml_dump

    if not _REPO.fullmatch(repo):
        raise InputError(f"--repo is {shown(repo)} (must be ORG/NAME, the data set's repository)")
    if source is not None:
        check_link("--source", source)
    correct = np.stack([correct_objects(run, truth) for run in runs])
    task = runs[0].task
    entry = EvalResultEntry(
        dataset_id=repo,
        task_id=task_id(runs[0]),
        value=round(100 * float(correct.mean()), 4),
        dataset_revision=task.revision if _COMMIT.fullmatch(task.revision) else None,
        source_url=source,
        source_name="gsbench board" if source else None,
        notes=_notes(runs, truth, accuracy_interval(correct)),
    )
    return yaml_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)


def task_id(result: Result) -> str:
    """The task within the data set, its draws together: a row of the Hub has one value a task."""
    inside = result.task.slug().partition(f"@{result.task.fingerprint[:8]}-")[2]
    return inside.rpartition("d")[0]


def _notes(runs: Sequence[Result], truth: Truth, interval: tuple[float, float]) -> str:
    spread = mean_and_std([run.metrics["accuracy"] for run in runs])[1]
    seeds = ", ".join(f"{or_unknown(run.run.seed)}{_draw(run)}" for run in runs)
    told = [
        f"accuracy in per cent on {len(truth.labels)} test objects of fingerprint {truth.fingerprint[:8]}",
        f"seed {seeds}",
        *([] if spread is None else [f"standard deviation over runs {100 * spread:.2f}"]),
        f"95 % interval {100 * interval[0]:.1f} to {100 * interval[1]:.1f}",
        *(["trained elsewhere, nobody has checked how"] if runs[0].outside else []),
    ]
    return "; ".join(told)


def _draw(run: Result) -> str:
    return "" if run.task.regime in (100, None) else f" (draw {run.task.draw})"
