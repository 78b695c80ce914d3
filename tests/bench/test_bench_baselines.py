"""Steps a second of every baseline's training on the embedded data, beside the same network fed by a DataLoader.

The DataLoader samples Gaussians and decodes views anew for each batch, and torch works in float32; one core each. On
the embedded data's small objects and images the network is nearly all of a step; what the DataLoader costs at the
sizes of the other builds, and what the networks gain over their usual formulations, is measured in
`test_bench_training` and `test_bench_images`.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from gsbench.core.baseline import build_model, find_recipe
from gsbench.core.environment import keep_freed_memory
from gsbench.core.recipe import Recipe
from gsbench.core.tasks import Task
from gsbench.learn.augment import augment
from gsbench.learn.data import Objects, open_objects, open_pairs, training_ids, views_of
from gsbench.learn.evaluation import make_task
from gsbench.learn.train import train
from gsbench.store.arrays import ragged
from gsbench.store.folder import Folder, open_folder, read_table
from gsbench.store.load import resolve
from tests.bench.dataloader import Samples

pytestmark = pytest.mark.slow

REGIME, BATCH, POINTS, VIEWS = 10, 8, 256, 4


def tasks(folder: Folder, count: int) -> tuple[Task, Task]:
    return tuple(
        make_task(folder, modality, REGIME, 0, "xyz", "fps", number, "meshes")
        for modality, number in (("gaussians", count), ("images", VIEWS))
    )


def resident(recipe: Recipe, folder: Folder, count: int) -> Objects:
    points, images = tasks(folder, count)
    if recipe.supervision == "pairs":
        return open_pairs(folder, points, images, "train", recipe.images, min_opacity=recipe.points.min_opacity)
    task = images if recipe.name.startswith("mvcnn") else points
    return open_objects(folder, task, "train", recipe.images, min_opacity=recipe.points.min_opacity)


def stored(recipe: Recipe, folder: Folder, count: int) -> Samples:
    ids = training_ids(folder, REGIME, 0)
    of_images, pairs = recipe.name.startswith("mvcnn"), recipe.supervision == "pairs"
    table = read_table(folder, "gaussians", "train", ["object_id", "label", "means", "opacities"])
    rows = {object_id: row for row, object_id in enumerate(table["object_id"].to_pylist())}
    labels = [int(table["label"][rows[object_id]].as_py()) for object_id in ids]
    (means, ends), (opacities, _) = ragged(table["means"], (3,)), ragged(table["opacities"], ())
    positions, files = [], []
    images = read_table(folder, "views", "train", ["image"])["image"] if of_images or pairs else None
    views = views_of(folder, "meshes", "train") if images is not None else {}
    for object_id in ids:
        own = slice(ends[rows[object_id]], ends[rows[object_id] + 1])
        positions.append(means[own][opacities[own] >= recipe.points.min_opacity].astype("f4"))
        if images is not None:
            of_object = views[object_id]
            files.append([images[row].as_py()["bytes"] for row in of_object[:: len(of_object) // VIEWS][:VIEWS]])
    return Samples(labels, None if of_images else positions, count, files or None, recipe.images, pairs)


def through_a_loader(model: nn.Module, samples: Samples, recipe: Recipe) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), recipe.train.lr)
    loader, generator = samples.loader(BATCH), torch.Generator().manual_seed(0)

    def epoch() -> None:
        for batch in loader:
            loss = model.loss(augment(batch, recipe.augment, generator), recipe.train.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert math.isfinite(loss.detach())

    return epoch


@pytest.mark.parametrize("loader", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["gsbench", "loader"])
@pytest.mark.parametrize(
    "name", ["pointnet:short", "pointnet++:short", "mvcnn:short", "ssl-pointnet", "ssl-pointnet++", "ssl-plus:short"]
)
def test_steps(benchmark, name, loader):
    benchmark.group = f"a pass over the mini, {name}"
    folder, count = open_folder(resolve("mini")), POINTS if benchmark.enabled else 64
    recipe, path = find_recipe(name)
    how = dataclasses.replace(recipe.train, epochs=1, batch_size=BATCH, views_per_sample=None)
    recipe = dataclasses.replace(recipe, train=how, pretraining=())
    torch.manual_seed(0)
    torch.set_num_threads(1)
    keep_freed_memory()
    model = build_model(recipe, path, 3, 10).train()
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    before = [parameter.detach().clone() for parameter in weights]
    if loader:
        epoch = through_a_loader(model, stored(recipe, folder, count), recipe)
    else:
        epoch = partial(train, model, resident(recipe, folder, count), recipe, 0, torch.device("cpu"))
    benchmark.pedantic(epoch, rounds=3, warmup_rounds=1)
    assert not any(torch.equal(*pair) for pair in zip(before, weights, strict=True))
    if benchmark.enabled:
        steps = -(-len(training_ids(folder, REGIME, 0)) // BATCH)
        benchmark.extra_info["steps_a_second"] = steps / benchmark.stats["min"]
