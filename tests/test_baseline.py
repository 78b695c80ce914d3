"""How a recipe becomes a model: by name, by path, from a folder outside the tree; and what is refused."""

import dataclasses

import pytest
import torch

from gsbench.baseline import Baseline, PairBaseline, build_model, find_recipe, load_class, shipped_recipes
from gsbench.parsing import InputError

RECIPE = """
name = "mine"
title = "Mine"
model = "model:Net"
paper = "-"

[options]
width = 8

[train]
epochs = 1
batch_size = 2
lr = 0.1
"""

MODEL = """
import torch


class Net(torch.nn.Module):
    inputs = ("points",)

    def __init__(self, in_channels, num_classes, width):
        super().__init__()
        if width % 2:
            raise ValueError(f"width is {width} (must be even)")
        self.layer = torch.nn.Linear(in_channels, num_classes)

    def embed(self, batch):
        return batch.points.amax(dim=1)

    def logits(self, batch):
        return self.layer(self.embed(batch))

    def loss(self, batch, label_smoothing):
        return self.logits(batch).sum()
"""


@pytest.fixture
def recipe_path(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path / "recipe.toml"


def test_every_shipped_recipe_builds():
    assert {"pointnet", "pointnet++"} <= set(shipped_recipes())
    for name in shipped_recipes():
        recipe, path = find_recipe(name)
        assert recipe.name == name
        assert set(load_class(recipe, path).inputs) <= {"points", "gaussians", "images"}
        with torch.device("meta"):  # the largest have 130 million weights
            protocol = PairBaseline if recipe.supervision == "pairs" else Baseline
            assert isinstance(build_model(recipe, path, 3, 10), protocol)


def test_a_recipe_by_path_finds_the_model_beside_it(recipe_path):
    recipe, path = find_recipe(str(recipe_path))
    model = build_model(recipe, path, in_channels=3, num_classes=10)
    assert isinstance(model, Baseline)
    assert model.layer.weight.shape == (10, 3)


def test_two_models_of_the_same_file_name_do_not_mix(recipe_path, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "recipe.toml").write_text(RECIPE)
    (other / "model.py").write_text(MODEL.replace('inputs = ("points",)', 'inputs = ("gaussians",)'))
    kinds = [load_class(*find_recipe(str(path))) for path in (recipe_path, other / "recipe.toml")]
    assert [kind.inputs for kind in kinds] == [("points",), ("gaussians",)]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("pointnt", r"no baseline 'pointnt'; did you mean 'pointnet'.*known: .*pointnet\+\+"),
        ("pointnet++:quik", "no variant 'quik' of pointnet.*did you mean 'quick'"),
        ("nowhere/recipe.toml", r"nowhere/recipe\.toml: cannot be read"),
    ],
)
def test_an_unknown_model(model, message):
    with pytest.raises(ValueError, match=message):
        find_recipe(model)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"model:Net"', '"model"', "must be 'module:Class'"),
        ('"model:Net"', '"model:Nett"', "has no class 'Nett'"),
        ('"model:Net"', '"no_such_module:Net"', "cannot import 'no_such_module'"),
        ("width = 8", "widht = 8", r"options: unknown key 'widht'; did you mean 'width'\? \(allowed: width\)"),
        ("width = 8", "width = 7", r"options: width is 7 \(must be even\)"),
        ("width = 8", "pretrained = 'x'", r"options: unknown key 'pretrained'"),
        ('paper = "-"', 'paper = "-"\npretrained = "x"', r"pretrained: model:Net takes no weights to start from"),
    ],
)
def test_a_recipe_that_does_not_fit_its_model(recipe_path, old, new, message):
    recipe_path.write_text(RECIPE.replace(old, new))
    with pytest.raises(ValueError, match=message) as caught:
        build_model(*find_recipe(str(recipe_path)), in_channels=3, num_classes=10)
    assert str(recipe_path) in str(caught.value)


def test_a_model_of_pairs_is_told_of_no_classes(recipe_path, tmp_path):
    text = RECIPE.replace('paper = "-"', 'paper = "-"\nsupervision = "pairs"')
    recipe_path.write_text(text)
    message = r"Net is not a PairBaseline: it lacks same_object \(needs inputs, loss, embed, same_object where"
    with pytest.raises(ValueError, match=message):
        load_class(*find_recipe(str(recipe_path)))
    own = tmp_path / "own"
    own.mkdir()
    (own / "recipe.toml").write_text(text)
    model = MODEL.replace("def logits(self, batch)", "def same_object(self, images, points)")
    model = model.replace("num_classes, width", "width").replace("in_channels, num_classes)", "in_channels, 1)")
    (own / "model.py").write_text(model)
    assert isinstance(build_model(*find_recipe(str(own / "recipe.toml")), in_channels=3, num_classes=10), PairBaseline)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def loss(", "def cost(", "Net is not a Baseline: it lacks loss"),
        ("    inputs = (", "    takes = (", "it lacks inputs"),
        ("class Net(torch.nn.Module)", "class Net", r"it is no torch\.nn\.Module"),
        ("import torch\n", "import torch\n1 / 0\n", r"model\.py fails on import \(ZeroDivisionError"),
    ],
)
def test_a_class_that_is_no_baseline(recipe_path, old, new, message):
    (recipe_path.parent / "model.py").write_text(MODEL.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        load_class(*find_recipe(str(recipe_path)))


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("pointnet", "regularizer", "x", r"options: regularizer: 'x' is not allowed \(must be float\)"),
        ("pointnet", "dropout", True, r"options: dropout: True is not allowed \(must be float\)"),
        ("pointnet++", "grouping", 3, r"options: grouping: 3 is not allowed \(must be str\)"),
        ("ssl-plus", "code", 1.5, r"options: code: 1\.5 is not allowed \(must be int\)"),
    ],
)
def test_options_are_of_the_constructors_types(name, key, value, message):
    """Some would be told only in the middle of a training, by a traceback."""
    recipe, path = find_recipe(name)
    recipe = dataclasses.replace(recipe, options=recipe.options | {key: value})
    with pytest.raises(InputError, match=message):
        build_model(recipe, path, 3, 10)
