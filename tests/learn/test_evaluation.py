"""From a model's name and a data folder to a Result file."""

import errno
import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from gsbench.core.baseline import find_recipe
from gsbench.core.metrics import classification_metrics
from gsbench.core.parsing import InputError, check_text
from gsbench.core.recipe import Recipe, Reported, Train, load_recipe
from gsbench.core.results import load_result
from gsbench.learn.checkpoints import from_pretrained, load_checkpoint, save_pretrained
from gsbench.learn.data import Objects, open_objects
from gsbench.learn.evaluation import Callbacks, evaluate, find_reported, machine, predict
from gsbench.learn.evaluation.machine import PeakMemory, choose_device, run_info
from gsbench.learn.train import Trained, train
from gsbench.store.folder import open_folder, read_labels
from gsbench.store.validation import hold_out
from tests.learn.test_data import task
from tests.store.conftest import made as views_folder  # noqa: F401 (a fixture)
from tests.tiny_training import LARGEST, OBJECTS, make_folder, make_recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return make_recipe(tmp_path_factory.mktemp("theirs"))


def test_a_third_partys_recipe_is_scored(data, recipe, tmp_path):
    results = evaluate(str(recipe), data, seeds=(0, 5), num_points=32, regime=50, draw=1, out=tmp_path / "results")
    assert [result.run.seed for result in results] == [0, 5]
    for result in results:
        assert load_result(tmp_path / "results" / f"{result.task.slug()}-{result.file_name()}") == result
        assert (result.task.modality, result.task.regime, result.task.draw) == ("gaussians", 50, 1)
        assert (result.task.features, result.task.sampling, result.task.num_points) == ("xyz", "fps", 32)
        assert (result.task.num_views, result.task.views_from) == (None, None)
        assert result.task.fingerprint == open_folder(data).manifest.fingerprint()
        assert (result.model.name, result.model.title, result.model.pretrained) == ("mine", "Mine", None)
        assert result.model.num_params == 3 * 8 + 8 + 16 + 8 * 2 + 2
        assert result.model.recipe_sha256 == load_recipe(recipe).sha256()
        assert (result.run.selection, result.run.epochs, result.run.train_objects) == ("last", 6, 12)
        assert result.run.precision == "fp32"
        assert result.run.device.startswith("cpu: ")
        assert result.run.peak_memory_mb > 10
        assert result.run.train_seconds > 0
        assert {"gsbench", "python", "torch", "numpy"} <= set(result.run.versions)
        assert result.run.commit is None or re.fullmatch("[0-9a-f]{40}", result.run.commit)
    assert results[0].predictions != results[1].predictions


def test_metrics_follow_from_predictions(data, recipe):
    (result,) = evaluate(str(recipe), data, num_points=32)
    assert sorted(result.predictions) == sorted(OBJECTS["test"])
    rows = np.array([result.predictions[object_id] for object_id in sorted(OBJECTS["test"])])
    classes = ("ball", "rod")
    labels = np.array([classes.index(OBJECTS["test"][object_id]) for object_id in sorted(OBJECTS["test"])])
    assert result.metrics == classification_metrics(rows, labels)
    assert result.metrics["accuracy"] > 0.9
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-12)
    assert (rows.round(6) == rows).all()


def test_the_same_seed_scores_the_same(data, recipe):
    first, again = (evaluate(str(recipe), data, num_points=16)[0] for _ in range(2))
    assert first.predictions == again.predictions


def test_a_variant(data, recipe):
    (result,) = evaluate(f"{recipe}:long", data, num_points=8, out=None)
    assert (result.model.name, result.run.epochs, result.file_name()) == ("mine:long", 12, "mine-long-s0.json")


def test_an_interrupted_evaluation_goes_on(data, recipe, tmp_path):
    class Killed(Exception):
        pass

    def kill(done, total, loss):
        if done == 11:
            raise Killed

    arguments = {"num_points": 16, "checkpoints": tmp_path}
    with pytest.raises(Killed):
        evaluate(str(recipe), data, callbacks=Callbacks(progress=kill), **arguments)
    (unfinished,) = tmp_path.iterdir()
    steps = []
    (result,) = evaluate(
        str(recipe), data, callbacks=Callbacks(progress=lambda done, total, loss: steps.append(done)), **arguments
    )
    assert steps[0] == 10
    assert result.predictions == evaluate(str(recipe), data, num_points=16)[0].predictions
    assert list(tmp_path.iterdir()) == [unfinished.with_suffix("")], "the checkpoint that it ended in"


def test_a_trained_model_is_kept_and_found_without_its_training_objects(data, tmp_path, monkeypatch):
    told: list[str] = []
    recipe = make_recipe(tmp_path / "mine")
    recipe.write_text(
        recipe.read_text().replace("[augment]", "[finetune]\nepochs = 2\nbatch_size = 8\nlr = 0.02\n\n[augment]")
    )
    (first,) = evaluate(str(recipe), data, num_points=16, checkpoints=tmp_path / "kept")
    (folder,) = (tmp_path / "kept").iterdir()
    net, about = from_pretrained(folder, str(recipe))
    assert (about.tasks, about.epochs, about.encoder_sha256) == ((first.task,), 6, None)
    test = open_objects(open_folder(data), first.task, "test")
    rows = np.array([first.predictions[object_id] for object_id in test.ids])
    np.testing.assert_array_equal(predict(net, test), rows)

    def only_test(folder, task, split, *more):
        assert split == "test"
        return open_objects(folder, task, split, *more)

    monkeypatch.setattr("gsbench.learn.evaluation.scoring.open_objects", only_test)
    watch = Callbacks(note=told.append)
    (again,) = evaluate(str(recipe), data, num_points=16, checkpoints=tmp_path / "kept", callbacks=watch)
    assert (again.predictions, again.metrics, again.run.train_seconds) == (
        first.predictions, first.metrics, first.run.train_seconds
    )  # fmt: skip
    assert told == [f"reused the model in {folder}, trained for 6 epochs."]


def test_points_where_there_are_no_gaussians(tmp_path, recipe):
    data = make_folder(tmp_path / "tiny", ("points",))
    (result,) = evaluate(str(recipe), data)
    assert (result.task.modality, result.task.num_points) == ("points", LARGEST), "1,024, or what there is"


def test_points_by_choice(data, recipe):
    assert evaluate(str(recipe), data, modality="points", num_points=8)[0].task.modality == "points"


def test_images(views_folder, tmp_path):  # noqa: F811
    recipe = make_recipe(tmp_path, "model:Flat")
    read: list[tuple[int, int]] = []
    (result,) = evaluate(
        str(recipe), views_folder, callbacks=Callbacks(reading=lambda done, total: read.append((done, total)))
    )
    assert read == [(60, 60), (18, 18)], "of 20 training and of 6 test objects"
    task = result.task
    assert (task.modality, task.num_views, task.views_from, task.num_points) == ("images", 3, "meshes", None)
    assert len(result.predictions) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modality": "images"}, r"modality is images, mine takes points, gaussians, .* has gaussians, points"),
        ({"num_views": 3}, r"num_views is 3, and mine sees gaussians \(allowed: leave it out\)"),
        ({"num_points": 61}, rf"num_points is 61 \(allowed: up to {LARGEST}"),
        ({"regime": 30}, r"regime is 30 \(allowed: 100, 50, 10, 1\)"),
        ({"draw": 1}, "draw is 1 at regime 100"),
        ({"features": "xyz+geo", "modality": "points"}, r"features is 'xyz\+geo' \(allowed: xyz"),
    ],
)
def test_bad_arguments_are_refused_before_training(data, recipe, changes, message, monkeypatch):
    monkeypatch.setattr("gsbench.learn.evaluation.cached.train", lambda *a, **k: pytest.fail("training began"))
    with pytest.raises(ValueError, match=message):
        evaluate(str(recipe), data, **changes)


def test_an_unknown_device():
    with pytest.raises(ValueError, match=r"device is 'tpu' \(allowed: auto, cpu, cuda\)"):
        choose_device("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(data, recipe):
    with pytest.raises(ValueError, match=r"device is 'cuda', and torch finds no GPU \(allowed here: auto, cpu\)"):
        evaluate(str(recipe), data, device="cuda")


@pytest.mark.parametrize("where", ["out", "checkpoints"])
def test_a_folder_that_cannot_be_written_is_refused_before_training(data, recipe, tmp_path, where, monkeypatch):
    monkeypatch.setattr("gsbench.learn.evaluation.cached.train", lambda *a, **k: pytest.fail("training began"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/results: cannot be written \(Not a directory\)"):
        evaluate(str(recipe), data, **{where: tmp_path / "file" / "results"})


def test_a_class_that_is_no_baseline(data, tmp_path):
    with pytest.raises(ValueError, match="NoBaseline is not a Baseline: it lacks loss, embed, logits"):
        evaluate(str(make_recipe(tmp_path, "model:NoBaseline")), data)


def test_an_option_that_the_class_does_not_take(data, tmp_path):
    path = make_recipe(tmp_path)
    path.write_text(path.read_text().replace("width = 8", "wdith = 8"))
    with pytest.raises(ValueError, match=r"options: unknown key 'wdith'; did you mean 'width'\? \(allowed: width\)"):
        evaluate(str(path), data)


def test_probabilities_sum_to_one_and_keep_their_order():
    class Fixed(torch.nn.Module):
        def logits(self, batch):
            return torch.randn(len(batch.labels), 10, generator=torch.Generator().manual_seed(0)) * 8

    objects = Objects(tuple(map(str, range(300))), torch.zeros(300, dtype=torch.int64), torch.zeros(300, 1, 3),
                      torch.ones(300, 1, dtype=torch.bool))  # fmt: skip
    rows = predict(Fixed(), objects)
    assert rows.shape == (300, 10)
    assert np.abs(rows.sum(1) - 1).max() < 1e-12
    assert (rows >= 0).all()
    assert (rows[:32].argmax(1) == Fixed().logits(objects.batch(torch.arange(32))).argmax(1).numpy()).all()


def figure(**changes):
    base = {"dataset": "modelnet10", "modality": "points", "accuracy": 0.9, "source": "a paper"}
    return Reported(**base | changes)


@pytest.mark.parametrize(
    ("changes", "dataset", "found"),
    [
        ({}, "modelnet10", True),
        ({}, "modelnet10-gs", False),
        ({}, "modelnet40", False),
        ({}, None, False),
        ({"modality": "gaussians"}, "modelnet10", False),
        ({"regime": 50}, "modelnet10", False),
        ({"features": "xyz+geo"}, "modelnet10", False),
        ({"protocol": "probe"}, "modelnet10", False),
        ({"sampling": "fps"}, "modelnet10", True),
        ({"sampling": "uniform"}, "modelnet10", False),
        ({"num_views": 12}, "modelnet10", False),
        ({"views_from": "meshes"}, "modelnet10", False),
    ],
)
def test_a_published_figure_stands_beside_its_own_kind_only(changes, dataset, found):
    recipe = Recipe("mine", "Mine", "model:Net", "-", Train(1, 1, 0.1), reported=(figure(**changes),))
    points = task(modality="points", dataset="modelnet10-gs")
    assert (find_reported(recipe, points, dataset) is not None) == found


@pytest.mark.parametrize("name", ["pointnet", "pointnet++", "pointnet++-msg"])
def test_shipped_recipes_train_end_to_end(data, name, tmp_path):
    assert {"full", "quick", "smoke"} <= set(find_recipe(name)[0].variants)
    (result,) = evaluate(f"{name}:smoke", data, num_points=24, out=tmp_path)
    assert result.run.epochs == 1
    assert set(result.predictions) == set(OBJECTS["test"])
    written = tmp_path / f"{result.task.slug()}-{result.file_name()}"
    assert json.loads(written.read_text())["model"]["name"] == f"{name}:smoke"


def test_a_git_that_does_not_answer_costs_no_score(monkeypatch):
    def slow(command, **_):
        raise subprocess.TimeoutExpired(command, 10)

    monkeypatch.setattr(subprocess, "run", slow)
    info = run_info(0, torch.device("cpu"), Trained(1, 1.0, "fp32"), 24, 1.0, 10.0)
    assert (info.commit, info.dirty) == (None, None)


def test_a_model_that_was_edited_is_trained_anew_beside_the_old_one(data, tmp_path):
    told: list[str] = []
    recipe, kept, out = make_recipe(tmp_path / "mine"), tmp_path / "kept", tmp_path / "out"

    def score():
        (result,) = evaluate(
            str(recipe), data, num_points=16, checkpoints=kept, out=out, callbacks=Callbacks(note=told.append)
        )
        return result

    first = score()
    (folder,) = kept.iterdir()
    model = recipe.parent / "model.py"
    written = model.read_text()
    model.write_text(written.replace("h.amax(1)", "2 * h.amax(1)"))
    second = score()
    anew = f"{kept}/{folder.name.replace(first.model.code_sha256[:8], second.model.code_sha256[:8])}"
    paths = sorted(out.iterdir(), key=lambda path: len(path.name))
    assert told == [
        f"{folder} is of other code than this, and stays; trained anew, into {anew}.",
        f"{paths[0]} is of another recipe or by other code, and stays; this Result is {paths[1]}.",
    ]
    assert first.model.code_sha256 != second.model.code_sha256
    assert first.predictions != second.predictions
    assert (load_result(paths[0]), load_result(paths[1])) == (first, second)
    assert load_checkpoint(Path(anew)).code_sha256 == second.model.code_sha256
    told.clear()
    score()
    model.write_text(written)
    assert score().predictions == first.predictions
    assert [line.partition(" in ")[0] for line in told if "reused" in line] == ["reused the model"] * 2
    assert len(list(kept.iterdir())) == 2
    assert sorted(out.iterdir(), key=lambda path: len(path.name)) == paths


def test_an_interrupted_training_is_not_gone_on_with_by_other_code(data, tmp_path):
    recipe, steps, told = make_recipe(tmp_path / "mine"), [], []

    def kill(done, total, loss):
        if done == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(str(recipe), data, num_points=16, checkpoints=tmp_path / "kept", callbacks=Callbacks(progress=kill))
    (unfinished,) = (tmp_path / "kept").iterdir()
    before = unfinished.read_bytes()
    model = recipe.parent / "model.py"
    model.write_text(model.read_text().replace("h.amax(1)", "2 * h.amax(1)"))
    watch = Callbacks(progress=lambda done, total, loss: steps.append(done), note=told.append)
    evaluate(str(recipe), data, num_points=16, checkpoints=tmp_path / "kept", callbacks=watch)
    assert steps[0] == 1
    assert told[0].startswith(f"{unfinished} is of other code than this, and stays; trained anew")
    assert unfinished.read_bytes() == before


def test_a_second_recipe_of_the_same_name_overwrites_no_result(data, tmp_path):
    told: list[str] = []
    recipes = [make_recipe(tmp_path / "first"), make_recipe(tmp_path / "second")]
    recipes[1].write_text(recipes[1].read_text().replace("epochs = 6", "epochs = 5"))
    results = [
        evaluate(str(recipe), data, num_points=16, out=tmp_path / "out", callbacks=Callbacks(note=told.append))[0]
        for recipe in recipes
    ]
    assert len(told) == 1
    first, second = sorted((tmp_path / "out").iterdir(), key=lambda path: len(path.name))
    assert [load_result(first), load_result(second)] == results
    assert second.name.endswith(f"-{results[1].model.recipe_sha256[:8]}-{results[1].model.code_sha256[:8]}-s0.json")


def test_a_checkpoint_that_another_process_was_first_to_keep_is_the_one_that_is_scored(data, tmp_path, monkeypatch):
    """Many that train the same at once end one after the other."""
    recipe, kept = make_recipe(tmp_path / "mine"), tmp_path / "kept"
    told: list[str] = []
    arguments = {"num_points": 16, "checkpoints": kept}

    def slower(net, *rest):
        trained = train(net, *rest)
        monkeypatch.undo()
        evaluate(str(recipe), data, **arguments)
        (folder,) = (path for path in kept.iterdir() if path.is_dir())
        other_net, about = from_pretrained(folder, str(recipe))
        other_net.last.weight.data *= 3  # as of a machine that rounds otherwise
        save_pretrained(folder, other_net, about)
        return trained

    monkeypatch.setattr("gsbench.learn.evaluation.cached.train", slower)
    (result,) = evaluate(str(recipe), data, callbacks=Callbacks(note=told.append), **arguments)
    (folder,) = kept.iterdir()
    assert told == [f"reused the model in {folder}, trained for 6 epochs."]
    assert result.predictions == evaluate(str(recipe), data, **arguments)[0].predictions


def test_a_full_disk_is_that_of_the_file_that_it_cut_short(data, tmp_path, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    recipe = make_recipe(tmp_path / "mine")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        evaluate(str(recipe), data, num_points=16, checkpoints=tmp_path / "kept", out=tmp_path / "out")
    assert str(caught.value.filename).startswith(f"{tmp_path}/kept/")
    assert not list((tmp_path / "kept").iterdir())


def use_memory(megabytes: int) -> None:
    np.ones(megabytes * 125_000)


def test_the_peak_of_memory_is_each_runs_own(monkeypatch):
    """Where a peak cannot be forgotten, a lower one after it is unknown."""
    device = torch.device("cpu")
    first = PeakMemory(device)
    use_memory(400)
    high = first.megabytes()
    second = PeakMemory(device)
    use_memory(50)
    low = second.megabytes()
    assert high is not None
    assert low is None or low < high - 250
    monkeypatch.setattr("gsbench.learn.evaluation.machine._forget_peak", lambda: False)
    use_memory(400)
    third = PeakMemory(device)
    use_memory(50)
    assert third.megabytes() is None
    use_memory(800)
    assert third.megabytes() > high


def test_a_machine_may_call_itself_what_it_likes(monkeypatch):
    """Its name is in the Result, which holds printable text of a limited length alone."""
    name = "\t Some\u00a0CPU\x1b[0m  @ 2.5 GHz " + "x" * 300
    monkeypatch.setattr(machine, "_processor", lambda: name)
    device = machine._device_name(torch.device("cpu"))
    check_text("device", device)
    assert device.startswith("cpu: Some CPU [0m @ 2.5 GHz xxx")
    monkeypatch.setattr(machine, "_processor", lambda: "")
    assert machine._device_name(torch.device("cpu")).startswith("cpu: unknown, ")


def test_the_validation_split_is_scored_without_a_test_object(data, recipe, tmp_path):
    (result,) = evaluate(str(recipe), data, split="val", num_points=32, out=tmp_path / "out", checkpoints=tmp_path)
    held = hold_out(open_folder(data))
    assert result.task.split == "val"
    assert set(result.predictions) == set(read_labels(held, "test"))
    assert result.run.train_objects == len(read_labels(held, "train"))
    assert result.reported is None
    (written,) = (tmp_path / "out").iterdir()
    assert "-val-" in written.name
    (test,) = evaluate(str(recipe), data, num_points=32, checkpoints=tmp_path)
    assert test.run.train_objects > result.run.train_objects
    assert len([path for path in tmp_path.iterdir() if path.name.endswith("-s0")]) == 2, "a model of its own"


def test_only_known_splits(data, recipe):
    with pytest.raises(InputError, match=r"split is 'train' \(allowed: test, val\)"):
        evaluate(str(recipe), data, split="train")
