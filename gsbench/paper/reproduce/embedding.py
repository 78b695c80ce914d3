"""Figure 7 on any data set: features of images from more and more views beside those of the Gaussians."""

import dataclasses
import tempfile
from pathlib import Path

from torch import nn

from gsbench.core.baseline import find_recipe
from gsbench.core.parsing import InputError
from gsbench.core.recipe import Recipe
from gsbench.core.results import Result
from gsbench.core.tasks import Task
from gsbench.learn.checkpoints import CONFIG, Checkpoint, from_pretrained, load_checkpoint
from gsbench.learn.data import Objects, open_objects
from gsbench.learn.evaluation import Callbacks, evaluate
from gsbench.learn.evaluation.cached import without_labels
from gsbench.learn.evaluation.embedding import Embedded, embed_once
from gsbench.learn.evaluation.machine import choose_device
from gsbench.learn.evaluation.pretext import features_folder
from gsbench.paper.figures.drawing import Panel, draw_embedding
from gsbench.paper.figures.sheet import Sheet, require
from gsbench.paper.reproduce.data_facts import DataFacts
from gsbench.paper.reproduce.run import Settings
from gsbench.paper.reproduce.tables import load_models
from gsbench.store.folder import Folder, open_folder
from gsbench.store.load import resolve

VIEWS = (1, 4, 64)
"""Numbers of views of the published panels."""

_MODEL = "F_p"


def draw_figure7(
    data: str | Path, settings: Settings, encoder: str | Path | None = None, callbacks: Callbacks | None = None
) -> Sheet:
    """t-SNE of test objects' features: of images from 1, 4 and 64 views, or the most there are, and of Gaussians.

    Args:
        data: as `gsbench.evaluate` takes it.
        settings: the encoder's run, and where; of several seeds, the first.
        encoder: folder of a checkpoint, or its `ORG/NAME` on the Hub; or a recipe of pairs, whose encoder is found in
            `settings.checkpoints` or trained; None is the variant of F_p.
        callbacks: called while the run goes on.

    Raises:
        InputError: no such data set, checkpoint or recipe, or one that learns from no pairs; a data set without images
            or Gaussians; or a package that the figure needs is not installed.
    """
    require("matplotlib", "openTSNE")
    facts, callbacks = DataFacts(open_folder(resolve(data))), callbacks or Callbacks()
    place = choose_device(settings.device)
    for config in ("views", "gaussians"):
        facts.folder.manifest.schema(config)  # one that is not there is named
    with tempfile.TemporaryDirectory() as unkept:
        if encoder is not None and _is_checkpoint(str(encoder)):
            (net, about), kept = from_pretrained(encoder), Path(unkept)
            if about.recipe.supervision != "pairs" or len(about.tasks) != 2:
                raise InputError(f"{encoder}: of {about.recipe.name}, no encoder of pairs (figure7 needs one)")
        else:
            net, about, kept = _trained(
                facts, settings, str(encoder or ""), settings.checkpoints or Path(unkept), callbacks
            )
        return _draw(facts, net.to(place), about, kept, callbacks)


def _is_checkpoint(encoder: str) -> bool:
    """Whether the words name a checkpoint, here or on the Hub, rather than a recipe."""
    return Path(encoder).is_dir() or ("/" in encoder and not encoder.partition(":")[0].endswith(".toml"))


def _trained(
    facts: DataFacts, settings: Settings, encoder: str, checkpoints: Path, callbacks: Callbacks
) -> tuple[nn.Module, Checkpoint, Path]:
    """A recipe's encoder, from `checkpoints` or trained into it, and where its features are kept there."""
    published = load_models().models[_MODEL]
    name = encoder or published.recipe(settings.variant)
    recipe, path = find_recipe(name)
    if recipe.supervision != "pairs":
        raise InputError(f"{path}: supervision is {recipe.supervision} (figure7 needs an encoder of pairs)")
    (result,) = evaluate(
        name,
        facts.folder.path,
        modality="gaussians",
        protocol="probe",
        num_points=settings.points(published, recipe, facts, "gaussians"),
        pretext_views=settings.pretext_views,
        seeds=settings.seeds[:1],
        device=settings.device,
        checkpoints=checkpoints,
        callbacks=callbacks,
    )
    for config in sorted(checkpoints.glob(f"*-pretext-*/{CONFIG}")):
        if _is_of(load_checkpoint(config.parent), recipe, result):
            return *from_pretrained(config.parent, name), features_folder(config.parent)
    raise AssertionError(f"{checkpoints}: evaluate keeps an encoder that it trained")


def _is_of(checkpoint: Checkpoint, recipe: Recipe, result: Result) -> bool:
    """Whether a checkpoint is of the encoder behind a recipe's Result."""
    assert result.pretext is not None, "a Result of pairs says what its encoder learned from"
    points, images = checkpoint.tasks
    task, pretext = result.task, result.pretext
    ours = (points.fingerprint, points.features, points.sampling, points.num_points, images.num_views)
    theirs = (task.fingerprint, pretext.features, pretext.sampling, pretext.num_points, pretext.num_views)
    if checkpoint.code_sha256 != result.model.code_sha256:
        return False
    same_recipe = without_labels(checkpoint.recipe).sha256() == without_labels(recipe).sha256()
    return ours == theirs and same_recipe and checkpoint.seed == result.run.seed


def _draw(facts: DataFacts, net: nn.Module, about: Checkpoint, kept: Path, callbacks: Callbacks) -> Sheet:
    (points, images), folder = about.tasks, facts.folder
    most = facts.views("meshes", "train")
    counts = list(dict.fromkeys(min(count, most) for count in VIEWS))
    manifest = folder.manifest
    here = {"dataset": manifest.name, "revision": manifest.version, "fingerprint": manifest.fingerprint()}

    place, images_how, least = next(net.parameters()).device, about.recipe.images, about.recipe.points.min_opacity

    def embedded(task: Task) -> Embedded:
        def read() -> Objects:
            return open_objects(folder, task, "test", images_how, callbacks.reading, least).to(place)

        return embed_once(folder, net, kept, "test", task, read, progress=callbacks.extracting)

    # From the most views on: those of fewer come with them.
    by_count = {count: embedded(_seen(images, here, count)) for count in reversed(counts)}
    of_points = embedded(_seen(points, here, None))
    panels = [Panel(f"images, {n} view{'' if n == 1 else 's'}", by_count[n].features) for n in counts]
    panels.append(Panel(f"{points.num_points:,} {points.modality.capitalize()}", of_points.features))
    return draw_embedding(panels, of_points.labels, manifest.classes, _describe(folder, about, most))


def _seen(task: Task, here: dict[str, str], views: int | None) -> Task:
    """The task of a checkpoint on this data set, with another number of views."""
    task = dataclasses.replace(task, **here)  # type: ignore[arg-type]
    return task if views is None else dataclasses.replace(task, num_views=views)


def _describe(folder: Folder, about: Checkpoint, most: int) -> str:
    """Data and encoder in words."""
    manifest, points = folder.manifest, about.tasks[0]
    learned = "" if points.fingerprint == manifest.fingerprint() else f" on {points.dataset} {points.revision}"
    epochs = f"{about.epochs} epoch{'' if about.epochs == 1 else 's'}"
    fewer = f" The data has {most} views an object, the published figure shows {VIEWS[-1]}." if most < VIEWS[-1] else ""
    return (
        f"{manifest.name} {manifest.version} ({manifest.fingerprint()[:8]}); encoder {about.recipe.name}, "
        f"trained{learned} without labels for {epochs}, seed {about.seed}, from images of {about.recipe.images.size} "
        f"pixels and Gaussians' {points.features}.{fewer}"
    )
