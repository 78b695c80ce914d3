"""Models as folders: they come back bit by bit, from here or the Hub, and nothing in them is executed or half taken."""

import dataclasses
import hashlib
import json
import random
import shutil
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file

import gsbench
from gsbench.core.baseline import build_model, find_recipe
from gsbench.core.parsing import InputError
from gsbench.learn.calls import Classifier
from gsbench.learn.checkpoints import Checkpoint, from_pretrained, keep_pretrained, load_checkpoint, save_pretrained
from tests.learn.test_data import task
from tests.tiny_training import make_recipe


def describe(recipe, **changes) -> Checkpoint:
    base = {
        "recipe": recipe, "tasks": (task(regime=50, draw=1),), "seed": 3, "in_channels": 3, "num_classes": 2,
        "epochs": 6, "seconds": 1.5, "precision": "fp32",
    }  # fmt: skip
    return Checkpoint(**base | changes)


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory):
    return make_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture
def saved(recipe_path, tmp_path):
    """The folder, and the weights, of a trained third-party model."""
    recipe, path = find_recipe(str(recipe_path))
    torch.manual_seed(0)
    net = build_model(recipe, path, 3, 2)
    torch.nn.init.normal_(net.norm.running_mean)
    save_pretrained(tmp_path / "saved", net, describe(recipe))
    return tmp_path / "saved", net.state_dict()


@pytest.mark.parametrize("name", ["ssl-pointnet++:smoke", "pointnet:smoke"])
def test_a_baseline_of_gsbench_comes_back_without_being_named(tmp_path, name):
    recipe, path = find_recipe(name)
    torch.manual_seed(1)
    net = build_model(recipe, path, 10, 10)
    about = describe(recipe, in_channels=10, num_classes=10)
    save_pretrained(tmp_path, net, about)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    loaded, what = gsbench.from_pretrained(tmp_path)
    assert what == about == load_checkpoint(tmp_path)
    assert what.recipe.sha256() == recipe.sha256()
    assert type(loaded).__name__ == type(net).__name__
    assert not loaded.training
    for name, value in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_model_of_ones_own_comes_back_by_its_recipe(saved, recipe_path):
    folder, weights = saved
    loaded, about = from_pretrained(folder, str(recipe_path))
    assert about.tasks[0] == task(regime=50, draw=1)
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in weights.items())


def test_what_a_model_started_from_need_not_be_there(tmp_path):
    """It would be a download of hundreds of megabytes, on machines without a network, and then be overwritten."""
    recipe, path = find_recipe("mvcnn:imagenet-resnet")
    recipe = dataclasses.replace(recipe, pretrained="hub:org/gone", images=dataclasses.replace(recipe.images, size=32))
    net = build_model(recipe, path, 3, 10, start=False)
    save_pretrained(tmp_path / "kept", net, describe(recipe, num_classes=10))
    changed = tmp_path / "recipe.toml"
    changed.write_text(path.read_text().replace("hub:timm/resnet18.tv_in1k", "hub:org/gone"))
    shutil.copy(path.parent / "model.py", tmp_path)
    loaded, _ = from_pretrained(tmp_path / "kept", f"{changed}:imagenet-resnet")
    assert loaded.imagenet, "pixels are normalized as in training"
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in net.state_dict().items())


def test_a_classifier_on_an_encoder_comes_back(tmp_path):
    recipe, path = find_recipe("ssl-plus:smoke")
    net = Classifier(build_model(recipe, path, 3, 10), 128, 10)
    save_pretrained(tmp_path, net, describe(recipe, num_classes=10, encoder_sha256="a" * 64))
    loaded, about = gsbench.from_pretrained(tmp_path)
    assert (type(loaded), about.encoder_sha256) == (Classifier, "a" * 64)
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in net.state_dict().items())
    resave(tmp_path, {name: w.contiguous() for name, w in net.state_dict().items() if name != "last.weight"})
    with pytest.raises(ValueError, match=r"model\.safetensors: lacks last\.weight of two dimensions"):
        gsbench.from_pretrained(tmp_path)


def test_from_the_hub(saved, recipe_path, monkeypatch):
    folder, weights = saved
    asked = []

    def download(repo, file, *, revision, etag_timeout):
        asked.append((repo, file, revision))
        return str(folder / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    loaded, _ = from_pretrained("org/model", str(recipe_path), revision="v1")
    assert torch.equal(loaded.first.weight, weights["first.weight"])
    assert asked == [("org/model", "config.json", "v1"), ("org/model", "model.safetensors", "v1")]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "org/none",
            r"org/none: no such folder, and config\.json is not to be had from the Hugging Face Hub",
        ),
        ("no/such/folder", r"no/such/folder: no such folder \(allowed: a checkpoint's folder, or ORG/NAME"),
    ],
)
def test_no_such_model(source, message):
    with pytest.raises(ValueError, match=message):
        from_pretrained(source)


def change(folder, **changes):
    """Lays changes of the recipe over the stored one."""
    config = json.loads((folder / "config.json").read_text())
    config["checkpoint"]["recipe"] |= changes
    (folder / "config.json").write_text(json.dumps(config))


EVIL = "open('executed', 'w')\nclass Net: pass\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"recipe 'mine' is no baseline of gsbench, and code is never taken from a checkpoint"),
        ({"name": "recipe.toml"}, "recipe 'recipe.toml' is no baseline of gsbench"),
        ({"name": "pointnet"}, r"model of its recipe is 'model:Net' \(must be 'model:PointNet', as in"),
        ({"name": "pointnet", "model": "os:system"}, r"model of its recipe is 'os:system' \(must be 'model:PointNet'"),
        ({"name": "pointnet", "model": "model:PointNet", "pretrained": "/etc/passwd"}, "pretrained of its recipe is"),
        ({"name": "pointnet", "model": "model:PointNet", "supervision": "pairs"}, "supervision of its recipe is"),
        ({"auto_map": {"AutoModel": "model.Net"}}, r"config\.json: checkpoint: recipe: unknown key 'auto_map'"),
    ],
)
def test_code_in_a_checkpoint_is_refused(saved, tmp_path, monkeypatch, changes, message):
    folder, _ = saved
    (folder / "model.py").write_text(EVIL)
    (folder / "recipe.toml").write_text((folder / "config.json").read_text())
    monkeypatch.chdir(folder)
    change(folder, **changes)
    with pytest.raises(ValueError, match=message):
        from_pretrained(folder)
    assert not (folder / "executed").exists()


def test_pickles_are_not_read(saved, recipe_path):
    folder, weights = saved
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"model\.safetensors: cannot be read \(No such file"):
        from_pretrained(folder, str(recipe_path))


def resave(folder, weights):
    """Puts other weights into a checkpoint, which then vouches for them."""
    save_file(weights, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["weights_sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: w.pop("first.weight"), r"lacks first\.weight, 1 in all \(must have the weights of its recipe\)"),
        (lambda w: w.update(extra=torch.ones(1), more=torch.ones(1)), "has the unknown extra, 2 in all"),
        (lambda w: w.update({"last.bias": torch.ones(3)}), r"last\.bias has shape \[3\] \(must be \[2\]\)"),
        (
            lambda w: w.update({"last.bias": torch.ones(2).half()}),
            r"last\.bias has type torch\.float16 \(must be",
        ),
    ],
)
def test_weights_of_another_architecture(saved, recipe_path, spoil, message):
    folder, _ = saved
    weights = load_file(folder / "model.safetensors")
    spoil(weights)
    resave(folder, weights)
    with pytest.raises(ValueError, match=rf"model\.safetensors: {message}"):
        from_pretrained(folder, str(recipe_path))


def test_a_width_that_is_not_the_weights(saved, recipe_path):
    folder, _ = saved
    change(folder, options={"width": 4})
    with pytest.raises(
        ValueError, match=r"model\.safetensors: \S+ has shape \[(8|8, 3|2, 8)\] \(must be \[(4|4, 3|2, 4)\]\)"
    ):
        from_pretrained(folder, str(recipe_path))


def test_damaged_files(saved, recipe_path, tmp_path):
    folder, _ = saved
    for file, content, message in (
        ("model.safetensors", b"\0" * 100, "not the weights that config.json is about"),
        ("config.json", b"{", "config.json: not JSON"),
        ("config.json", b"[]", r"format_version is None \(allowed: 1 to 2\)"),
        (
            "config.json",
            b'{"format_version": 3}',
            r"format_version is 3 \(allowed: 1 to 2; it was written",
        ),
        ("config.json", b'{"format_version": 1}', "key 'weights_sha256' is missing"),
    ):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        (copy / file).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            from_pretrained(copy, str(recipe_path))
    (copy / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json: cannot be read \(No such file"):
        load_checkpoint(copy)


def test_a_folder_has_no_revisions(saved):
    with pytest.raises(ValueError, match="revision v1 asked for, a folder has none"):
        from_pretrained(saved[0], revision="v1")


def test_saving_again_replaces(saved, recipe_path):
    folder, _ = saved
    recipe, path = find_recipe(str(recipe_path))
    other = build_model(recipe, path, 5, 2)
    about = dataclasses.replace(describe(recipe), in_channels=5)
    save_pretrained(folder, other, about)
    loaded, what = from_pretrained(folder, str(recipe_path))
    assert what == about
    assert torch.equal(loaded.first.weight, other.first.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(saved, recipe_path, value):
    folder, _ = saved
    weights = load_file(folder / "model.safetensors")
    weights["last.weight"][0, 0] = value
    resave(folder, weights)
    with pytest.raises(ValueError, match=r"model\.safetensors: last\.weight is not finite \(must be numbers"):
        from_pretrained(folder, str(recipe_path))
    weights["last.weight"][0, 0] = 0
    weights["norm.running_var"][0] = float("nan")
    resave(folder, weights)
    with pytest.raises(ValueError, match=r"norm\.running_var is not finite"):
        from_pretrained(folder, str(recipe_path))


def edit(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config["checkpoint"])
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(in_channels=0), r"config\.json: checkpoint: in_channels is 0 \(allowed: 1 to 65536\)"),
        (lambda c: c.update(in_channels=10**12), r"in_channels is 1000000000000 \(allowed: 1 to 65536\)"),
        (lambda c: c.update(num_classes=-3), r"num_classes is -3 \(allowed: 1 to"),
        (lambda c: c.update(epochs=-1), r"epochs is -1 \(must be finite and at least 0\)"),
        (lambda c: c.update(seconds=float("inf")), r"seconds is inf"),
        (lambda c: c.update(seed=True), r"seed: True is not allowed"),
        (lambda c: c["recipe"].update(options={"width": "8"}), r"config\.json: no model comes of its recipe's options"),
        (lambda c: c["recipe"].update(options={"width": -1}), r"config\.json: no model comes of its recipe's options"),
        (lambda c: c["recipe"].update(options={"width": 10**9}), r"model\.safetensors: \S+ has shape .* \(must be \["),
        (lambda c: c.update(tasks=[]), r"config\.json: checkpoint: tasks is empty"),
        (lambda c: c.update(encoder_sha256="a"), r"model\.safetensors: \S+ \S+ unknown|lacks"),
        (lambda c: c.update(code_sha256=7), r"config\.json: checkpoint: code_sha256: 7 is not allowed"),
    ],
)
def test_what_cannot_be_true_of_a_checkpoint(saved, recipe_path, change, message):
    folder, _ = saved
    edit(folder, change)
    with pytest.raises(ValueError, match=message) as caught:
        from_pretrained(folder, str(recipe_path))
    assert "\n" not in str(caught.value)


def test_one_of_the_first_format_says_nothing_of_its_code(saved, recipe_path):
    folder, weights = saved
    config = json.loads((folder / "config.json").read_text())
    assert config["format_version"] == 2
    config["format_version"] = 1
    del config["checkpoint"]["code_sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    loaded, about = from_pretrained(folder, str(recipe_path))
    assert about.code_sha256 is None
    assert torch.equal(loaded.first.weight, weights["first.weight"])


def test_mutated_checkpoints_are_read_or_refused(saved, recipe_path, tmp_path):
    """Bytes changed, lost or put in at random, and the hash made to fit: no other error comes of them."""
    folder, _ = saved
    rng = random.Random(0)
    refused: list[str] = []
    for number in range(300):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        file = copy / ("model.safetensors" if number % 2 else "config.json")
        data = bytearray(file.read_bytes())
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(min(len(data), 400) if number % 4 == 1 else len(data))
            data[at : at + rng.choice((0, 1, 1, 5))] = rng.randbytes(rng.choice((0, 1, 1, 5)))
        file.write_bytes(data)
        if number % 2:
            config = json.loads((copy / "config.json").read_text())
            config["weights_sha256"] = hashlib.sha256(data).hexdigest()
            (copy / "config.json").write_text(json.dumps(config))
        try:
            from_pretrained(copy, str(recipe_path))
        except InputError as error:
            refused.append(str(error).replace(str(copy), "HERE"))
    assert len(refused) > 200
    assert not [line for line in refused if "HERE" not in line or "\n" in line]


def test_of_several_the_first_is_kept_and_nobody_reads_a_half(saved, recipe_path, tmp_path):
    recipe, path = find_recipe(str(recipe_path))
    target, seen, stop = tmp_path / "kept" / "target", [], threading.Event()

    def read():
        while not stop.is_set():
            if (target / "config.json").exists():
                seen.append(from_pretrained(target, str(recipe_path))[1].seconds)

    reader = threading.Thread(target=read)
    reader.start()
    kept = []
    try:
        for number in range(12):
            about = dataclasses.replace(describe(recipe), seconds=float(number))
            kept.append(keep_pretrained(target, build_model(recipe, path, 3, 2), about))
    finally:
        stop.set()
        reader.join()
    assert kept == [True] + [False] * 11
    assert set(seen) <= {0.0}
    assert [entry.name for entry in target.parent.iterdir()] == ["target"]
