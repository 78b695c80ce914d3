"""Figure 7 on any data set: features of images from more and more views beside those of the Gaussians."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Literal

from torch import nn

from gsbench.baseline import find_recipe
from gsbench.checkpoints import CONFIG, Checkpoint, from_pretrained, load_checkpoint
from gsbench.data import open_objects
from gsbench.evaluation import Watch, evaluate
from gsbench.features import extract
from gsbench.figures.embedding import Panel, draw_embedding
from gsbench.figures.sheet import Sheet, require
from gsbench.reproduce.holdings import Holdings
from gsbench.reproduce.tables import Variant, load_models
from gsbench.results import Result
from gsbench.store.folder import Folder, open_folder, resolve
from gsbench.tasks import Task

VIEWS = (1, 4, 64)
"""Numbers of views of the published panels."""

_MODEL = "F_p"


def default_encoder(variant: Variant) -> str:
    """The recipe whose encoder the figure shows where none is named."""
    return load_models().models[_MODEL].recipe(variant)


def draw_figure7(
    data: str | Path,
    encoder: str | Path,
    *,
    checkpoints: Path | None = None,
    seed: int = 0,
    num_points: int | None = None,
    pretext_views: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    watch: Watch | None = None,
) -> Sheet:
    """t-SNE of test objects' features: of images from 1, 4 and 64 views, or the most there are, and of Gaussians.

    Args:
        data: as `gsbench.evaluate` takes it.
        encoder: folder of a checkpoint, or a recipe of pairs, whose encoder is found in `checkpoints` or trained.
        checkpoints: folder where encoders are kept and found, or None. Of recipes only.
        seed: of the encoder. Of recipes only.
        num_points: Gaussians an object, as `gsbench.evaluate` takes it. Of recipes only.
        pretext_views: images an object that the encoder learns from. Of recipes only.
        device: where to run.
        watch: told of the run while it goes on.

    Raises:
        ValueError: no such data set, checkpoint or recipe, or one that learns from no pairs; a data set without images
            or Gaussians; or a package that the figure needs is not installed.
    """
    require("matplotlib", "openTSNE")
    folder, watch = open_folder(resolve(str(data))), watch or Watch()
    if (Path(encoder) / CONFIG).is_file():
        net, about = from_pretrained(encoder)
    else:
        with tempfile.TemporaryDirectory() as unkept:
            kept = checkpoints or Path(unkept)
            net, about = _trained(folder, str(encoder), kept, seed, num_points, pretext_views, device, watch)
    return _draw(folder, net, about, watch)


def _trained(
    folder: Folder,
    model: str,
    checkpoints: Path,
    seed: int,
    num_points: int | None,
    pretext_views: int | None,
    device: Literal["auto", "cpu", "cuda"],
    watch: Watch,
) -> tuple[nn.Module, Checkpoint]:
    """A recipe's encoder, from `checkpoints` or trained into it."""
    recipe, path = find_recipe(model)
    if recipe.supervision != "pairs":
        raise ValueError(f"{path}: supervision is {recipe.supervision} (figure7 needs an encoder of pairs)")
    (result,) = evaluate(
        model,
        folder.path,
        modality="gaussians",
        protocol="probe",
        num_points=num_points,
        pretext_views=pretext_views,
        seeds=(seed,),
        device=device,
        checkpoints=checkpoints,
        watch=watch,
    )
    for config in sorted(checkpoints.glob(f"*/{CONFIG}")):
        if _is_of(load_checkpoint(config.parent), result):
            return from_pretrained(config.parent, model)
    raise AssertionError(f"{checkpoints}: evaluate keeps an encoder that it trained")


def _is_of(checkpoint: Checkpoint, result: Result) -> bool:
    """Whether a checkpoint is of the encoder behind a Result."""
    assert result.pretext is not None, "a Result of pairs says what its encoder learnt from"
    points, images = checkpoint.tasks
    task, pretext = result.task, result.pretext
    ours = (points.fingerprint, points.features, points.sampling, points.num_points, images.num_views)
    theirs = (task.fingerprint, pretext.features, pretext.sampling, pretext.num_points, pretext.num_views)
    run = (checkpoint.recipe.sha256(), checkpoint.seed)
    return ours == theirs and run == (result.model.recipe_sha256, result.run.seed)


def _draw(folder: Folder, net: nn.Module, about: Checkpoint, watch: Watch) -> Sheet:
    points, images = about.tasks
    most = Holdings(folder).views("meshes", "train")
    counts = list(dict.fromkeys(min(count, most) for count in VIEWS))
    manifest = folder.manifest
    here = {"dataset": manifest.name, "revision": manifest.version, "fingerprint": manifest.fingerprint()}
    panels, labels = [], None
    for title, task in (
        *((f"images, {count} view{'' if count == 1 else 's'}", _seen(images, here, count)) for count in counts),
        (f"{points.num_points:,} {points.modality.capitalize()}", _seen(points, here, None)),
    ):
        recipe = about.recipe
        objects = open_objects(folder, task, "test", recipe.images, watch.reading, recipe.points.min_opacity)
        panels.append(Panel(title, extract(net, objects, watch.extracting)))
        labels = objects.labels.numpy()
    assert labels is not None, "there is a panel"
    return draw_embedding(panels, labels, manifest.classes, _describe(folder, about, most))


def _seen(task: Task, here: dict[str, str], views: int | None) -> Task:
    """The task of a checkpoint on this data set, with another number of views."""
    task = dataclasses.replace(task, **here)  # type: ignore[arg-type]
    return task if views is None else dataclasses.replace(task, num_views=views)


def _describe(folder: Folder, about: Checkpoint, most: int) -> str:
    """Data and encoder in words."""
    manifest, points = folder.manifest, about.tasks[0]
    learnt = "" if points.fingerprint == manifest.fingerprint() else f" on {points.dataset} {points.revision}"
    epochs = f"{about.epochs} epoch{'' if about.epochs == 1 else 's'}"
    fewer = f" The data has {most} views an object, the published figure shows {VIEWS[-1]}." if most < VIEWS[-1] else ""
    return (
        f"{manifest.name} {manifest.version} ({manifest.fingerprint()[:8]}); encoder {about.recipe.name}, "
        f"trained{learnt} without labels for {epochs}, seed {about.seed}, from images of {about.recipe.images.size} "
        f"pixels and Gaussians' {points.features}.{fewer}"
    )
