"""Training ResNet-18 on views of 224 pixels at 64 pixels, beside the usual way; and reading views into memory.

The usual way is a PyTorch DataLoader that decodes, crops, resizes and mirrors one image after the other by Pillow in
every epoch, and torch's convolutions in float32. Both are given one core.
"""

import math
import time

import numpy as np
import pytest
import torch
from gsbench_baselines.images.backbones import Conv2d, ResNet18
from gsbench_baselines.images.views import to_float
from torch import nn
from torch.utils.data import DataLoader, Dataset

from gsbench.core.environment import keep_freed_memory
from gsbench.core.geometry import spiral_rig
from gsbench.core.recipe import ImageOptions
from gsbench.core.tasks import Task
from gsbench.core.types import Batch
from gsbench.learn.augment import augment_images
from gsbench.learn.data import open_objects
from gsbench.learn.precision import resolve_precision
from gsbench.store.card import About
from gsbench.store.create import Contents, create_folder
from gsbench.store.folder import open_folder
from gsbench.store.webp import encode_webp
from tests.bench.dataloader import decode

pytestmark = pytest.mark.slow

OBJECTS, VIEWS, STORED, SIZE, BATCH = 8, 12, 224, 64, 48
HOW = ImageOptions(SIZE, (0.7, 1.0), flip=True)
TASK = Task(
    dataset="bench", revision="1", fingerprint="0" * 64, split="test", modality="images", protocol="supervised",
    regime=100, draw=0, features=None, sampling=None, num_points=None, num_views=VIEWS, views_from="meshes",
)  # fmt: skip


def view(object_id: str, number: int) -> np.ndarray:
    """Shaded discs before an empty background: as much to compress as a render has."""
    rng = np.random.default_rng([int(object_id[-4:]), number])
    y, x = np.mgrid[:STORED, :STORED] / STORED
    rgba = np.zeros((STORED, STORED, 4), np.uint8)
    for _ in range(12):
        (cx, cy), radius, color = rng.uniform(0.3, 0.7, 2), rng.uniform(0.05, 0.2), rng.uniform(60, 255, 3)
        inside = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
        shade = 1 - 0.5 * np.hypot(x - cx + radius / 2, y - cy + radius / 2)[inside] / radius / 2
        rgba[inside, :3], rgba[inside, 3] = (shade[:, None] * color).astype(np.uint8), 255
    return rgba


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    ids = {split: {f"chair_{split}_{i:04d}": "chair" for i in range(OBJECTS)} for split in ("train", "test")}
    cameras = spiral_rig(VIEWS, 3.0, 40.0, 1.0, -20.0, 60.0, STORED, STORED)

    def rows(split):
        for object_id in ids[split]:
            for number in range(VIEWS):
                pose = {"viewmat": cameras.viewmats[number], "K": cameras.Ks[number]}
                image = encode_webp(view(object_id, number), 1)
                yield {"object_id": object_id, "view": number, "image": image, **pose}

    out = tmp_path_factory.mktemp("bench") / "views"
    create_folder(
        out, Contents(About("bench", "1", "Bench", "mit", "Random."), ids, 1), {("views", s): rows(s) for s in ids}
    )
    return open_folder(out)


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 112, STORED])
def test_reading(benchmark, folder, size):
    """96 views an iteration, decoded and resized."""
    objects = benchmark.pedantic(open_objects, (folder, TASK, "test", ImageOptions(size)), rounds=3, warmup_rounds=1)
    assert objects.images.shape == (OBJECTS, VIEWS, 3, size, size)


class OneByOne(Dataset):
    """Encoded images, decoded when they are asked for."""

    def __init__(self, files: list[bytes]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        return decode(self.files[index], HOW).float() / 255


def optimize(model: nn.Module, optimizer: torch.optim.Optimizer, pixels: torch.Tensor, precision: str) -> float:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = nn.functional.cross_entropy(model.classify(model.encode(pixels)).float(), torch.arange(len(pixels)) % 10)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def our_epoch(folder):
    objects = open_objects(folder, TASK, "test", HOW).split_views(1)
    model, generator = ResNet18(10), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    precision = resolve_precision("auto", torch.device("cpu"))

    def epoch() -> float:
        loss = 0.0
        for index in torch.randperm(len(objects)).split(BATCH):
            batch: Batch = augment_images(objects.batch(index), HOW, generator)
            loss = optimize(model, optimizer, to_float(batch.images.flatten(0, 1)), precision)
        return loss

    return epoch


def usual_epoch():
    files = [encode_webp(view(f"chair_test_{i:04d}", number), 1) for i in range(OBJECTS) for number in range(VIEWS)]
    loader = DataLoader(OneByOne(files), BATCH, shuffle=True)
    model = ResNet18(10).to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)

    def epoch() -> float:
        loss = 0.0
        for pixels in loader:
            loss = optimize(model, optimizer, pixels, "fp32")
        return loss

    return epoch


@pytest.mark.slow
@pytest.mark.parametrize("usual", [False, True], ids=["gsbench", "usual"])
def test_epoch(benchmark, folder, usual, monkeypatch):
    """96 images an iteration."""
    if usual:
        monkeypatch.setattr("gsbench_baselines.images.backbones._SMALL_PLANE", 0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    keep_freed_memory()
    epoch = usual_epoch() if usual else our_epoch(folder)
    assert math.isfinite(benchmark.pedantic(epoch, rounds=3, warmup_rounds=1))
    start = time.process_time()
    epoch()
    benchmark.extra_info["cpu_seconds"] = time.process_time() - start  # the wall lies on a busy machine


@pytest.mark.parametrize("of_torch", [False, True], ids=["gsbench", "torch"])
@pytest.mark.parametrize(("channels", "side", "stride"), [(256, 4, 1), (256, 4, 2), (512, 2, 1)])
def test_convolution(benchmark, channels, side, stride, of_torch, monkeypatch):
    """Forward and backward of ResNet-18's later convolutions at 64 pixels, 48 images, in float32."""
    torch.set_num_threads(1)
    if of_torch:
        monkeypatch.setattr("gsbench_baselines.images.backbones._SMALL_PLANE", 0)
    convolve = Conv2d(channels, channels * stride, 3, stride, 1, bias=False).to(memory_format=torch.channels_last)
    plane = torch.randn(BATCH, channels, side, side).to(memory_format=torch.channels_last).requires_grad_()
    benchmark.pedantic(lambda: convolve(plane).sum().backward(), rounds=10, warmup_rounds=2)
    assert plane.grad.isfinite().all()
