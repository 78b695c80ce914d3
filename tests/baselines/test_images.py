"""ResNet-18 and VGG-11: torchvision's names, shapes and start; equality with plain functions; stored weights."""

import logging

import pytest
import torch
import torch.nn.functional as F
from gsbench_baselines.images.backbones import VGG11, Conv2d, ResNet18
from gsbench_baselines.images.views import to_float
from gsbench_baselines.images.weights import load_weights
from safetensors.torch import save_file
from torch import nn


def resnet18_shapes(num_classes: int) -> dict[str, tuple[int, ...]]:
    """The state of torchvision's resnet18."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, channels: int) -> None:
        shapes.update({f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()

    shapes["conv1.weight"] = (64, 3, 7, 7)
    norm("bn1", 64)
    before = 64
    for layer, width in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            name = f"layer{layer}.{block}"
            shapes[f"{name}.conv1.weight"] = (width, before, 3, 3)
            shapes[f"{name}.conv2.weight"] = (width, width, 3, 3)
            norm(f"{name}.bn1", width)
            norm(f"{name}.bn2", width)
            if before != width:
                shapes[f"{name}.downsample.0.weight"] = (width, before, 1, 1)
                norm(f"{name}.downsample.1", width)
            before = width
    return shapes | {"fc.weight": (num_classes, 512), "fc.bias": (num_classes,)}


def vgg11_shapes(num_classes: int, hidden: int = 4096) -> dict[str, tuple[int, ...]]:
    """The state of torchvision's vgg11."""
    widths = {0: (3, 64), 3: (64, 128), 6: (128, 256), 8: (256, 256), 11: (256, 512), 13: (512, 512), 16: (512, 512)}
    shapes: dict[str, tuple[int, ...]] = {}
    for index, (before, width) in (widths | {18: (512, 512)}).items():
        shapes |= {f"features.{index}.weight": (width, before, 3, 3), f"features.{index}.bias": (width,)}
    for index, before, width in ((0, 25088, hidden), (3, hidden, hidden), (6, hidden, num_classes)):
        shapes |= {f"classifier.{index}.weight": (width, before), f"classifier.{index}.bias": (width,)}
    return shapes


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture
def small_vgg(monkeypatch):
    """VGG-11 with 8 hidden channels in place of 4,096, which would take half a gigabyte."""
    monkeypatch.setattr("gsbench_baselines.images.backbones._HIDDEN", 8)
    torch.manual_seed(0)
    return VGG11(10)


def test_names_shapes_and_counts():
    with torch.device("meta"):
        resnet, encoder, vgg = ResNet18(1000), ResNet18(), VGG11(10)
    assert shapes_of(resnet) == resnet18_shapes(1000)
    without = {name: shape for name, shape in resnet18_shapes(1).items() if not name.startswith("fc.")}
    assert shapes_of(encoder) == without
    assert shapes_of(vgg) == vgg11_shapes(10)
    assert (count(resnet), count(encoder), count(vgg)) == (11_689_512, 11_176_512, 128_807_306)


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding"),
    [(1, 3, 1, 1), (2, 3, 1, 1), (4, 3, 1, 1), (5, 3, 2, 1), (8, 3, 2, 1), (7, 7, 2, 3), (3, 1, 1, 0), (4, 1, 2, 0)],
)
def test_small_planes_are_convolved_as_by_torch(side, kernel, stride, padding, monkeypatch):
    """Outputs and gradients of one matrix product and of torch's convolution, in float64, wide planes and square."""
    torch.manual_seed(0)
    ours = Conv2d(3, 5, kernel, stride, padding).double().to(memory_format=torch.channels_last)
    for width in (side, max(side - 1, 1)):
        images = torch.randn(2, 3, side, width, dtype=torch.float64, requires_grad=True)
        expected = nn.Conv2d.forward(ours, images)
        inputs, along = (images, ours.weight, ours.bias), torch.randn_like(expected)
        gradients = torch.autograd.grad(expected, inputs, along)
        with monkeypatch.context() as small:
            small.setattr(nn.Conv2d, "forward", None)
            outputs = ours(images)
        torch.testing.assert_close(outputs, expected)
        torch.testing.assert_close(torch.autograd.grad(outputs, inputs, along), gradients)


def test_large_planes_are_left_to_torch(monkeypatch):
    monkeypatch.setattr("gsbench_baselines.images.backbones._Windows", None)
    assert Conv2d(3, 5, 3, 1, 1)(torch.zeros(1, 3, 5, 5)).shape == (1, 5, 5, 5)


def test_the_start_is_torchvisions(small_vgg):
    torch.manual_seed(0)
    resnet = ResNet18(10)
    for module in [*resnet.modules(), *small_vgg.modules()]:
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 20_000:
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)
            assert module.bias is None or not module.bias.any()
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert not module.bias.any()
    assert small_vgg.classifier[0].weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert resnet.fc.weight.abs().max() <= 512**-0.5


def unsettled(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1, 1)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def plain_resnet18(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    def norm(name, x):
        parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    x = F.max_pool2d(norm("bn1", F.conv2d(x, state["conv1.weight"], stride=2, padding=3)).relu(), 3, 2, 1)
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = norm(f"{name}.bn1", F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)).relu()
            y = norm(f"{name}.bn2", F.conv2d(y, state[f"{name}.conv2.weight"], padding=1))
            if stride == 2:
                x = norm(f"{name}.downsample.1", F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=2))
            x = (x + y).relu()
    return x.mean((2, 3))


def plain_vgg11(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    for index in (0, 3, 6, 8, 11, 13, 16, 18):
        x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1).relu()
        if index in (0, 3, 8, 13, 18):
            x = F.max_pool2d(x, 2)
    return F.adaptive_avg_pool2d(x, 7).flatten(1)


@torch.no_grad()
def test_equal_the_plain_networks(small_vgg):
    torch.manual_seed(1)
    images = torch.randint(0, 256, (3, 40, 40, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    pixels = to_float(images)
    for model, plain in ((unsettled(ResNet18(10)), plain_resnet18), (small_vgg.eval(), plain_vgg11)):
        state = {name: value.double() for name, value in model.state_dict().items()}
        expected = plain(state, images.double() / 255)
        features = model.encode(pixels)
        assert features.shape == (3, model.width)
        torch.testing.assert_close(features.double(), expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
        last = model.get_submodule(model.classifier_layer)
        torch.testing.assert_close(last(model.hidden(features)), model.classify(features))


def test_pixels():
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
    plain, taken_out = to_float(images), to_float(images, imagenet=True)
    torch.testing.assert_close(plain, images / 255)
    assert plain.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(taken_out[1, 0, 2, 3], (images[1, 0, 2, 3] / 255 - 0.485) / 0.229)
    torch.testing.assert_close(taken_out[1, 2], (images[1, 2] / 255 - 0.406) / 0.225)


def write(path, model: nn.Module, **changes: torch.Tensor | None) -> str:
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    state |= {name.replace("__", "."): value for name, value in changes.items()}
    save_file({name: value for name, value in state.items() if value is not None}, path)
    return str(path)


def test_weights_are_taken(tmp_path, caplog):
    stored, model = unsettled(ResNet18(10)), ResNet18(10)
    load_weights(model, write(tmp_path / "a.safetensors", stored), "fc")
    for (name, value), other in zip(model.state_dict().items(), stored.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    older = {name.replace(".", "__"): None for name in stored.state_dict() if name.endswith("num_batches_tracked")}
    load_weights(model, write(tmp_path / "b.safetensors", stored, **older), "fc")
    assert not caplog.records


def test_a_classifier_of_other_classes_stays_as_it_was(tmp_path, caplog):
    stored, model, encoder = unsettled(ResNet18(7)), ResNet18(10), ResNet18()
    before = model.fc.weight.clone()
    path = write(tmp_path / "a.safetensors", stored)
    with caplog.at_level(logging.WARNING):
        load_weights(model, path, "fc")
        assert [record.getMessage() for record in caplog.records] == [
            f"{path}: fc is not taken, it has another number of classes"
        ]
        load_weights(encoder, path, "fc")
    assert len(caplog.records) == 1, "an encoder has no classifier to miss"
    assert torch.equal(model.fc.weight, before)
    assert torch.equal(model.layer4[1].conv2.weight, stored.layer4[1].conv2.weight)
    assert torch.equal(encoder.layer4[1].conv2.weight, stored.layer4[1].conv2.weight)


def test_vgg_by_timms_names(small_vgg, tmp_path):
    torch.manual_seed(5)
    stored = VGG11(10)
    names = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    state = {}
    for name, value in stored.state_dict().items():
        layer = name.rpartition(".")[0]
        if name in ("classifier.0.weight", "classifier.3.weight"):
            value = value.unflatten(1, (-1, 7, 7)) if layer == "classifier.0" else value[:, :, None, None]
        state[name.replace(layer, names.get(layer, layer))] = value.contiguous()
    save_file(state, tmp_path / "timm.safetensors")
    load_weights(small_vgg, str(tmp_path / "timm.safetensors"), "classifier.6")
    for (name, value), other in zip(small_vgg.state_dict().items(), stored.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer1__0__conv1__weight": None}, r"a\.safetensors: lacks layer1\.0\.conv1\.weight, 1 in all"),
        (
            {"layer5__weight": torch.zeros(2)},
            r"has the unknown layer5\.weight, 1 in all \(must have torchvision's names",
        ),
        ({"conv1__weight": torch.zeros(64, 3, 3, 3)}, r"conv1\.weight is \[64, 3, 3, 3\] \(must be \[64, 3, 7, 7\]\)"),
        ({"fc__weight": torch.zeros(10, 256)}, r"fc\.weight is \[10, 256\] \(must be \[10, 512\]\)"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, changes, message):
    path, model = write(tmp_path / "a.safetensors", ResNet18(10), **changes), ResNet18(10)
    before = model.bn1.running_mean.clone(), model.conv1.weight.clone()
    with pytest.raises(ValueError, match=message):
        load_weights(model, path, "fc")
    assert torch.equal(model.bn1.running_mean, before[0])
    assert torch.equal(model.conv1.weight, before[1]), "nothing is taken of a file that does not fit"


def test_files_that_are_no_weights(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing of the kind")
    for name, message in (("a", "no safetensors"), ("b", r"b\.safetensors: cannot be read \(No such file")):
        with pytest.raises(ValueError, match=message) as caught:
            load_weights(ResNet18(10), str(tmp_path / f"{name}.safetensors"), "fc")
        assert "\n" not in str(caught.value)


def test_the_hub_is_out_of_reach(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ValueError, match=r"^hub:nobody/nothing: model\.safetensors is not to be had .*offline"
    ) as caught:
        load_weights(ResNet18(10), "hub:nobody/nothing", "fc")
    assert "\n" not in str(caught.value)


@torch.no_grad()
def test_images_that_the_halvings_leave_nothing_of(small_vgg):
    assert small_vgg.encode(torch.zeros(1, 3, 32, 32)).shape == (1, VGG11.width)
    with pytest.raises(ValueError, match=r"images.size is 31 for VGG-11 \(must be at least 32\)"):
        small_vgg.encode(torch.zeros(1, 3, 31, 31))
