"""MVCNN: a maximum over views, single views as a special case, its recipes, and weights from a Hub."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
from gsbench_baselines.images import views as module
from gsbench_baselines.images.backbones import ResNet18
from gsbench_baselines.mvcnn.model import MVCNN
from safetensors.torch import save

from gsbench.core.baseline import Baseline, build_model, find_recipe
from gsbench.core.types import Batch


def make_batch(objects: int = 3, views: int = 4, size: int = 32) -> Batch:
    images = torch.randint(0, 256, (objects, views, size, size, 3), dtype=torch.uint8).permute(0, 1, 4, 2, 3)
    return Batch(tuple(map(str, range(objects))), torch.arange(objects), images=images)


def views(batch: Batch, index: slice | list[int]) -> Batch:
    return Batch(batch.ids, batch.labels, images=batch.images[:, index])


@pytest.fixture(scope="module")
def net() -> MVCNN:
    torch.manual_seed(0)
    return MVCNN(3, 10, backbone="resnet18").eval()


@torch.no_grad()
def test_features_are_the_maximum_over_views(net):
    batch = make_batch()
    assert isinstance(net, Baseline)
    alone = torch.stack([net.embed(views(batch, [view])) for view in range(4)])
    torch.testing.assert_close(net.embed(batch), alone.amax(0))
    torch.testing.assert_close(net.embed(views(batch, [2, 0, 3, 1])), net.embed(batch))
    torch.testing.assert_close(net.logits(batch), net.backbone.fc(net.embed(batch)))
    assert net.logits(batch).shape == (3, 10)


def test_scoring_in_parts_changes_nothing(net, monkeypatch):
    batch = make_batch()
    whole = net.logits(batch).detach()
    monkeypatch.setattr(module, "_SCORED_AT_ONCE", 5)
    with torch.no_grad():
        torch.testing.assert_close(net.logits(batch), whole)


def test_the_gradient_reaches_every_weight():
    torch.manual_seed(0)
    net = MVCNN(3, 10, backbone="resnet18")
    net.loss(make_batch(), 0.1).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 4}, r"in_channels is 4 \(must be 3"),
        ({"backbone": "resnet50"}, r"backbone is 'resnet50' \(allowed: vgg11, resnet18\)"),
    ],
)
def test_refused_options(arguments, message):
    with pytest.raises(ValueError, match=message):
        MVCNN(**{"in_channels": 3, "num_classes": 10, **arguments})


def test_the_recipe_is_the_authors_schedule():
    recipe, _ = find_recipe("mvcnn")
    (first,), second = recipe.pretraining, recipe.train
    assert (first.epochs, first.batch_size, first.views_per_sample) == (30, 64, 1)
    assert (second.epochs, second.batch_size, second.views_per_sample) == (30, 8, None)
    for how in (first, second):
        assert (how.optimizer, how.lr, how.weight_decay) == ("adam", 5e-5, 1e-3)
        assert (how.schedule, how.step_epochs, how.step_factor) == ("step", 10, 0.5)
    assert recipe.pretrained is None
    assert {figure.regime: figure.accuracy for figure in recipe.reported} == {100: 0.98, 50: 0.96}
    assert all(figure.modality == "images" for figure in recipe.reported)


def test_variants():
    recipes = {name: find_recipe(f"mvcnn:{name}")[0] for name in find_recipe("mvcnn")[0].variants}
    assert set(recipes) == {"imagenet", "imagenet-resnet", "scratch", "short", "medium", "smoke"}
    assert len({recipe.sha256() for recipe in recipes.values()}) == len(recipes)
    with_weights = {name for name, recipe in recipes.items() if recipe.pretrained}
    assert with_weights == {"imagenet", "imagenet-resnet"}
    for name, recipe in recipes.items():
        assert ("ImageNet" in recipe.title) == (name in with_weights), "where weights come from is said"
        assert [how.views_per_sample for how in recipe.pretraining] == [1]


class FakeHub(http.server.BaseHTTPRequestHandler):
    """Serves one file of one model, as the Hub's `resolve` does."""

    body = b""

    def do_HEAD(self) -> None:
        found = self.path == "/org/weights/resolve/main/model.safetensors"
        self.send_response(200 if found else 404)
        if found:
            self.send_header("ETag", '"0123456789abcdef"')
            self.send_header("X-Repo-Commit", "f" * 40)
        self.send_header("Content-Length", str(len(self.body) if found else 0))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


LOAD = """
import torch
from gsbench_baselines.mvcnn.model import MVCNN
net = MVCNN(3, 10, backbone="resnet18", pretrained=True)
net.start_from("hub:org/weights")
print(float(net.backbone.layer4[1].bn2.running_mean.sum()))
try:
    net.start_from("hub:org/nothing")
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_weights_from_a_hub(hub, tmp_path):
    stored = ResNet18(1000)
    stored.layer4[1].bn2.running_mean.fill_(0.5)
    FakeHub.body = save({name: value.contiguous() for name, value in stored.state_dict().items()})
    offline = ("HF_HUB_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy")
    environment = {name: value for name, value in os.environ.items() if name not in offline}
    environment |= {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    total, refused = done.stdout.strip().splitlines()
    assert float(total) == 256.0
    assert refused.startswith("hub:org/nothing: model.safetensors is not to be had from the Hugging Face Hub")
    assert "fc is not taken, it has another number of classes" in done.stderr


def test_weights_beside_the_recipe(tmp_path):
    source = find_recipe("mvcnn")[1]
    for name in ("model.py", "recipe.toml"):
        (tmp_path / name).write_text((source.parent / name).read_text())
    path = tmp_path / "recipe.toml"
    path.write_text(path.read_text().replace('hub:timm/resnet18.tv_in1k"', 'mine.safetensors"'))
    recipe, _ = find_recipe(f"{path}:imagenet-resnet")
    with pytest.raises(ValueError, match=r"pretrained or options: .*mine\.safetensors: cannot be read") as caught:
        build_model(recipe, path, 3, 10)
    assert str(tmp_path / "mine.safetensors") in str(caught.value)
    stored = ResNet18(10)
    (tmp_path / "mine.safetensors").write_bytes(save({k: v.contiguous() for k, v in stored.state_dict().items()}))
    net = build_model(recipe, path, 3, 10)
    assert net.imagenet
    assert torch.equal(net.backbone.fc.weight, stored.fc.weight)
