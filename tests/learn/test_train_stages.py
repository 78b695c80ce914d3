"""Training in stages: which samples, which schedule, how an interrupted run goes on, and memory that is too small."""

import dataclasses
import importlib

import pytest
import torch

from gsbench.core.baseline import build_model, load_class
from gsbench.core.parsing import InputError
from gsbench.core.recipe import ImageOptions, Recipe, Train, load_recipe
from gsbench.learn.data import Objects
from gsbench.learn.train import train
from tests.learn.test_train import CPU, Killed, bits
from tests.tiny_training import make_recipe

STAGES = (
    Train(epochs=2, batch_size=16, lr=0.02, views_per_sample=1, schedule="step", step_epochs=1.0, step_factor=0.5),
    Train(epochs=1, batch_size=8, lr=0.01, views_per_sample=2, schedule="constant"),
)
LAST = Train(epochs=2, batch_size=4, lr=0.005)
STEPS = 2 * 3 + 3 + 2 * 3


@pytest.fixture(scope="module")
def objects() -> Objects:
    """Twelve objects of four views, each one color."""
    shade = torch.arange(48, dtype=torch.uint8).view(12, 4, 1, 1, 1)
    return Objects(
        tuple(f"object_{i:02d}" for i in range(12)), torch.arange(12) % 2, images=shade.expand(12, 4, 3, 8, 8) * 5
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_recipe(tmp_path_factory.mktemp("recipe"), "model:Flat")


@pytest.fixture
def recipe(path) -> Recipe:
    return dataclasses.replace(load_recipe(path), pretraining=STAGES, train=LAST)


def run(objects, recipe, path, checkpoint=None, progress=None):
    torch.manual_seed(0)
    model = build_model(recipe, path, 3, 2)
    return model, train(model, objects, recipe, 0, CPU, checkpoint, progress)


@pytest.fixture
def seen(recipe, path):
    """The images of each step."""
    kept = load_class(recipe, path).seen
    kept.clear()
    return kept


def test_each_stage_takes_its_samples(objects, recipe, path, seen):
    told: list[tuple[int, int]] = []
    _, trained = run(objects, recipe, path, progress=lambda done, total, loss: told.append((done, total)))
    assert [tuple(images.shape[:2]) for images in seen] == [(16, 1)] * 6 + [(8, 2)] * 3 + [(4, 4)] * 6
    assert told == [(step + 1, STEPS) for step in range(STEPS)]
    assert trained.epochs == 5
    every = torch.arange(48) * 5
    for first, last in ((0, 3), (3, 6), (6, 9), (9, 12), (12, 15)):
        shades = torch.cat([images[:, :, 0, 0, 0].flatten() for images in seen[first:last]])
        assert torch.equal(shades.sort().values.long(), every), "every view once an epoch"
    assert not torch.equal(seen[0], seen[3]), "each epoch has an order of its own"
    halves = torch.cat([images[:, :, 0, 0, 0].long() // 5 for images in seen[6:9]])
    assert torch.equal(halves[:, 1] - halves[:, 0], torch.full((24,), 2)), (
        "views 0 and 2, or 1 and 3: around the object"
    )
    assert torch.equal(halves[:, 0] // 4, halves[:, 1] // 4), "of one object"


def test_each_stage_has_its_own_schedule_and_optimizer(objects, recipe, path, monkeypatch):
    rates: list[tuple[float, int]] = []

    def spy(model, optimizer, how, epoch):
        original(model, optimizer, how, epoch)
        rates.append((optimizer.param_groups[0]["lr"], len(optimizer.state)))

    original = importlib.import_module("gsbench.learn.train").set_schedule
    monkeypatch.setattr("gsbench.learn.train.set_schedule", spy)
    run(objects, recipe, path)
    assert [rate for rate, _ in rates[:9]] == [0.02] * 3 + [0.01] * 6
    assert rates[9][0] == 0.005
    assert rates[-1][0] < 0.001
    assert [step for step, (_, moments) in enumerate(rates) if not moments] == [0, 6, 9], "a new optimizer starts empty"


@pytest.mark.parametrize("last_step", [2, 4, 7, 8, 10, 13])
def test_an_interrupted_run_ends_with_the_same_weights(objects, recipe, path, tmp_path, last_step):
    """Epochs end at steps 3, 6, 9, 12 and 15, stages at 6 and 9."""

    def kill(done, total, loss):
        if done == last_step:
            raise Killed

    recipe = dataclasses.replace(recipe, images=ImageOptions(8, (0.3, 1.0), flip=True))
    checkpoint, steps = tmp_path / "run.pt", []
    with pytest.raises(Killed):
        run(objects, recipe, path, checkpoint, kill)
    resumed, trained = run(objects, recipe, path, checkpoint, lambda done, total, loss: steps.append(done))
    assert steps == list(range(3 * ((last_step - 1) // 3) + 1, STEPS + 1))
    assert bits(resumed) == bits(run(objects, recipe, path)[0])
    assert bits(resumed) == bits(run(objects, recipe, path, checkpoint)[0]), "a finished run is only loaded"
    assert trained.epochs == 5


def test_images_are_augmented(objects, recipe, path, seen):
    objects = dataclasses.replace(objects, images=torch.arange(64, dtype=torch.uint8).view(8, 8).expand(12, 4, 3, 8, 8))
    run(objects, dataclasses.replace(recipe, images=ImageOptions(8, flip=True)), path)
    row = torch.arange(8, dtype=torch.uint8)
    kinds = {tuple(image[0, 0].tolist()) for images in seen for image in images.flatten(0, 1)}
    assert kinds == {tuple(row.tolist()), tuple(row.flip(0).tolist())}


def test_views_that_cannot_be_cut(objects, recipe, path):
    three = dataclasses.replace(recipe, train=dataclasses.replace(LAST, views_per_sample=3))
    with pytest.raises(ValueError, match=r"views_per_sample is 3 \(must divide the 4 views of an object\)"):
        run(objects, three, path)


@pytest.mark.parametrize(
    ("room", "advice"),
    [(5, "4 would fit: a lower"), (2, "2 would fit: a lower"), (1, "2 are, too: allowed is less an object, no lower")],
)
def test_memory_that_is_too_small(objects, recipe, path, monkeypatch, room, advice):
    kind = load_class(recipe, path)
    original = kind.loss

    def loss(self, batch, label_smoothing):
        if len(batch.ids) > room:
            raise torch.OutOfMemoryError("no room")
        return original(self, batch, label_smoothing)

    monkeypatch.setattr(kind, "loss", loss)
    message = rf"16 samples a step are too many .* of cpu \({advice} pretraining\[0\].batch_size than 16\)"
    with pytest.raises(ValueError, match=message):
        run(objects, recipe, path)


def test_memory_that_ends_where_the_optimizer_takes_its_own(objects, recipe, path, monkeypatch):
    def step(self, closure=None):
        raise torch.OutOfMemoryError("no room for the moments")

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    with pytest.raises(ValueError, match=r"16 samples a step are too many for the memory of cpu \(2 are, too"):
        run(objects, recipe, path)


@pytest.mark.parametrize(
    ("failing", "key", "lr"), [(0, r"pretraining\[0\]", 0.02), (1, r"pretraining\[1\]", 0.01), (2, "train", 0.005)]
)
def test_a_loss_that_is_not_finite_names_the_schedule_to_lower(objects, recipe, path, monkeypatch, failing, key, lr):
    kind, first = load_class(recipe, path), (0, 6, 9)[failing]
    original, taken = kind.loss, []

    def loss(self, batch, label_smoothing):
        taken.append(batch)
        return original(self, batch, label_smoothing) * (torch.inf if len(taken) > first else 1)

    monkeypatch.setattr(kind, "loss", loss)
    epoch = (1, 3, 4)[failing]
    with pytest.raises(
        InputError, match=rf"the loss is inf at step 1 of epoch {epoch} \(.* a lower {key}\.lr than {lr} "
    ):
        run(objects, recipe, path)
