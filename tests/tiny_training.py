"""A data folder of two separable classes, small third-party baselines, and one that learns from pairs, for tests that
train."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from gsbench.core.geometry import spiral_rig
from gsbench.meshes.surface import fps_order
from gsbench.store.arrays import Row
from gsbench.store.card import About
from gsbench.store.create import Contents, create_folder
from gsbench.store.webp import encode_webp

OBJECTS = {
    "train": {f"{label}_{number:04d}": label for label in ("ball", "rod") for number in range(1, 13)},
    "test": {f"{label}_{number:04d}": label for label in ("ball", "rod") for number in range(13, 19)},
}
SH_COEFFICIENTS = 4
LARGEST = 60
VIEWS, NOVEL, SIZE = 4, 2, 16
PSNR = 30.0
"""Of a render from the first camera; from each other one it is 1 dB more."""

RECIPE = """
name = "{name}"
title = "Mine"
model = "model:Net"
paper = "-"

[options]
width = 8

[train]
epochs = 6
batch_size = 8
lr = 0.02

[augment]
point_dropout = 0.5
scale = [0.8, 1.25]

[variants.long.train]
epochs = 12

[[reported]]
dataset = "tiny"
modality = "gaussians"
accuracy = 0.875
source = "a paper"
"""

MODEL = '''
import torch
from torch import nn


class Net(nn.Module):
    """A perceptron per point with the maximum, behind a dropout that makes seeds matter."""

    inputs = ("points", "gaussians")

    def __init__(self, in_channels, num_classes, width):
        super().__init__()
        self.first = nn.Linear(in_channels, width)
        self.norm = nn.BatchNorm1d(width)
        self.last = nn.Linear(width, num_classes)

    def embed(self, batch):
        h = self.first(batch.points).masked_fill(~batch.mask[..., None], -torch.inf)
        return self.norm(h.amax(1))

    def logits(self, batch):
        return self.last(nn.functional.dropout(self.embed(batch), 0.1, self.training))

    def loss(self, batch, label_smoothing):
        return nn.functional.cross_entropy(self.logits(batch), batch.labels, label_smoothing=label_smoothing)


class Diverging(Net):
    def loss(self, batch, label_smoothing):
        return super().loss(batch, label_smoothing) / 0


class Flat(Net):
    inputs = ("images",)
    seen = []

    def embed(self, batch):
        Flat.seen.append(batch.images)
        return self.norm(self.first(batch.images.float().mean((1, 3, 4)) / 255))


class NoBaseline(nn.Module):
    inputs = ("points",)
'''

PAIRS = """
name = "pairs"
title = "Pairs"
model = "model:Pair"
paper = "-"
supervision = "pairs"

[train]
epochs = 3
batch_size = 8
lr = 0.01

[finetune]
epochs = 8
batch_size = 8
lr = 0.02

[images]
size = 8

[points]
min_opacity = 0.1
"""

PAIR = '''
import torch
from torch import nn


class Pair(nn.Module):
    """A layer for each modality, and a head that compares what they make of an object."""

    inputs = ("gaussians", "images")

    def __init__(self, in_channels):
        super().__init__()
        self.points, self.images, self.head = nn.Linear(in_channels, 8), nn.Linear(3, 8), nn.Linear(16, 1)

    def embed(self, batch):
        if batch.images is not None:
            return self.images(batch.images.float().mean((3, 4)) / 255).amax(1)
        return self.points(batch.points).masked_fill(~batch.mask[..., None], -torch.inf).amax(1)

    def same_object(self, images, points):
        return self.head(torch.cat([images, points], 1))[:, 0]

    def loss(self, batch, label_smoothing):
        first, second, other = self.images(batch.images.float().mean((3, 4)) / 255).unbind(1)
        points = self.points(batch.points).masked_fill(~batch.mask[..., None], -torch.inf).amax(1)
        same, different = self.same_object(first, points), self.same_object(other, points)
        match = nn.functional.softplus(-same).mean() + nn.functional.softplus(different).mean()
        return match + nn.functional.triplet_margin_loss(first, second, other)
'''


def _cloud(object_id: str) -> np.ndarray:
    rng = np.random.default_rng(int(object_id[-4:]) + 100 * object_id.startswith("ball"))
    cloud = rng.normal(size=(int(rng.integers(30, LARGEST)) if object_id[-1] != "5" else LARGEST, 3))
    if object_id.startswith("rod"):
        cloud *= (0.05, 0.05, 1.0)
    return (0.3 * cloud + 0.1).astype(np.float32)


def _gaussians(object_id: str) -> Row:
    means = _cloud(object_id)
    rng = np.random.default_rng(len(means))
    quats = rng.normal(size=(len(means), 4))
    return {
        "object_id": object_id,
        "num_gaussians": len(means),
        "means": means,
        "quats": (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        "scales": rng.uniform(0.01, 0.1, (len(means), 3)).astype(np.float32),
        "opacities": rng.uniform(0, 1, len(means)).astype(np.float32),
        "sh": rng.normal(size=(len(means), SH_COEFFICIENTS, 3)).astype(np.float32),
        "fps_order": fps_order(means, 4096),
        "psnr": np.float32(30),
        "ssim": np.float32(0.9),
        "mesh_sha256": hashlib.sha256(object_id.encode()).hexdigest(),
        "duplicate_of": None,
    }


def _points(object_id: str) -> Row:
    cloud = _cloud(object_id)
    return {"object_id": object_id, "points": cloud[fps_order(cloud, len(cloud))], "normals": None}


def _pictures(object_id: str, count: int) -> Iterator[Row]:
    """Balls are reddish, rods bluish, both noisy."""
    rng = np.random.default_rng([*object_id.encode(), count])
    color = np.array([200, 60, 60] if object_id.startswith("ball") else [60, 60, 200])
    cameras = spiral_rig(max(count, 2), 3.0, 40.0, 1.0, -20.0, 60.0, SIZE, SIZE)
    for view in range(count):
        pixels = np.clip(color + rng.normal(0, 40, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
        pose = {"viewmat": cameras.viewmats[view], "K": cameras.Ks[view]}
        yield {"object_id": object_id, "view": view, "image": encode_webp(pixels, 0), **pose}


def _renders(object_id: str) -> Iterator[Row]:
    for cameras, count in (("train", VIEWS), ("novel", NOVEL)):
        for row in _pictures(object_id, count):
            view = row["view"] + VIEWS * (cameras == "novel")
            yield row | {"view": view, "cameras": cameras, "psnr": np.float32(PSNR + view)}


def make_folder(out: Path, configs: tuple[str, ...] = ("gaussians", "points")) -> Path:
    """Writes the data folder; `views` and `reconstructions` are other configs that it can have."""
    makers: dict[str, Callable[[str], Iterable[Row]]] = {
        "gaussians": lambda object_id: [_gaussians(object_id)],
        "points": lambda object_id: [_points(object_id)],
        "views": lambda object_id: _pictures(object_id, VIEWS),
        "reconstructions": _renders,
    }

    def rows(config: str, split: str) -> Iterator[Row]:
        return (row for object_id in sorted(OBJECTS[split]) for row in makers[config](object_id))

    contents = Contents(About("tiny", "0.1", "Balls and rods", "mit", "Random numbers."), OBJECTS, SH_COEFFICIENTS)
    create_folder(out, contents, {(config, split): rows(config, split) for config in configs for split in OBJECTS})
    return out


def make_pairs_recipe(folder: Path) -> Path:
    """Writes the folder of a baseline of pairs; returns its recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(PAIR)
    path = folder / "recipe.toml"
    path.write_text(PAIRS)
    return path


def make_recipe(folder: Path, model: str = "model:Net", name: str = "mine") -> Path:
    """Writes a baseline's folder, as a third party has one; returns its recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(MODEL)
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(name=name).replace("model:Net", model))
    return path
