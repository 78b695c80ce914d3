"""Where our figure and a published one differ, derived from the recipe, the manifest and the Results."""

from collections.abc import Iterator, Sequence
from typing import Any

from gsbench.core.recipe import Recipe
from gsbench.core.results import Result
from gsbench.paper.reproduce.data_facts import DataFacts
from gsbench.paper.reproduce.tables import Cell, PublishedData, PublishedTraining, Table, Variant

_UNKNOWN = "unknown"


def differences(
    table: Table, cell: Cell, recipe: Recipe, facts: DataFacts, variant: Variant, results: Sequence[Result]
) -> tuple[str, ...]:
    """Clauses that say where ours differs, the heaviest first, and what the published figure does not say.

    Args:
        table: that the cell is of.
        cell: the published figure.
        recipe: that ours is made by.
        facts: the data set.
        variant: how much of the published training ours takes.
        results: of the cell, none where there are none yet.
    """
    model = table.models[cell.model]
    training = model.published
    pairs = recipe.supervision == "pairs"
    if cell.published is None:
        return (*_of_data(table.data, facts), *_our_run(cell, recipe, results), "nothing is published")
    hides = ", and ".join((*cell.hides, *table.hides))
    clauses = [*_of_data(table.data, facts)]
    if variant == "smoke":
        clauses.append("a smoke run: far from the published training")
    clauses += [*_of_training(training, recipe), *_of_precision(results), *_of_points(cell, results)]
    if pairs or cell.modality == "gaussians":
        clauses += _of_gaussians(table.data, training, facts, results)
        if cell.features == "xyz+geo+sh" and recipe.name != model.full_sh:
            clauses += _of_harmonics(training, facts)
    if pairs or cell.modality == "images":
        clauses += _of_images(table.data, training, recipe, facts, results)
    return (*clauses, f"the published figure hides {hides}")


def _of_data(published: PublishedData, facts: DataFacts) -> Iterator[str]:
    train, test = facts.objects("train"), facts.objects("test")
    if not facts.is_of(published):
        yield f"{facts.name} ({train:,} training, {test:,} test objects) is no {published.name}: they do not compare"
    elif (train, test) != (published.train, published.test):
        yield f"{train:,} training and {test:,} test objects, published {published.train:,} and {published.test:,}"


def _our_run(cell: Cell, recipe: Recipe, results: Sequence[Result]) -> Iterator[str]:
    """What is to be known of a run that stands beside nothing."""
    yield _many(_epochs(recipe), "epoch")
    yield from _of_precision(results)
    if recipe.supervision == "pairs" or cell.modality == "images":
        yield f"images of {recipe.images.size} pixels"
    if views := _pretext_views(results):
        yield f"learned from {min(views)} views an object"
    if cell.protocol == "finetune" and recipe.finetune is not None:
        yield f"then {_many(recipe.finetune.epochs, 'epoch')} of fine-tuning"


def _epochs(recipe: Recipe) -> int:
    return sum(how.epochs for how in (*recipe.pretraining, recipe.train))


def _of_training(published: PublishedTraining, recipe: Recipe) -> Iterator[str]:
    epochs = _epochs(recipe)
    if epochs != published.epochs:
        yield f"{_many(epochs, 'epoch')}, published {published.epochs or _UNKNOWN}"
    how = recipe.train
    for ours, theirs, what in (
        (how.optimizer, published.optimizer, ""),
        (how.batch_size, published.batch_size, "batches of "),
        (recipe.points.min_opacity, published.min_opacity, "Gaussians of opacity from "),
    ):
        if theirs is not None and ours != theirs:
            yield f"{what}{ours}, published {theirs}"


def _of_precision(results: Sequence[Result]) -> Iterator[str]:
    """Which machine trained decides it, where the recipe leaves it open."""
    found = {result.precision for result in results} - {"fp32"}
    yield from (f"trained in {precision}" for precision in sorted(found))


def _of_points(cell: Cell, results: Sequence[Result]) -> Iterator[str]:
    """Surface points that a network saw, of which the source says nothing."""
    if cell.modality == "points" and results:
        yield f"{results[0].task.num_points:,} points an object, published {_UNKNOWN}"


def _of_gaussians(
    data: PublishedData, published: PublishedTraining, facts: DataFacts, results: Sequence[Result]
) -> Iterator[str]:
    manifest = facts.folder.manifest
    fit: dict[str, Any] = manifest.recipe.get("fit", {})
    if "gaussians" in manifest.counts:
        quality = f" at {manifest.quality['psnr']:.1f} dB" if "psnr" in manifest.quality else ""
        by = f" by the fit '{fit['method']}'" if "method" in fit else ""
        most = facts.points("gaussians")
        yield f"objects of {most:,} Gaussians{by}{quality}, published {data.gaussians:,} by {data.fit}"
    seen = {_points_of(result) for result in results} - {None}
    if published.num_points is not None and seen and seen != {published.num_points}:
        yield f"{min(filter(None, seen)):,} of them reach the network, published {published.num_points:,}"


def _of_harmonics(published: PublishedTraining, facts: DataFacts) -> Iterator[str]:
    ours = 3 * facts.folder.manifest.sh_coefficients
    if published.sh_channels not in (None, ours):
        yield f"{ours} numbers of spherical harmonics, published {published.sh_channels}"


def _points_of(result: Result) -> int | None:
    return result.pretext.num_points if result.pretext else result.task.num_points


def _of_images(
    data: PublishedData, published: PublishedTraining, recipe: Recipe, facts: DataFacts, results: Sequence[Result]
) -> Iterator[str]:
    if published.image_size != recipe.images.size:
        yield f"images of {recipe.images.size} pixels, published {published.image_size or _UNKNOWN}"
    store: dict[str, Any] = facts.folder.manifest.recipe.get("store", {})
    if store.get("view_size", data.image_size) != data.image_size:
        yield f"drawn at {store['view_size']} pixels, published {data.image_size}"
    views = _pretext_views(results)
    if published.pretext_views is not None and views and views != {published.pretext_views}:
        yield f"learned from {min(views)} views an object, published {published.pretext_views}"
    if published.epochs is None and recipe.supervision == "labels":
        yield f"starts from {recipe.pretrained or 'random weights'}"


def _pretext_views(results: Sequence[Result]) -> set[int]:
    return {result.pretext.num_views for result in results if result.pretext}


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
