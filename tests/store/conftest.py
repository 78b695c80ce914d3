"""A small data folder with every config, made of random but valid rows."""

import functools
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gsbench.core.geometry import normalize_quats, spiral_rig
from gsbench.core.types import Cameras, Gaussians, Views
from gsbench.meshes.surface import fps_order
from gsbench.produce.compare import Compared, compare
from gsbench.store.arrays import Row
from gsbench.store.card import About
from gsbench.store.create import Contents, create_folder
from gsbench.store.schema import GAUSSIAN_COLUMNS
from gsbench.store.webp import encode_webp

OBJECTS = {
    "train": {f"{label}_{number:04d}": label for label in ("chair", "sofa") for number in range(1, 11)},
    "test": {f"{label}_{number:04d}": label for label in ("chair", "sofa") for number in range(11, 14)},
}
ABOUT = About("tiny", "0.1", "A tiny data set", "mit", "Random numbers.")
VIEWS = 3
SIZE = 8
POINTS = 250
RADIUS = 0.9
"""All objects are spheres."""
MAX_SHARD_BYTES = 60_000
"""One shard a test split, several of the training Gaussians."""
TWINS = ("chair_0002", "sofa_0012")
"""Two objects of one mesh file."""


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def gaussian_row(object_id: str) -> Row:
    rng = np.random.default_rng(int(object_id[-4:]))
    count = int(rng.integers(20, 60))
    means = unit(rng.normal(size=(count, 3))) * np.float32(RADIUS)
    mesh = TWINS[0] if object_id in TWINS else object_id
    return {
        "object_id": object_id,
        "num_gaussians": count,
        "means": means,
        "quats": quats_towards(means),
        "scales": rng.uniform(0.1, 0.2, (count, 3)).astype(np.float32) * np.array([1, 1, 0.2], np.float32),
        "opacities": rng.uniform(0, 1, count).astype(np.float32),
        "sh": rng.normal(size=(count, 4, 3)).astype(np.float32),
        "fps_order": fps_order(means, 4096),
        "psnr": np.float32(30 + int(object_id[-4:]) / 4),
        "ssim": np.float32(0.95),
        "mesh_sha256": hashlib.sha256(mesh.encode()).hexdigest(),
        "duplicate_of": TWINS[0] if object_id == TWINS[1] else None,
    }


def points_row(object_id: str, count: int = 40) -> Row:
    rng = np.random.default_rng(int(object_id[-4:]))
    points = unit(rng.normal(size=(count, 3))) * np.float32(RADIUS)
    points = points[fps_order(points, count)]
    return {"object_id": object_id, "points": points, "normals": unit(points)}


def quats_towards(directions: np.ndarray) -> np.ndarray:
    """Rotations that take the z axis to the directions."""
    w = directions[:, 2] + np.linalg.norm(directions, axis=1)
    return normalize_quats(np.stack([w, -directions[:, 1], directions[:, 0], np.zeros(len(w), np.float32)], axis=1))


def rig(phase: float = 0.0) -> Cameras:
    return spiral_rig(VIEWS, 3.0, 40.0, 1.0, -20.0, 60.0, SIZE, SIZE, phase)


def photographs() -> Views:
    """What all meshes look like: noise."""
    rgba = [np.random.default_rng(view).integers(0, 256, (SIZE, SIZE, 4), np.uint8) for view in range(VIEWS)]
    return Views(np.stack(rgba), rig())


def view_rows(object_id: str) -> Iterator[Row]:
    views = photographs()
    for view, rgba in enumerate(views.rgba):
        yield {
            "object_id": object_id,
            "view": view,
            "image": encode_webp(rgba, 0),
            "viewmat": views.cameras.viewmats[view],
            "K": views.cameras.Ks[view],
        }


@functools.cache
def renders(object_id: str) -> tuple[Compared, Cameras]:
    """What the Gaussians look like from two cameras of the rig and one between them."""
    views, between = photographs()[:2], Views(photographs().rgba[:1], rig(0.5)[:1])
    row = gaussian_row(object_id)
    gaussians = Gaussians(*(row[name] for name in GAUSSIAN_COLUMNS))
    both = (views.cameras, between.cameras)
    viewmats, Ks = (np.concatenate([getattr(each, name) for each in both]) for name in ("viewmats", "Ks"))
    compared = compare(gaussians, views, False, "cpu") + compare(gaussians, between, False, "cpu")
    return compared, Cameras(viewmats, Ks, SIZE, SIZE)


def reconstruction_rows(object_id: str) -> Iterator[Row]:
    compared, cameras = renders(object_id)
    for row, view in enumerate((0, 1, VIEWS)):
        yield {
            "object_id": object_id,
            "view": view,
            "cameras": "train" if view < VIEWS else "novel",
            "image": encode_webp(compared.images[row], 0),
            "viewmat": cameras.viewmats[row],
            "K": cameras.Ks[row],
            "psnr": compared.psnr[row],
        }


def rows_of_everything() -> dict[tuple[str, str], Iterator[Row]]:
    rows: dict[tuple[str, str], Iterator[Row]] = {}
    for split, labels in OBJECTS.items():
        rows["gaussians", split] = (gaussian_row(object_id) for object_id in sorted(labels))
        rows["points", split] = (points_row(object_id, POINTS) for object_id in sorted(labels))
        rows["views", split] = (row for object_id in sorted(labels) for row in view_rows(object_id))
        rows["reconstructions", split] = (row for object_id in sorted(labels) for row in reconstruction_rows(object_id))
    return rows


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, for tests that only read it."""
    out = tmp_path_factory.mktemp("data") / "tiny"
    contents = Contents(ABOUT, OBJECTS, sh_coefficients=4, recipe={"seed": 1}, max_shard_bytes=MAX_SHARD_BYTES)
    create_folder(out, contents, rows_of_everything())
    return out


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the folder, for tests that damage it."""
    return Path(shutil.copytree(made, tmp_path / "tiny"))


@pytest.fixture
def datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keeps what `datasets` caches out of the user's home."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"
