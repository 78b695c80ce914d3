"""Recipes: read, overlaid, hashed; and every wrong key or value refused with what is allowed."""

import dataclasses
import json
import tomllib
from pathlib import Path

import pytest

from gsbench.core.baseline import find_recipe, shipped_recipes
from gsbench.core.parsing import InputError, overlay, parse
from gsbench.core.recipe import ImageOptions, Recipe, load_recipe

ENTRIES = Path(__file__).resolve().parents[2] / "leaderboard" / "entries"

GOOD = """
name = "net"
title = "Net"
model = "model:Net"
paper = "https://example.org"

[options]
width = 64
nested = { deep = [1, 2] }

[train]
epochs = 200
batch_size = 24
lr = 1

[augment]
scale = [0.8, 1.25]
rotate_z = true

[[reported]]
dataset = "ModelNet40"
modality = "points"
accuracy = 0.919
source = "the paper"

[variants.quick.train]
epochs = 5

[variants.wide.options]
width = 128
nested = { more = true }
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(GOOD)
    return path


def test_a_recipe_is_read_with_defaults(path):
    recipe = load_recipe(path)
    assert (recipe.name, recipe.train.epochs, recipe.train.lr, recipe.train.optimizer) == ("net", 200, 1.0, "adam")
    assert isinstance(recipe.train.lr, float)
    assert recipe.augment.scale == (0.8, 1.25)
    assert recipe.augment.jitter == 0.0
    assert recipe.reported[0].regime == 100


def test_a_variant_changes_only_what_it_names(path):
    plain, quick, wide = load_recipe(path), load_recipe(path, "quick"), load_recipe(path, "wide")
    assert quick == dataclasses.replace(plain, name="net:quick", train=dataclasses.replace(plain.train, epochs=5))
    assert wide.options == {"width": 128, "nested": {"deep": [1, 2], "more": True}}
    assert plain.options == {"width": 64, "nested": {"deep": [1, 2]}}


def test_a_variant_may_extend_another(path):
    path.write_text(GOOD + '[variants.both]\nextends = "wide"\ntrain = { epochs = 5 }\n')
    quick, wide, both = (load_recipe(path, name) for name in ("quick", "wide", "both"))
    assert (both.name, both.train, both.options) == ("net:both", quick.train, wide.options)
    path.write_text(path.read_text() + '[variants.all]\nextends = "both"\noptions = { width = 2 }\n')
    everything = load_recipe(path, "all")
    assert (everything.train, everything.options) == (both.train, {**both.options, "width": 2})


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ('extends = "lost"', r"variant odd: extends is 'lost' \(allowed: quick, wide\)"),
        ("extends = 3", r"variant odd: extends is 3 \(allowed: quick, wide\)"),
        ('extends = "odd"', r"variant odd: extends is 'odd' \(allowed: quick, wide\)"),
    ],
)
def test_a_variant_extends_no_other_than_those_there_are(path, over, message):
    path.write_text(f"{GOOD}[variants.odd]\n{over}\n")
    with pytest.raises(ValueError, match=message):
        load_recipe(path)


def test_variants_that_extend_each_other_are_refused(path):
    path.write_text(GOOD + '[variants.one]\nextends = "two"\n[variants.two]\nextends = "one"\n')
    with pytest.raises(ValueError, match=r"variant two: extends is 'one' \(allowed: quick, wide\)"):
        load_recipe(path, "one")


def test_the_hash_covers_what_decides_a_score_and_nothing_else(path):
    plain = load_recipe(path)
    assert load_recipe(path, "quick").sha256() != plain.sha256() != load_recipe(path, "wide").sha256()
    told_otherwise = dataclasses.replace(plain, title="Other", paper="-", reported=(), variants={}, name="other")
    assert told_otherwise.sha256() == plain.sha256()


def changed_digests(entries: Path) -> list[str]:
    """Models whose recipe no longer has the digest of an entry; anybody's own recipe is not here to be asked."""
    models = [json.loads(path.read_text())["model"] for path in sorted(entries.glob("*/*.json"))]
    assert models, "there are entries"
    ours = [model for model in models if model["name"].partition(":")[0] in shipped_recipes()]
    return [model["name"] for model in ours if find_recipe(model["name"])[0].sha256() != model["recipe_sha256"]]


def test_recipes_keep_the_digest_of_their_entries(tmp_path):
    assert changed_digests(ENTRIES) == []
    (tmp_path / "task").mkdir()
    record = json.loads(min(ENTRIES.glob("*/*.json")).read_text())
    record["model"]["recipe_sha256"] = "00" * 32
    for name, changed in (("somebody-elses", []), ("pointnet:smoke", ["pointnet:smoke"])):
        record["model"]["name"] = name
        (tmp_path / "task" / "outside-s0.json").write_text(json.dumps(record))
        assert changed_digests(tmp_path) == changed


@pytest.mark.parametrize(
    "extra",
    [
        "[images]\nsize = 64",
        "[images]\nflip = true",
        "[points]\nmin_opacity = 0.5",
        "[images]\ncrop_scale = [0.5, 1]",
        "[finetune]\nepochs = 1\nbatch_size = 1\nlr = 1",
        "[[pretraining]]\nepochs = 1\nbatch_size = 1\nlr = 1",
        "[[pretraining]]\nepochs = 1\nbatch_size = 1\nlr = 1\nviews_per_sample = 1",
    ],
)
def test_keys_of_images_and_stages_count_for_the_hash(path, extra):
    plain = load_recipe(path)
    path.write_text(f"{GOOD}\n{extra}\n")
    changed = load_recipe(path)
    assert changed.sha256() != plain.sha256()
    assert len({changed.sha256(), load_recipe(path, "quick").sha256(), load_recipe(path, "wide").sha256()}) == 3


@pytest.mark.parametrize(
    "extra", ['supervision = "pairs"', 'pretrained = "hub:timm/resnet18.tv_in1k"', "train.views_per_sample = 1"]
)
def test_supervision_weights_and_samples_count_for_the_hash(path, extra):
    plain = load_recipe(path)
    path.write_text(
        GOOD.replace("lr = 1", f"lr = 1\n{extra[6:]}") if extra.startswith("train.") else f"{extra}\n{GOOD}"
    )
    assert load_recipe(path).sha256() != plain.sha256()


def test_defaults_that_are_spelt_out_change_no_hash(path):
    plain = load_recipe(path)
    path.write_text(
        f'supervision = "labels"\npretraining = []\n{GOOD}\n[images]\nsize = 224\ncrop_scale = [1, 1]\n[points]\n'
    )
    assert load_recipe(path).sha256() == plain.sha256()


def test_stages_are_read_in_their_order(path):
    stage = "[[pretraining]]\nepochs = {}\nbatch_size = 64\nlr = 5e-5\nviews_per_sample = 1\n"
    path.write_text(f"{GOOD}\n{stage.format(30)}\n{stage.format(3)}\n")
    recipe = load_recipe(path)
    assert [how.epochs for how in recipe.pretraining] == [30, 3]
    assert recipe.pretraining[0].views_per_sample == 1
    assert recipe.train.views_per_sample is None
    assert recipe.images == ImageOptions(224, (1.0, 1.0), flip=False)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("[images]\ncrop_scale = [0, 1]", r"images: crop_scale is 0 to 1 \(allowed: above 0, up to 1"),
        ("[images]\ncrop_scale = [1, 0.5]", r"images: crop_scale is 1 to 0\.5"),
        ("[images]\nsize = 0", r"images: size is 0 \(allowed: 1 to 4096\)"),
        ("[images]\nsizes = 64", r"images: unknown key 'sizes'; did you mean 'size'"),
        ("[[pretraining]]\nepochs = 1", r"pretraining\[0\]: key 'batch_size' is missing"),
        (
            "[[pretraining]]\nepochs = 1\nbatch_size = 1\nlr = 1\nviews_per_sample = 0",
            r"pretraining\[0\]: views_per_sample is 0",
        ),
    ],
)
def test_wrong_images_and_stages_are_refused(path, extra, message):
    path.write_text(f"{GOOD}\n{extra}\n")
    with pytest.raises(ValueError, match=message):
        load_recipe(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("epochs = -1", "train: epochs is -1 (allowed: 0 to 100000)"),
        (f"epochs = {10**12}", f"train: epochs is {10**12} (allowed: 0 to 100000)"),
        ("batch_size = 0", "train: batch_size is 0 (must be at least 1)"),
        ("lr = 0", "train: lr is 0.0 (must be above 0)"),
        ("lr = nan", "train: lr is nan (must be finite)"),
        ("lr = inf", "train: lr is inf (must be finite)"),
        ("lr_floor = 2", "train: lr_floor is 2.0 (allowed: 0 to 1.0)"),
        ("weight_decay = -0.1", "train: weight_decay is -0.1 (must be at least 0)"),
        ("step_epochs = 0", "train: step_epochs is 0.0 (must be above 0)"),
        ("step_factor = 1.5", "train: step_factor is 1.5 (allowed: above 0 to 1)"),
        ("bn_momentum = -0.5", "train: bn_momentum is -0.5 (allowed: 0 to 1)"),
        ("bn_momentum_floor = 2", "train: bn_momentum_floor is 2.0 (allowed: 0 to 1)"),
        ("label_smoothing = 2", "train: label_smoothing is 2.0 (allowed: 0 to below 1)"),
        ("views_per_sample = -1", "train: views_per_sample is -1 (must be at least 1)"),
        ("augment.point_dropout = 7", "augment: point_dropout is 7.0 (allowed: 0 to 1)"),
        ("augment.scale = [1.25, 0.8]", "augment: scale is 1.25 to 0.8 (allowed: 0.01 to 100, the smaller first)"),
        ("augment.scale = [0, 1]", "augment: scale is 0 to 1 (allowed: 0.01 to"),
        ("augment.scale = [1, nan]", "augment: scale[1] is nan (must be finite)"),
        ("augment.shift = -1", "augment: shift is -1.0 (allowed: 0 to 100)"),
        ("augment.jitter = 1e30", "augment: jitter is 1e+30 (allowed: 0 to 100)"),
        ("images.size = 1000000", "images: size is 1000000 (allowed: 1 to 4096)"),
        ("points.min_opacity = nan", "points: min_opacity is nan (must be finite)"),
        ("finetune.batch_size = 0", "finetune: batch_size is 0 (must be at least 1)"),
        ("pretraining.step_epochs = 0", "pretraining[0]: step_epochs is 0.0 (must be above 0)"),
        ("reported.accuracy = 91.9", "reported[0]: accuracy is 91.9 (allowed: 0 to 1)"),
        ("reported.regime = 20", "reported[0]: regime: 20 is not allowed (must be 100 | 50 | 10 | 1)"),
        ("reported.num_views = 0", "reported[0]: num_views is 0 (allowed: 1 to 1000000)"),
        ('name = "../up"', "name is '../up' (allowed: a letter or digit"),
        (f'name = "{"n" * 81}"', f"name is '{'n' * 81}' (allowed: a letter or digit"),
    ],
)
def test_values_out_of_range_are_refused_where_they_are_read(path, line, message):
    """In the recipe and in a variant alike: in one line that says what is allowed."""
    needed = {"finetune": {"epochs": 1, "batch_size": 8, "lr": 1.0}}
    needed["pretraining"] = needed["finetune"]
    needed["reported"] = {"dataset": "d", "modality": "points", "accuracy": 0.5, "source": "s"}
    table, _, key = line.partition(" = ")[0].rpartition(".")
    value = tomllib.loads(f"x = {line.partition(' = ')[2]}")["x"]
    over = {key: value} if key == "name" else {table or "train": needed.get(table, {}) | {key: value}}
    over = {name: [keys] if name in ("pretraining", "reported") else keys for name, keys in over.items()}
    with pytest.raises(InputError) as caught:
        parse(overlay(tomllib.loads(GOOD), over), Recipe, "r.toml")
    assert str(caught.value).startswith(f"r.toml: {message}")
    if key != "name":  # a variant's is its own
        path.write_text(f"{GOOD}\n[variants.odd]\n{as_toml(over)}\n")
        with pytest.raises(InputError, match="variant odd: ") as caught:
            load_recipe(path)
        assert message in str(caught.value)


def as_toml(table: dict) -> str:
    return "\n".join(f"{key} = {inline(value)}" for key, value in table.items())


def inline(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "epochs = 200",
            "epoch = 200",
            r"train: unknown key 'epoch'; did you mean 'epochs'.*allowed: epochs, batch",
        ),
        ('title = "Net"', "", r"key 'title' is missing \(required: a string\)"),
        ("epochs = 200", "epochs = 2.5", r"train: epochs: 2\.5 is not allowed \(must be a whole number\)"),
        ("epochs = 200", "epochs = true", "epochs: True is not allowed"),
        ("lr = 1", 'lr = "fast"', r"lr: 'fast' is not allowed \(must be a number\)"),
        ("lr = 1", 'lr = 1\noptimizer = "lion"', r"optimizer: 'lion' .*adam \| adamw \| sgd"),
        ("rotate_z = true", "rotate_z = 1", r"rotate_z: 1 .*true or false"),
        ("scale = [0.8, 1.25]", "scale = [0.8]", "augment: scale: .*a list of a number, 2 long"),
        ("accuracy = 0.919", 'accuracy = "91.9"', r"reported\[0\]: accuracy: '91\.9'"),
        (
            "rotate_z = true",
            "halves = true",
            r"augment\.halves is true with supervision labels \(allowed: with pairs\)",
        ),
        ("epochs = 5", "epohcs = 5", "variant quick: train: unknown key 'epohcs'"),
        ("[options]", "[options", "not TOML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_what_is_allowed(path, old, new, message):
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_an_unknown_variant_names_the_known_ones(path):
    with pytest.raises(ValueError, match=r"no variant 'quik' of net; did you mean 'quick'\? \(it has: quick, wide\)"):
        load_recipe(path, "quik")
