"""The board as a static site: pages that open from disk or from any web server, and ask no other host for anything."""

import base64
import hashlib
import importlib.resources
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from jaxtyping import Bool
from markupsafe import Markup

from gsbench.board.cells import accuracy_without, as_latex, describe_input, describe_pretext, or_unknown
from gsbench.board.commits import Standing
from gsbench.board.entries import Entry, correct_objects, load_entries, row_of
from gsbench.board.errors import Errors, errors, missed_by_rows
from gsbench.board.exports import FORMATS
from gsbench.board.rerun import was_rerun
from gsbench.board.table import Row, describe_labels, make_rows, unless_fp32
from gsbench.board.truth import Truth
from gsbench.core.files import temporary_folder
from gsbench.core.metrics import mean_and_std
from gsbench.core.parsing import InputError
from gsbench.core.results import Result, load_result
from gsbench.core.types import Array
from gsbench.store.audit import Level

MARKER = "gsbench-site"
"""A file in every site; a folder that holds other things and not this one is not written over."""

_WITHOUT: dict[Level, str] = {
    "files": "the same file in training",
    "surfaces": "the same surface",
    "near": "near duplicates",
}


def write_site(board: Path, folder: Path, provenance: Mapping[Path, Standing] | None = None) -> int:
    """Renders a board as pages: all rows, any two compared, and one for each entry.

    Args:
        board: the board's folder.
        folder: the site's, which is replaced as a whole once all pages are written.
        provenance: what is known of the code of entries, by path, see `gsbench.board.commits`.

    Returns:
        The number of pages.

    Raises:
        InputError: a board that does not hold, or a folder that holds other things than a site.
        OSError: the folder cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file (must be a folder: new, empty, or a site that was written before)")
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARKER).is_file())):
        raise InputError(f"{folder}: holds other things (must be new, empty, or a site that was written before)")
    datasets = [_gather(truth, entries) for truth, entries in load_entries(board)]
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = temporary_folder(folder.parent)
    try:
        count = _write_pages(datasets, board, made, provenance or {})
        made.chmod(0o755)
        old = folder.exists()
        if old:
            aside = temporary_folder(folder.parent)
            folder.rename(aside / "old")
        made.rename(folder)
        if old:
            shutil.rmtree(aside)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return count


@dataclass(frozen=True, slots=True)
class _DataSet:
    """A data set's labels, its rows, and the entries of each row in the order of its runs."""

    truth: Truth
    rows: list[Row]
    paths: list[list[Path]]


def _write_pages(datasets: list[_DataSet], board: Path, folder: Path, provenance: Mapping[Path, Standing]) -> int:
    pages = Pages()
    rows: list[dict[str, object]] = []
    answers: list[list[str]] = []
    entries = 0
    for number, each in enumerate(datasets):
        for row, paths in zip(each.rows, each.paths, strict=True):
            known = sorted({_provenance(board, path, provenance) for path in paths})
            rows.append(_row(len(rows), number, each.truth, row, _page_of(board, paths[0]), " and ".join(known)))
            answers.append([_bits(run) for run in row.correct])
        entries += _write_entries(pages, each, board, folder, provenance)
    about = [_describe(each) for each in datasets]
    table = {"datasets": about, "rows": rows}
    index = pages.render("index.html", "gsbench board", "board.js", table, rows=len(rows), datasets=len(datasets))
    compared = {
        "datasets": [{**known, **_labels(each.truth)} for known, each in zip(about, datasets, strict=True)],
        "rows": [{**row, "correct": answer} for row, answer in zip(rows, answers, strict=True)],
    }
    comparison = pages.render("compare.html", "Compare two rows", "compare.js", compared)
    tables = [(each.truth, each.rows) for each in datasets]
    for suffix, write in FORMATS.items():
        (folder / f"table{suffix}").write_text(write(tables), "utf-8")
    (folder / "index.html").write_text(index, "utf-8")
    (folder / "compare.html").write_text(comparison, "utf-8")
    (folder / MARKER).write_text("written by `gsbench leaderboard --site`, which replaces this folder as a whole\n")
    return 2 + entries


def _write_entries(
    pages: "Pages", data: _DataSet, board: Path, folder: Path, provenance: Mapping[Path, Standing]
) -> int:
    """Writes a page for each entry of a data set; returns how many."""
    missed, count = missed_by_rows(row.correct for row in data.rows)
    for row, paths in zip(data.rows, data.paths, strict=True):
        own, _ = missed_by_rows([row.correct])
        results = [load_result(path) for path in paths]
        links = [(_run_name(result), _page_of(board, path)) for result, path in zip(results, paths, strict=True)]
        for result, path in zip(results, paths, strict=True):
            page = folder / _page_of(board, path)
            page.parent.mkdir(parents=True, exist_ok=True)
            found = errors(result, data.truth, missed - own, count - 1)
            known = _provenance(board, path, provenance)
            siblings = [link for link in links if link[1] != _page_of(board, path)]
            page.write_text(_entry(pages, data.truth, row, result, found, path, siblings, known), "utf-8")
    return sum(map(len, data.paths))


class Pages:
    """The templates, which escape every text that they are given, and the policy under which browsers show them."""

    def __init__(self) -> None:
        self.source = importlib.resources.files("gsbench.board") / "pages"
        self.style = self._read("style.css")
        loader = jinja2.FunctionLoader(self._read)
        self.environment = jinja2.Environment(
            loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
        )

    def _read(self, name: str) -> str:
        return (self.source / name).read_text("utf-8")

    def render(self, template: str, title: str, script: str | None, data: object = None, **values: Any) -> str:
        """A page that may run this one script, shows this one style, and loads nothing."""
        allowed = [
            f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src {_digest(self.style)}"
        ]
        if script is not None:
            code = self._read(script)
            allowed.append(f"script-src {_digest(code)}")
            values |= {"data": data, "script": Markup(code)}
        style = Markup(self.style)
        return self.environment.get_template(template).render(
            title=title, style=style, policy="; ".join(allowed), **values
        )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _gather(truth: Truth, entries: list[Entry]) -> _DataSet:
    groups: dict[tuple[str, str, str], list[Path]] = {}
    for entry in sorted(entries, key=lambda entry: (-(entry.result.task.regime or 0), str(entry.path))):
        groups.setdefault(row_of(entry.result), []).append(entry.path)
    rows = make_rows(truth, entries)
    return _DataSet(truth, rows, [groups[row_of(row.first)] for row in rows])


def _page_of(board: Path, path: Path) -> str:
    """Where an entry's page stands in the site."""
    return path.relative_to(board).with_suffix(".html").as_posix()


def _run_name(result: Result) -> str:
    draw = f", draw {result.task.draw}" if result.task.regime not in (100, None) else ""
    return f"seed {or_unknown(result.run.seed)}{draw}"


def _provenance(board: Path, path: Path, known: Mapping[Path, Standing]) -> str:
    if was_rerun(board, path):
        return "rerun"
    return "recipe" if known.get(path) == "match" else "self-reported"


def _describe(data: _DataSet) -> dict[str, object]:
    truth = data.truth
    about = f"{truth.description} {len(truth.labels)} test objects, fingerprint {truth.fingerprint[:8]}."
    return {"name": truth.dataset, "description": about, "rows": len(data.rows)}


def _labels(truth: Truth) -> dict[str, object]:
    return {"ids": list(truth.labels), "labels": truth.indices().tolist(), "classes": list(truth.classes)}


def _bits(correct: Bool[Array, " n"]) -> str:
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def _row(number: int, dataset: int, truth: Truth, row: Row, page: str, provenance: str) -> dict[str, object]:
    task, model = row.first.task, row.first.model
    mean, spread = row.metrics["accuracy"]
    per_object = row.correct.mean(axis=0)
    return {
        "id": number,
        "dataset": dataset,
        "name": model.name,
        "title": model.title,
        "input": describe_input(task),
        "learned": describe_pretext(row.first.pretext) if row.first.pretext else "",
        "modality": task.modality,
        "protocol": task.protocol,
        "regime": task.regime,
        "labels": describe_labels(truth, row),
        "accuracy": mean,
        "spread": spread,
        "error": float(per_object.std() / np.sqrt(len(per_object))),
        "low": row.interval[0],
        "high": row.interval[1],
        "n": len(row.correct),
        "standing": row.standing,
        "gap": row.gap,
        "resolution": row.resolution,
        "without": {level: row.without[level] for level in _WITHOUT if level in row.without}
        | ({} if row.undisputed is None else {"disputed": row.undisputed}),
        "published": row.first.reported.accuracy if row.first.reported else None,
        "seconds": _seconds(row.first),
        "parameters": model.num_params,
        "provenance": provenance,
        "precision": unless_fp32(row).removeprefix(", "),
        "page": page,
    }


def _seconds(result: Result) -> float | None:
    """Of all training; None where it is unknown."""
    if result.run.train_seconds is None:
        return None
    return result.run.train_seconds + (result.pretext.train_seconds if result.pretext else 0)


def _entry(
    pages: Pages,
    truth: Truth,
    row: Row,
    result: Result,
    found: Errors,
    path: Path,
    siblings: list[tuple[str, str]],
    provenance: str,
) -> str:
    without = accuracy_without(truth, correct_objects(result, truth)[None])
    levels = [(_WITHOUT[level], score) for level, score in without.items() if truth.leaked.get(level)]
    return pages.render(
        "entry.html",
        f"{result.model.title} on {truth.dataset}",
        None,
        root="../../",
        or_unknown=or_unknown,
        result=result,
        found=found,
        matrix=found.confusion.tolist(),
        objects=len(truth.labels),
        without=levels,
        input=describe_input(result.task),
        labels=describe_labels(truth, row),
        pretext=describe_pretext(result.pretext),
        siblings=siblings,
        file=f"{path.parent.name}/{path.name}",
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        provenance=provenance,
        stated=[(key, f"{value:.4g}") for key, value in sorted(result.stated.items())],
        bibtex=_bibtex(result),
    )


def _bibtex(result: Result) -> str:
    """A reference to an entry, told from others by the hash of its predictions."""
    key = hashlib.sha256(repr(sorted(result.predictions.items())).encode()).hexdigest()[:8]
    title = as_latex(result.model.title)
    accuracy = 100 * mean_and_std([result.metrics["accuracy"]])[0]
    return (
        f"@misc{{gsbench-{key},\n  title = {{{title} on {as_latex(result.task.dataset)}}},\n"
        f"  howpublished = {{gsbench board, {as_latex(result.task.slug())}, "
        f"seed {or_unknown(result.run.seed)}}},\n"
        f"  note = {{accuracy {accuracy:.1f}, predictions {key}}}\n}}"
    )
