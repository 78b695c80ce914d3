"""The cells of the board's tables: what was scored in a few words, and text as Markdown takes it."""

import re

from jaxtyping import Bool

from gsbench.board.truth import Truth
from gsbench.core.provenance import Outside
from gsbench.core.recipe import Reported
from gsbench.core.results import Pretext
from gsbench.core.tasks import UNKNOWN, Task
from gsbench.core.types import Array
from gsbench.store.audit import LEVELS, Level

NONE = "–"  # noqa: RUF001 -- an en dash, as tables write "nothing here"

_MARKUP = re.compile(r"[&<>*`~$\[\]\\]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^(?:[#+=-]|[0-9]+(?=[.)] ))")

TWINS: dict[Level, str] = {"files": "the same file", "surfaces": "the same surface", "near": "a near duplicate"}


def compact_table(lines: list[dict[str, str]]) -> str:
    """A table of Markdown whose columns are as wide as their texts, not as the widest of them."""
    cells = as_cells(lines)
    rows = [list(cells[0]), ["---"] * len(cells[0]), *(list(line.values()) for line in cells)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def as_cells(lines: list[dict[str, str]]) -> list[dict[str, str]]:
    """Lines of a table with nothing in them that Markdown would take for a cell's end."""
    return [{key: " ".join(cell.split()).replace("|", "\\|") for key, cell in line.items()} for line in lines]


def as_markdown(text: str) -> str:
    """A text of others as Markdown that shows it as it is: what would be markup or HTML stands as entities."""
    return _MARKUP.sub(lambda found: "".join(f"&#{ord(character)};" for character in found[0]), text)


_LATEX = str.maketrans(
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}"}
)


def as_latex(text: str) -> str:
    """A text of others in one line, which LaTeX then shows and does not run."""
    return " ".join(text.split()).translate(_LATEX)


def describe_data(truth: Truth) -> str:
    """What scores were made on, and what of it is known to have leaked, in sentences of Markdown."""
    about = f"{as_markdown(truth.description)} {len(truth.labels)} test objects, fingerprint `{truth.fingerprint[:8]}`."
    whose = "" if truth.is_known() else " The labels are as they were submitted."
    return about + whose + _leaks(truth)


def percent(mean: float, spread: float | None) -> str:
    """`93.1 ± 0.4`, or `93.1` of a single run, which has no spread."""
    return f"{100 * mean:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")


def describe_input(task: Task) -> str:
    """What the model sees, in a table's words."""
    if task.modality == "images":
        plural = "" if task.num_views == 1 else "s"
        cameras = {"train": "", "novel": ", novel", UNKNOWN: ", cameras unknown"}[task.cameras]
        seen = f"{or_unknown(task.num_views)} image{plural} of {task.views_from}{cameras}"
    else:
        features = f" {task.features}" if task.modality == "gaussians" else ""
        seen = f"{or_unknown(task.num_points)} {task.modality}{features}, {task.sampling}"
    if {"views_from", "num_views"} <= set(task.unknown()) or {"sampling", "num_points"} <= set(task.unknown()):
        features = f" {task.features}" if task.features not in (None, UNKNOWN) else ""
        seen = f"{task.modality}{features}, how many is unknown"
    protocol = "protocol unknown" if task.protocol == UNKNOWN else task.protocol
    return seen if task.protocol == "supervised" else f"{seen}, {protocol}"


def or_unknown(value: object) -> str:
    """A value of a table, or that nobody has said it."""
    return UNKNOWN if value is None else str(value)


def describe_pretext(pretext: Pretext | None) -> str:
    """What an encoder learned from without labels, in a table's words."""
    if pretext is None:
        return NONE
    gaussians = f"{pretext.num_points} Gaussians {pretext.features}, {pretext.sampling}"
    return f"{gaussians}, and {pretext.num_views} images of {pretext.objects} objects, {pretext.epochs} epochs"


def describe_origin(outside: Outside) -> str:
    """Where a model that gsbench did not train comes from, in a table's words."""
    return "trained elsewhere" if outside.kind == "predictions" else "features from elsewhere"


def describe_figure(reported: Reported | None) -> str:
    """A published figure with the data it was scored on, or a dash."""
    return NONE if reported is None else f"{100 * reported.accuracy:.1f} on {reported.dataset}"


def leaked_levels(truth: Truth) -> list[Level]:
    return [level for level in LEVELS if truth.leaked.get(level)]


def _leaks(truth: Truth) -> str:
    """What is known of the data set's leaks, as a sentence with a space before it."""
    if not truth.leaked:
        return " Whether test objects are in the training set as well has not been looked at."
    found = [f"{len(truth.leaked[level])} as {TWINS[level]}" for level in leaked_levels(truth)]
    if not found:
        looked = ", ".join(TWINS[level] for level in LEVELS if level in truth.leaked)
        return f" No test object is in the training set as well (looked for: {looked})."
    return f" In the training set as well: {', '.join(found)} (each counts the ones before it)."


def accuracy_without(truth: Truth, correct: Bool[Array, "r n"]) -> dict[Level, float]:
    """Level -> mean accuracy of `r` runs on the test objects that have not leaked at that level, where that is known.

    Args:
        truth: of the data set.
        correct: whether each run got each object right, in the order of the truth's labels.
    """
    return {level: float(correct[:, truth.kept(level)].mean()) for level in LEVELS if level in truth.leaked}


def leak_columns(truth: Truth, without: dict[Level, float]) -> dict[str, str]:
    """What `accuracy_without` gives as cells of a table; a level without leaks has none."""
    columns = {}
    for level in leaked_levels(truth):
        left = len(truth.labels) - len(truth.leaked[level])
        columns[f"No {TWINS[level].partition(' ')[2]} ({left})"] = f"{100 * without[level]:.1f}"
    return columns
