"""What an evaluation refuses: of its arguments before it trains, and of models that fail in it."""

from pathlib import Path

import pytest

from gsbench.core.baseline import find_recipe, load_class
from gsbench.core.parsing import InputError
from gsbench.learn.evaluation import Callbacks, evaluate
from tests.tiny_training import OBJECTS, make_folder, make_pairs_recipe, make_recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"protocol": "supervised"},
            r"protocol is supervised, and pairs learns from pairs \(allowed: probe, finetune\)",
        ),
        ({"modality": "points"}, "modality is points, pairs takes gaussians, images"),
        ({"num_views": 2}, r"num_views is 2, and pairs sees gaussians \(allowed: leave it out\)"),
        (
            {"modality": "images", "num_views": 5},
            r"tiny: num_views is 5 for the views of train \(allowed: up to 4, all that ball_0001 has\)",
        ),
        (
            {"modality": "images", "num_views": 3, "views_from": "gaussians", "cameras": "novel"},
            r"num_views is 3 for the reconstructions from novel cameras of test \(allowed: up to 2, all that ball_0013",
        ),
        ({"modality": "images", "cameras": "novel"}, r"cameras is 'novel' \(allowed: train\)|from novel cameras"),
        ({"pretext_views": 5}, r"num_views is 5 for the views of train \(allowed: up to 4"),
        ({"num_points": 61}, "num_points is 61"),
        ({"num_points": 10**12}, rf"num_points is {10**12} \(allowed: up to 4096"),
        ({"num_points": 10**12, "sampling": "uniform"}, rf"num_points is {10**12} \(allowed: up to \d\d, the most"),
        ({"num_points": 10**30, "sampling": "uniform"}, rf"num_points is {10**30} \(allowed: 1 to"),
        ({"num_points": 0}, r"num_points is 0 \(must be a whole number of at least 1\)"),
        ({"num_points": True}, r"num_points is True \(must be a whole number"),
        ({"pretext_views": 10**12}, rf"num_views is {10**12} for the views of train \(allowed: up to 4"),
        ({"pretext_views": -1}, r"num_views is -1 \(must be a whole number"),
        (
            {"modality": "images", "num_views": 10**30},
            rf"num_views is {10**30} \(allowed: 1 to",
        ),
        ({"views_from": "meshes"}, r"views_from is meshes, and pairs sees gaussians \(allowed: leave it out\)"),
        ({"cameras": "train"}, r"cameras is train, and pairs sees gaussians \(allowed: leave it out\)"),
        ({"regime": 20}, r"regime is 20 \(allowed: 100, 50, 10, 1\)"),
        ({"seeds": ()}, r"seeds is \[\] \(must be distinct whole numbers, one at least\)"),
        ({"seeds": (1, 1)}, r"seeds is \[1, 1\] \(must be distinct"),
        ({"seeds": (-1,)}, r"seeds: one is -1 \(allowed: 0 to 4294967295\)"),
        ({"seeds": (2**70,)}, rf"seeds: one is {2**70} \(allowed: 0 to 4294967295\)"),
    ],
)
def test_bad_arguments_are_refused_before_training(run, changes, message, monkeypatch):
    monkeypatch.setattr("gsbench.learn.evaluation.cached.train", lambda *a, **k: pytest.fail("training began"))
    with pytest.raises(ValueError, match=message) as caught:
        run(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["features", "sampling", "num_points"])
def test_what_a_model_of_images_never_sees_is_refused(data, tmp_path, name):
    recipe = make_recipe(tmp_path, "model:Flat")
    value = {"features": "xyz", "sampling": "fps", "num_points": 8}[name]
    with pytest.raises(InputError, match=rf"{name} is {value}, and mine sees images \(allowed: leave it out\)"):
        evaluate(str(recipe), data, modality="images", **{name: value})


def test_the_default_data_set_is_told_where_it_is_the_mini(recipe, monkeypatch):
    monkeypatch.setattr("gsbench.learn.evaluation.main.default_data", lambda: ("nowhere", "using the embedded one."))
    with pytest.warns(UserWarning, match=r"using the embedded one\."), pytest.raises(InputError, match="nowhere"):
        evaluate(recipe)
    told: list[str] = []
    with pytest.raises(InputError, match="nowhere"):
        evaluate(recipe, callbacks=Callbacks(note=told.append))
    assert told == ["using the embedded one."]


@pytest.mark.parametrize("name", ["ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"])
def test_another_arithmetic_of_the_library_is_refused(recipe, data, monkeypatch, name):
    monkeypatch.setenv(name, "BF16")
    with pytest.raises(InputError, match=rf"{name} is BF16: .* \(must be STRICT, or not set\)"):
        evaluate(recipe, data)


def test_a_fine_tuning_that_diverges_names_its_own_schedule(recipe, data):
    path = Path(recipe)
    head, finetune, rest = path.read_text().partition("[finetune]")
    path.write_text(head + finetune + rest.replace("lr = 0.02", "lr = 1e38", 1))
    with pytest.raises(InputError, match=r"a lower finetune\.lr than 1e\+38 may help"):
        evaluate(recipe, data, protocol="finetune", num_points=16)


def test_pairs_of_one_view(run):
    with pytest.raises(ValueError, match=r"num_views is 1 with supervision pairs \(must be at least 2\)"):
        run(pretext_views=1)


def test_labels_of_one_class(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("gsbench.learn.evaluation.cached.train", lambda *a, **k: pytest.fail("training began"))
    one = {"train": dict.fromkeys(OBJECTS["train"], "ball"), "test": OBJECTS["test"]}
    monkeypatch.setattr("tests.tiny_training.OBJECTS", one)
    data = make_folder(tmp_path / "one", ("gaussians", "views"))
    for protocol in ("probe", "finetune"):
        with pytest.raises(ValueError, match=r"one: regime 50, draw 0: a probe of 12 labeled .* of one class \(must"):
            evaluate(recipe, data, regime=50, num_points=8, protocol=protocol)


def test_pairs_need_both_modalities(recipe, tmp_path):
    data = make_folder(tmp_path / "tiny", ("gaussians", "points"))
    with pytest.raises(ValueError, match=r"tiny: has gaussians, points \(pairs learns from pairs: must have views\)"):
        evaluate(recipe, data, num_points=8)


def test_no_renders_from_novel_cameras(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.tiny_training.NOVEL", 0)
    data = make_folder(tmp_path / "tiny", ("gaussians", "views", "reconstructions"))
    arguments = {"modality": "images", "views_from": "gaussians", "cameras": "novel"}
    with pytest.raises(ValueError, match="no images of gaussians from novel cameras"):
        evaluate(recipe, data, **arguments)
    with pytest.raises(ValueError, match="12 objects of test have no reconstructions from novel cameras, the first is"):
        evaluate(recipe, data, num_views=1, **arguments)


def test_a_recipe_without_a_schedule_is_not_fine_tuned(data, tmp_path):
    path = make_pairs_recipe(tmp_path)
    path.write_text(path.read_text().replace("[finetune]\nepochs = 8\nbatch_size = 8\nlr = 0.02\n", ""))
    with pytest.raises(ValueError, match=r"learns from pairs and has no \[finetune\] \(allowed: probe\)"):
        evaluate(str(path), data, protocol="finetune")


def broken(folder, body: str, make=make_recipe) -> str:
    """A recipe whose class is that of the tiny one but for a method."""
    path = make(folder)
    base = "Net" if make is make_recipe else "Pair"
    model = folder / "model.py"
    model.write_text(f"{model.read_text()}\n\nclass Broken({base}):\n    {body}\n")
    path.write_text(path.read_text().replace(f"model:{base}", "model:Broken"))
    return str(path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "def loss(self, batch, label_smoothing): return batch.points @ batch.points",
            r"Broken\.loss raises RuntimeError: Expected size",
        ),
        ("def loss(self, batch, label_smoothing): raise KeyError('x')", r"Broken\.loss raises KeyError: 'x'$"),
        ("def loss(self, batch): return 0", r"Broken\.loss raises TypeError: "),
        (
            "def loss(self, batch, label_smoothing): return 0.5",
            r"Broken\.loss returns float \(must be a tensor of floats",
        ),
        (
            "def loss(self, batch, label_smoothing): return self.logits(batch).sum(0)",
            r"Broken\.loss returns torch\.float32 of shape \[2\] \(must be a tensor of floats, a scalar\)",
        ),
        (
            "def loss(self, batch, label_smoothing): return torch.zeros((), dtype=torch.int64)",
            r"Broken\.loss returns torch\.int64 of shape \[\] \(must be",
        ),
        (
            "def loss(self, batch, label_smoothing): return torch.zeros(())",
            r"Broken\.loss returns what depends on no",
        ),
        (
            "def loss(self, batch, label_smoothing): return super().loss(batch, 0) * torch.nan",
            r"mine: the loss is nan at step 1 of epoch 1 \(must be finite; a lower train\.lr than 0\.02 may help\)",
        ),
        ("def logits(self, batch): return super().logits(batch)[:, :1]", r"Broken\.loss raises IndexError"),
        (
            "def logits(self, batch): return super().logits(batch).repeat(1, 1 + (not self.training))",
            r"Broken\.logits returns torch\.float32 of shape \[12, 4\] \(must be a .* floats, of shape \[12, 2\]\)",
        ),
        (
            "def logits(self, batch): return super().logits(batch)[0 if not self.training else slice(None)]",
            r"Broken\.logits returns torch\.float32 of shape \[2\]",
        ),
        (
            "def logits(self, batch): x = super().logits(batch); return x if self.training else x.long()",
            r"Broken\.logits returns torch\.int64 of shape \[12, 2\]",
        ),
        (
            "def logits(self, batch): x = super().logits(batch); x[3:5, 0] /= self.training; return x",
            r"Broken\.logits is not finite for ball_0016, and 2 of 12 in all \(must be finite",
        ),
        (
            "def logits(self, batch): x = super().logits(batch); return x if self.training else x - torch.inf",
            r"Broken\.logits is not finite for ball_0013, and 12 of 12 in all",
        ),
        (
            "def __init__(self, in_channels, num_classes, width): super().__init__(in_channels, num_classes, 'w')",
            r"options: Broken raises TypeError: .* \(allowed: values that it takes\)",
        ),
    ],
)
def test_a_third_partys_model_that_fails_is_named(data, tmp_path, body, message):
    recipe, out = broken(tmp_path / "theirs", body), tmp_path / "results"
    with pytest.raises(InputError, match=message) as caught:
        evaluate(recipe, data, num_points=8, out=out)
    if "the loss is" not in message:
        assert str(caught.value).startswith(f"{recipe}: ")
    assert list(out.glob("*")) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "def embed(self, batch): return super().embed(batch)[0]",
            r"Broken\.embed returns torch\.float32 of shape \[8\]",
        ),
        (
            "def embed(self, batch): return None",
            r"Broken\.embed returns NoneType \(must be a tensor of floats",
        ),
        ("def embed(self, batch): raise RuntimeError('no')", r"Broken\.embed raises RuntimeError: no$"),
        (
            "def embed(self, batch): x = super().embed(batch); return x if batch.images is not None else x / 0",
            r"Broken\.embed is not finite for ball_0013, and 12 of 12 in all",
        ),
        (
            "def embed(self, batch): x = super().embed(batch); return x if batch.images is None else x * torch.nan",
            r"Broken\.embed is not finite for ball_0013",
        ),
        (
            "def same_object(self, images, points): x = super().same_object(images, points); "
            "return x if self.training else x[:, None]",
            r"Broken\.same_object returns torch\.float32 of shape \[12, 1\] \(must be .*, of shape \[12\]\)",
        ),
        (
            "def same_object(self, images, points): x = super().same_object(images, points); "
            "return x if self.training else x * torch.inf",
            r"Broken\.same_object is not finite for ball_0013",
        ),
    ],
)
@pytest.mark.parametrize("protocol", ["probe", "finetune"])
def test_a_third_partys_model_of_pairs_that_fails_is_named(data, tmp_path, body, message, protocol):
    recipe, out = broken(tmp_path / "theirs", body, make_pairs_recipe), tmp_path / "results"
    with pytest.raises(InputError, match=message) as caught:
        evaluate(recipe, data, num_points=8, protocol=protocol, out=out)
    assert str(caught.value).startswith(f"{recipe}: model.py: ")
    assert list(out.glob("*")) == []


def test_faults_of_our_own_models_stay_faults(data, monkeypatch):
    """They are no bad input, and have a traceback."""
    kind = load_class(*find_recipe("pointnet"))
    monkeypatch.setattr(kind, "loss", lambda self, batch, label_smoothing: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate("pointnet:smoke", data, num_points=8)


def test_a_step_of_one_sample_that_batch_norm_does_not_take(data, tmp_path):
    recipe = make_recipe(tmp_path / "theirs")
    recipe.write_text(recipe.read_text().replace("batch_size = 8", "batch_size = 1"))
    with pytest.raises(InputError, match=r"mine: a step of one sample, 24 of 24 an epoch, .* than 1, or more objects"):
        evaluate(str(recipe), data, num_points=8)


def test_a_model_without_parameters(data, tmp_path):
    """By hand made features need no training."""
    recipe = tmp_path / "recipe.toml"
    about = 'name = "hand"\ntitle = "Hand"\nmodel = "model:Hand"\npaper = "-"'
    recipe.write_text(f"{about}\n[train]\nepochs = 0\nbatch_size = 8\nlr = 1\n")
    (tmp_path / "model.py").write_text(HAND)
    (result,) = evaluate(str(recipe), data, num_points=8, protocol="probe")
    assert result.metrics["accuracy"] > 0.5
    recipe.write_text(recipe.read_text().replace("epochs = 0", "epochs = 1"))
    with pytest.raises(InputError, match=r"hand: the model has no parameters to train \(allowed: epochs = 0\)"):
        evaluate(str(recipe), data, num_points=8, protocol="probe")


HAND = """
import torch


class Hand(torch.nn.Module):
    inputs = ("gaussians",)

    def __init__(self, in_channels, num_classes):
        super().__init__()

    def embed(self, batch):
        return batch.points.std(1)

    def logits(self, batch):
        return self.embed(batch)[:, :2]

    def loss(self, batch, label_smoothing):
        return self.logits(batch).sum()
"""
