"""How a recipe becomes a model: by name, by path, from a folder outside the tree; and what is refused."""

import dataclasses
import os
import subprocess
import sys

import pytest
import torch

from gsbench.core.baseline import (
    Baseline,
    PairBaseline,
    build_model,
    code_sha256,
    find_recipe,
    load_class,
    shipped_recipes,
)
from gsbench.core.parsing import InputError

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


IMPORTS = {
    "from .layers import make": "make",
    "from layers import make": "make",
    "import layers": "layers.make",
    "from . import layers": "layers.make",
    "import layers as own": "own.make",
    "import parts.deep": "parts.deep.make",
    "from .parts import deep": "deep.make",
    "from parts.deep import make": "make",
}


def write_parts(folder, width, imports, make):
    """A recipe of several files, whose layer is `width` wider than it is told."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.toml").write_text(RECIPE)
    model = MODEL.replace("import torch\n", f"import torch\n\n{imports}\n", 1)
    (folder / "model.py").write_text(model.replace("torch.nn.Linear(in_channels", f"{make}(in_channels"))
    (folder / "parts").mkdir(exist_ok=True)
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "parts" / "deep.py").write_text("from layers import make\n\nassert make\n")
    (folder / "layers.py").write_text(
        f"import random\n\nimport torch\n\nassert random.random\n\n"
        f"def make(a, b):\n    import extra\n    return torch.nn.Linear(a, b + {width} + extra.NONE)\n"
    )
    (folder / "extra.py").write_text("NONE = 0\n")
    (folder / "random.py").write_text("raise RuntimeError('names of the standard library stay its own')\n")
    return find_recipe(str(folder / "recipe.toml"))


@pytest.mark.parametrize("imports", IMPORTS)
def test_a_recipe_of_several_files(tmp_path, imports):
    """Two of them in one process, whose files have the same names."""
    for width in (1, 2):
        recipe, path = write_parts(tmp_path / str(width), width, imports, IMPORTS[imports])
        assert build_model(recipe, path, 3, 10).layer.weight.shape == (10 + width, 3)
    assert not {"layers", "extra", "parts"} & set(sys.modules)
    assert not list(tmp_path.rglob("__pycache__")), "nothing is left in the recipe's folder"


def test_a_file_that_was_edited_is_run_anew_in_the_same_process(tmp_path):
    recipe, path = write_parts(tmp_path, 1, "import layers", "layers.make")
    first, code = build_model(recipe, path, 3, 10), code_sha256(recipe, path)
    layers = tmp_path / "layers.py"
    status = layers.stat()
    layers.write_text(layers.read_text().replace("b + 1", "b + 5"))
    os.utime(layers, ns=(status.st_atime_ns, status.st_mtime_ns))  # in the same second, and as long
    assert build_model(recipe, path, 3, 10).layer.weight.shape == (15, 3)
    assert first.layer.weight.shape == (11, 3)
    assert code_sha256(recipe, path) != code


def test_a_module_that_is_missing_is_named(tmp_path):
    recipe, path = write_parts(tmp_path, 1, "from .lost import make", "make")
    with pytest.raises(ValueError, match=r"recipe\.toml: model: model\.py fails on import .*\.lost'"):
        load_class(recipe, path)
    (tmp_path / "model.py").write_text("import torch\nclass Net(:\n")
    with pytest.raises(ValueError, match=r"recipe\.toml: model: recipe/model\.py: line 2 is no Python"):
        load_class(recipe, path)


def test_a_shipped_model_is_the_one_that_others_import():
    import gsbench_baselines.pointnet.model as model

    assert load_class(*find_recipe("pointnet")) is model.PointNet


def test_the_code_of_a_score_is_what_its_model_and_gsbench_run(tmp_path):
    recipe, path = write_parts(tmp_path / "a", 1, "import layers", "layers.make")
    code = code_sha256(recipe, path)
    assert len(code) == 64
    assert code_sha256(*write_parts(tmp_path / "elsewhere", 1, "import layers", "layers.make")) == code
    (tmp_path / "a" / "unused.py").write_text("anything")
    path.write_text(path.read_text().replace("epochs = 1", "epochs = 2"))
    assert code_sha256(*find_recipe(str(path))) == code, "the recipe has a digest of its own"
    for name in ("model", "layers", "extra"):
        file = tmp_path / "a" / f"{name}.py"
        written = file.read_text()
        file.write_text(written + "# changed\n")
        assert code_sha256(recipe, path) != code, name
        file.write_text(written.replace("\n", "\r\n"))
        assert code_sha256(recipe, path) == code, "line ends are the checkout's"
        file.write_text(written)
    assert code_sha256(*find_recipe("pointnet")) != code_sha256(*find_recipe("pointnet++"))
    assert code_sha256(*find_recipe("pointnet++:quick")) == code_sha256(*find_recipe("pointnet++"))


def test_the_code_of_a_score_is_the_same_in_another_process_and_loads_no_torch(tmp_path):
    recipe, path = write_parts(tmp_path, 1, "import layers", "layers.make")
    script = (
        "import sys; from gsbench.core.baseline import code_sha256, find_recipe; "
        f"print(code_sha256(*find_recipe({str(path)!r}))); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == code_sha256(recipe, path)


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
