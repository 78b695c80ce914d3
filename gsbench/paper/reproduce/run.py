"""Scores the cells of a published table on a data set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gsbench.board.entries import verify
from gsbench.core.baseline import code_sha256, find_recipe
from gsbench.core.metrics import mean_and_std
from gsbench.core.parsing import InputError
from gsbench.core.recipe import Recipe
from gsbench.core.results import Result, load_scored
from gsbench.core.tasks import Task
from gsbench.learn.evaluation import DEFAULT_POINTS, Callbacks, evaluate, make_task
from gsbench.paper.reproduce.data_facts import DataFacts
from gsbench.paper.reproduce.differences import differences
from gsbench.paper.reproduce.tables import Cell, Model, Table, Variant, load_table
from gsbench.store.folder import open_folder
from gsbench.store.load import resolve


@dataclass(frozen=True, slots=True)
class Line:
    """A cell of a published table beside ours.

    Attributes:
        number: of the cell in its table, from 1.
        cell: the published one.
        recipe: that ours was made by.
        dataset: that it was scored on.
        results: one a seed.
        lacks: why there are none, in words; None where there are some.
        comparable: whether that is made from the published data set; else there is no difference to speak of.
        differs: where ours differs from the published one, or that does not say enough, a clause each.
    """

    number: int
    cell: Cell
    recipe: Recipe
    dataset: str
    results: tuple[Result, ...]
    lacks: str | None
    comparable: bool
    differs: tuple[str, ...]

    @property
    def difference(self) -> float | None:
        """The mean of ours minus the published figure; None where one of them is missing or they do not compare."""
        if self.lacks is not None or self.cell.published is None or not self.comparable:
            return None
        return mean_and_std(self.values)[0] - self.cell.published

    @property
    def values(self) -> list[float]:
        """The cell's metric, one a result."""
        assert self.cell.metric is not None, "a table fills in its cells' metric"
        if self.cell.metric == "accuracy":
            return [result.metrics["accuracy"] for result in self.results]
        return [result.pretext.metrics[self.cell.metric] for result in self.results if result.pretext]


@dataclass(frozen=True, slots=True)
class Settings:
    """How the cells of a table are scored.

    Attributes:
        variant: how much of the published training.
        seeds: one result each.
        out: folder of Result files; those that are there already are taken, if this code made them.
        checkpoints: folder from which an interrupted run goes on, and where encoders are kept and found, or None.
        device: where to run.
        num_points: points or Gaussians an object; None is the published number for `full`, else 1024, or the most that
            there are.
        pretext_views: images an object that encoders learn from; None is all.
        found_only: whether cells without Result files are left empty, and nothing is trained.
    """

    variant: Variant
    seeds: Sequence[int]
    out: Path | None
    checkpoints: Path | None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_points: int | None = None
    pretext_views: int | None = None
    found_only: bool = False

    def points(self, model: Model, recipe: Recipe, facts: DataFacts, modality: Literal["points", "gaussians"]) -> int:
        """Points or Gaussians an object that a run takes: as many as wanted, or the most that there are."""
        published = model.published.num_points if self.variant == "full" else None
        opaque = recipe.points.min_opacity if modality == "gaussians" else 0.0
        return min(self.num_points or published or DEFAULT_POINTS, facts.points(modality, opaque))


def reproduce(
    table: str,
    data: str | Path,
    settings: Settings,
    cells: Sequence[int] | None = None,
    extras: bool = False,
    callbacks: Callable[[int, int, Cell], Callbacks] | None = None,
) -> list[Line]:
    """Scores a published table again on a data set.

    Args:
        table: one of `TABLES`.
        data: as `gsbench.evaluate` takes it.
        settings: the runs.
        cells: numbers of the cells wanted, from 1; None is all that are published.
        extras: whether None also means those that are not.
        callbacks: gives those of a cell, by how many cells are done, how many there are, and the cell.

    Returns:
        The cells wanted, in the order of the table.

    Raises:
        InputError: no such table, cell or data set, a Result in `out` that its predictions or the data's labels do not
            bear out, or as `gsbench.evaluate`. What the data set lacks is said in the line of its cell and raises
            nothing.
    """
    published = load_table(table)
    every = [number for number, cell in enumerate(published.cells, 1) if extras or cell.published is not None]
    numbers = every if cells is None else sorted(set(cells))
    for number in numbers:
        if not 1 <= number <= len(published.cells):
            raise InputError(f"cells: no cell {number} in {table} (allowed: 1 to {len(published.cells)})")
    facts = DataFacts(open_folder(resolve(data)))
    lines: dict[int, Line] = {}
    # Most views first: the features of fewer come with them.
    for number in sorted(numbers, key=lambda number: -(published.cells[number - 1].num_views or 0)):
        for_cell = callbacks(len(lines), len(numbers), published.cells[number - 1]) if callbacks else Callbacks()
        lines[number] = _line(published, number, facts, settings, for_cell)
    return [lines[number] for number in numbers]


def _line(table: Table, number: int, facts: DataFacts, settings: Settings, callbacks: Callbacks) -> Line:
    cell = table.cells[number - 1]
    model = table.models[cell.model]
    recipe, path = find_recipe(model.recipe(settings.variant, facts.has_published_sh(cell, table.data)))
    lacks = facts.lacks(cell, pairs=recipe.supervision == "pairs")
    results: list[Result] = []
    code = code_sha256(recipe, path)
    if lacks is None:
        points = settings.points(model, recipe, facts, "points" if cell.modality == "points" else "gaussians")
        results = _score(_Run(cell, recipe, code, points), facts, settings, callbacks)
        lacks = _missing(cell, results)
    differs = differences(table, cell, recipe, facts, settings.variant, results)
    kept = tuple(results if lacks is None else ())
    others = sum(result.model.code_sha256 != code for result in kept)
    by_others = (f"{others} of {len(kept)} results by other code than this gsbench's",) if others else ()
    return Line(number, cell, recipe, facts.name, kept, lacks, facts.is_of(table.data), (*differs, *by_others))


def _missing(cell: Cell, results: Sequence[Result]) -> str | None:
    """What a cell's Results do not have, in words."""
    if not results:
        return "not run"
    if cell.metric != "accuracy" and any(
        result.pretext is None or cell.metric not in result.pretext.metrics for result in results
    ):
        return "the Result file has no pretext scores"
    return None


@dataclass(frozen=True, slots=True)
class _Run:
    """What is run for a cell: by which recipe and code, on how many points or Gaussians an object."""

    cell: Cell
    recipe: Recipe
    code: str
    points: int

    def task(self, facts: DataFacts) -> Task:
        """What is scored."""
        cell = self.cell
        assert cell.modality is not None, "a table fills in its cells' modality"
        assert cell.protocol is not None, "a table fills in its cells' protocol"
        count = cell.num_views if cell.modality == "images" else self.points
        shape = (cell.features, cell.sampling, count, cell.views_from, cell.cameras, cell.protocol)
        return make_task(facts.folder, cell.modality, cell.regime, 0, *shape)


def _score(run: _Run, facts: DataFacts, settings: Settings, callbacks: Callbacks) -> list[Result]:
    """The Results of a cell, one a seed: those in `out`, and the others by `evaluate`."""
    cell, task = run.cell, run.task(facts)
    images, pairs = cell.modality == "images", run.recipe.supervision == "pairs"
    results = []
    for seed in settings.seeds:
        found = _find(run, task, seed, facts, settings, callbacks)
        if found is None and not settings.found_only:
            (found,) = evaluate(
                run.recipe.name,
                facts.folder.path,
                modality=cell.modality,
                regime=cell.regime,
                features=cell.features if pairs or not images else None,
                sampling=cell.sampling if pairs or not images else None,
                num_points=run.points if pairs or not images else None,
                num_views=cell.num_views if images else None,
                views_from=cell.views_from if images else None,
                cameras=cell.cameras if images else None,
                protocol=cell.protocol,
                pretext_views=settings.pretext_views if pairs else None,
                seeds=(seed,),
                device=settings.device,
                out=settings.out,
                checkpoints=settings.checkpoints,
                callbacks=callbacks,
            )
        if found is not None:
            results.append(found)
    return results


def _find(
    run: _Run, task: Task, seed: int, facts: DataFacts, settings: Settings, callbacks: Callbacks
) -> Result | None:
    """A Result of this very run below `out`, its metrics recomputed: of several, the one whose encoder learned from the
    most images. One by other code is taken only where nothing may be trained, and then said to be."""
    if settings.out is None:
        return None
    digest, found = run.recipe.sha256(), []
    for path in sorted(settings.out.rglob("*.json")):
        if task.slug() not in str(path.relative_to(settings.out)):
            continue
        result, probabilities = load_scored(path)
        same = result.task == task and (result.model.recipe_sha256, result.run.seed) == (digest, seed)
        if same and _same_pretext(result, run, settings.pretext_views):
            verify(result, probabilities, facts.truth, str(path))
            found.append((path, result))
    ours = [result for _, result in found if result.model.code_sha256 == run.code]
    if found and not ours and not settings.found_only and callbacks.note:
        callbacks.note(f"{found[0][0]} is by other code than this gsbench's, and stays; scored anew.")
    taken = ours or [result for _, result in found if settings.found_only]
    return max(taken, key=lambda result: result.pretext.num_views if result.pretext else 0, default=None)


def _same_pretext(result: Result, run: _Run, views: int | None) -> bool:
    pretext = result.pretext
    if pretext is None:
        return run.recipe.supervision != "pairs"
    shape = (pretext.features, pretext.sampling, pretext.num_points)
    return shape == (run.cell.features, run.cell.sampling, run.points) and views in (None, pretext.num_views)
