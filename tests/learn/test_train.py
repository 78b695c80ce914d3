"""The training loop: it learns, repeats itself, goes on after an interruption, and follows its schedule."""

import dataclasses
import math

import pytest
import torch

from gsbench.core.baseline import build_model, load_class
from gsbench.core.parsing import InputError
from gsbench.core.recipe import Augment, Train, load_recipe
from gsbench.learn.data import Objects, open_objects
from gsbench.learn.evaluation import predict
from gsbench.learn.evaluation.embedding import extract
from gsbench.learn.precision import resolve_precision
from gsbench.learn.schedule import schedule
from gsbench.learn.train import train
from gsbench.store.folder import open_folder
from tests.learn.test_data import task
from tests.tiny_training import make_folder, make_recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> Objects:
    return open_objects(open_folder(make_folder(tmp_path_factory.mktemp("data") / "tiny")), task(), "train")


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory):
    return make_recipe(tmp_path_factory.mktemp("recipe"))


def run(objects, path, seed=0, checkpoint=None, progress=None, recipe=None, device=CPU):
    recipe = recipe or load_recipe(path)
    torch.manual_seed(seed)
    model = build_model(recipe, path, objects.channels, 2)
    trained = train(model, objects, recipe, seed, device, checkpoint, progress)
    return model, trained


def bits(model):
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def test_it_learns(objects, recipe_path):
    losses = []
    model, trained = run(objects, recipe_path, progress=lambda done, total, loss: losses.append((done, total, loss)))
    assert trained.epochs == 6
    assert trained.seconds > 0
    assert [done for done, _, _ in losses] == list(range(1, 19))
    assert {total for _, total, _ in losses} == {18}
    assert losses[-1][2] < 0.5 * losses[0][2]
    assert model.training
    predicted = model.eval().logits(objects.batch(torch.arange(len(objects)))).argmax(1)
    assert (predicted == objects.labels).float().mean() > 0.9


def test_the_same_seed_gives_the_same_weights(objects, recipe_path):
    torch.randn(7)  # what was drawn before must not matter
    first = bits(run(objects, recipe_path, seed=3)[0])
    assert bits(run(objects, recipe_path, seed=3)[0]) == first
    assert bits(run(objects, recipe_path, seed=4)[0]) != first


class Killed(Exception):
    pass


@pytest.mark.parametrize("last_step", [1, 4, 8])
def test_an_interrupted_run_ends_with_the_same_weights(objects, recipe_path, tmp_path, last_step):
    """Three steps an epoch: killed in the first, in the second, and near the end of the third."""

    def kill(done, total, loss):
        if done == last_step:
            raise Killed

    whole, _ = run(objects, recipe_path)
    checkpoint = tmp_path / "run.pt"
    with pytest.raises(Killed):
        run(objects, recipe_path, checkpoint=checkpoint, progress=kill)
    assert checkpoint.exists() == (last_step > 3)
    steps = []
    resumed, trained = run(
        objects, recipe_path, checkpoint=checkpoint, progress=lambda done, total, loss: steps.append(done)
    )
    assert steps[0] == 3 * ((last_step - 1) // 3) + 1, "it goes on at the first epoch that was not finished"
    assert bits(resumed) == bits(whole)
    again, _ = run(objects, recipe_path, checkpoint=checkpoint)
    assert bits(again) == bits(whole), "a finished run is only loaded"
    assert trained.seconds > 0


def test_a_checkpoint_of_another_run_is_refused(objects, recipe_path, tmp_path):
    checkpoint = tmp_path / "run.pt"
    run(objects, recipe_path, checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    recipe = load_recipe(recipe_path)
    fewer = Objects(objects.ids[:10], objects.labels[:10], objects.points[:10], objects.mask[:10])
    for changed in (
        {"seed": 1},
        {"recipe": dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, lr=0.5))},
        {"objects": fewer},
    ):
        with pytest.raises(ValueError, match=r"run\.pt: checkpoint of another recipe, seed or training set"):
            run(changed.pop("objects", objects), recipe_path, checkpoint=checkpoint, **changed)
    assert checkpoint.read_bytes() == before
    checkpoint.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=r"run\.pt: no checkpoint .*, remove it to start anew"):
        run(objects, recipe_path, checkpoint=checkpoint)


def test_a_loss_that_is_no_number_stops_at_its_step(objects, tmp_path):
    path = make_recipe(tmp_path, "model:Diverging")
    with pytest.raises(ValueError, match=r"mine: the loss is inf at step 1 of epoch 1 \(must be finite"):
        run(objects, path)


@pytest.mark.parametrize(
    ("failing_step", "message"), [(5, "the loss is nan at step 2 of epoch 2"), (6, "after epoch 2")]
)
def test_the_checkpoint_before_a_failure_stays(objects, recipe_path, tmp_path, monkeypatch, failing_step, message):
    """Three steps an epoch: a loss that fails within the second, and weights that its last step spoils."""
    kind, checkpoint = load_class(load_recipe(recipe_path), recipe_path), tmp_path / "run.pt"
    original, kept = kind.loss, []

    def loss(self, batch, label_smoothing):
        kept.append(checkpoint.read_bytes() if checkpoint.exists() else b"")
        if len(kept) == failing_step == 6:
            self.first.weight.register_hook(lambda gradient: gradient * torch.nan)
        value = original(self, batch, label_smoothing)
        return value * torch.nan if len(kept) == failing_step == 5 else value

    monkeypatch.setattr(kind, "loss", loss)
    with pytest.raises(ValueError, match=message):
        run(objects, recipe_path, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == kept[3] != b"", "that of the first epoch"


def test_batches_hold_every_object_once_and_never_one_alone(objects, recipe_path, monkeypatch):
    recipe = load_recipe(recipe_path)
    recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, batch_size=23, epochs=2))
    seen = []
    original = Objects.batch
    monkeypatch.setattr(Objects, "batch", lambda self, index: seen.append(index.tolist()) or original(self, index))
    run(objects, recipe_path, recipe=recipe)
    assert [len(index) for index in seen] == [12, 12, 12, 12], "24 objects in batches of at most 23"
    for first, second in (seen[:2], seen[2:]):
        assert sorted(first + second) == list(range(24))
    assert seen[:2] != seen[2:], "each epoch has an order of its own"


def test_augmentation_and_precision_reach_the_model(objects, recipe_path, monkeypatch):
    recipe = load_recipe(recipe_path)
    train_bf16 = dataclasses.replace(recipe.train, precision="bf16", epochs=1)
    recipe = dataclasses.replace(recipe, train=train_bf16, augment=Augment(scale=(2.0, 3.0)))
    model = build_model(recipe, recipe_path, 3, 2)
    seen, original = [], type(model).loss

    def spy(self, batch, label_smoothing):
        radius = batch.points.norm(dim=2).amax(1)
        seen.append((torch.is_autocast_enabled("cpu"), radius.min().item(), radius.max().item()))
        return original(self, batch, label_smoothing)

    monkeypatch.setattr(type(model), "loss", spy)
    assert train(model, objects, recipe, 0, CPU).precision == "bf16"
    assert all(autocast and low >= 2 and high <= 3.001 for autocast, low, high in seen)
    seen.clear()
    assert train(model, objects, recipe, 0, CPU, precision="fp32").precision == "fp32"
    assert not any(autocast for autocast, _, _ in seen), "what is asked for goes before what the recipe says"


def test_precision_is_that_of_all_schedules_together(objects, recipe_path):
    recipe = load_recipe(recipe_path)
    short = dataclasses.replace(recipe.train, epochs=1)
    stages = dataclasses.replace(recipe, pretraining=(dataclasses.replace(short, precision="bf16"),), train=short)
    assert run(objects, recipe_path, recipe=stages)[1].precision == "bf16"
    assert run(objects, recipe_path, recipe=recipe)[1].precision == "fp32"


def test_float32_is_float32_whatever_was_chosen_outside(objects, recipe_path, monkeypatch):
    kind, seen = load_class(load_recipe(recipe_path), recipe_path), []
    original = kind.embed

    def embed(self, batch):
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return original(self, batch)

    monkeypatch.setattr(kind, "embed", embed)
    torch.set_float32_matmul_precision("medium")
    try:
        model, _ = run(objects, recipe_path)
        predict(model, objects)
        extract(model, objects)
        assert torch.get_float32_matmul_precision() == "medium", "it is the caller's again"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert len(seen) == 18 + 1 + 1
    assert set(seen) == {("highest", False)}


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_every_optimizer_learns(objects, recipe_path, optimizer):
    recipe = load_recipe(recipe_path)
    recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, optimizer=optimizer, epochs=3))
    losses = []
    run(objects, recipe_path, recipe=recipe, progress=lambda done, total, loss: losses.append(loss))
    assert losses[-1] < losses[0]


def test_cosine_schedule():
    how = Train(epochs=10, batch_size=1, lr=1.0, lr_floor=0.1)
    assert schedule(how, 0) == (1.0, None)
    assert schedule(how, 5)[0] == pytest.approx(0.55)
    assert schedule(how, 10)[0] == pytest.approx(0.1)
    assert schedule(how, 2.5)[0] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)


def test_step_schedule_with_floors():
    how = Train(
        epochs=250, batch_size=32, lr=1e-3, schedule="step", step_epochs=50.1, step_factor=0.7, lr_floor=4e-4,
        bn_momentum=0.5, bn_momentum_floor=0.1,
    )  # fmt: skip
    assert schedule(how, 50.0) == (1e-3, 0.5)
    assert schedule(how, 50.2) == pytest.approx((7e-4, 0.25))
    assert schedule(how, 100.3) == pytest.approx((4.9e-4, 0.125))
    assert schedule(how, 249) == (4e-4, 0.1)


def test_constant_schedule():
    assert schedule(Train(epochs=9, batch_size=1, lr=0.3, schedule="constant"), 8.9) == (0.3, None)


def test_batch_norm_momentum_is_set(objects, recipe_path):
    recipe = load_recipe(recipe_path)
    how = dataclasses.replace(recipe.train, schedule="step", step_epochs=1.0, bn_momentum=0.5, epochs=3)
    model, _ = run(objects, recipe_path, recipe=dataclasses.replace(recipe, train=how))
    assert model.norm.momentum == 0.125


def test_precision():
    assert resolve_precision("fp32", CPU) == "fp32"
    assert resolve_precision("bf16", CPU) == "bf16"
    assert resolve_precision("auto", CPU) == "fp32", "also where the CPU multiplies bfloat16 natively"
    with pytest.raises(InputError, match=r"precision is 'fp16' \(allowed: auto, fp32, bf16\)"):
        resolve_precision("fp16", CPU)
