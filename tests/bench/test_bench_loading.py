"""Objects a second from the Parquet folder into arrays, beside `datasets` and beside 3DGS PLY files.

`datasets` writes an uncompressed copy of a config when it first reads it, and maps that into memory from then on: it is
timed both ways. We decode the shards each time and keep no copy.
"""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import plyfile
import pytest

from gsbench.core.geometry import normalize_quats
from gsbench.store.arrays import ragged
from gsbench.store.card import About
from gsbench.store.create import Contents, create_folder
from gsbench.store.folder import open_folder, read_table
from gsbench.store.load import load_dataset

pytestmark = pytest.mark.slow

OBJECTS = 100
COUNT, COEFFICIENTS = 4096, 16
INNER = {"means": (3,), "quats": (4,), "scales": (3,), "opacities": (), "sh": (COEFFICIENTS, 3)}
REST = COEFFICIENTS - 1


def ids(split: str) -> list[str]:
    return [f"chair_{split}_{index:04d}" for index in range(OBJECTS if split == "train" else 1)]


def row(object_id: str) -> dict[str, object]:
    rng = np.random.default_rng(int(object_id[-4:]))
    return {
        "object_id": object_id,
        "num_gaussians": COUNT,
        "means": rng.uniform(-0.5, 0.5, (COUNT, 3)).astype(np.float32),
        "quats": normalize_quats(rng.normal(size=(COUNT, 4)).astype(np.float32)),
        "scales": rng.uniform(0.01, 0.1, (COUNT, 3)).astype(np.float32),
        "opacities": rng.uniform(0.1, 0.9, COUNT).astype(np.float32),
        "sh": rng.normal(size=(COUNT, COEFFICIENTS, 3)).astype(np.float32),
        "fps_order": np.arange(COUNT, dtype=np.int32),
        "psnr": 30.0,
        "ssim": 0.9,
        "mesh_sha256": hashlib.sha256(object_id.encode()).hexdigest(),
        "duplicate_of": None,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "gaussians"
    objects = {split: dict.fromkeys(ids(split), "chair") for split in ("train", "test")}
    rows = {("gaussians", split): map(row, ids(split)) for split in objects}
    create_folder(out, Contents(About("bench", "1", "Bench", "mit", "Random."), objects, COEFFICIENTS), rows)
    return out


@pytest.fixture(scope="module")
def plys(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same Gaussians in the layout of the 3DGS authors: 62 float properties a Gaussian, logs and logits."""
    out = tmp_path_factory.mktemp("plys")
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [*(f"f_rest_{i}" for i in range(3 * REST)), "opacity"]
    names += [*(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    paths = []
    for object_id in ids("train"):
        one = row(object_id)
        rest = one["sh"][:, 1:].transpose(0, 2, 1).reshape(COUNT, -1)
        logits = np.log(one["opacities"] / (1 - one["opacities"]))[:, None]
        parts = (one["means"], np.zeros((COUNT, 3)), one["sh"][:, 0], rest, logits, np.log(one["scales"]), one["quats"])
        table = np.concatenate(parts, axis=1).astype(np.float32)
        records = table.view([(name, "f4") for name in names])[:, 0]
        paths.append(out / f"{object_id}.ply")
        plyfile.PlyData([plyfile.PlyElement.describe(records, "vertex")]).write(paths[-1])
    return paths


def read_plys(paths: list[Path]) -> dict[str, np.ndarray]:
    """As most 3DGS code does it: plyfile, property by property."""
    objects = []
    for path in paths:
        vertex = plyfile.PlyData.read(path)["vertex"]
        stack = {
            "means": ("x", "y", "z"),
            "quats": tuple(f"rot_{i}" for i in range(4)),
            "scales": tuple(f"scale_{i}" for i in range(3)),
            "dc": tuple(f"f_dc_{i}" for i in range(3)),
            "rest": tuple(f"f_rest_{i}" for i in range(3 * REST)),
        }
        one = {key: np.stack([np.asarray(vertex[name]) for name in names], axis=1) for key, names in stack.items()}
        rest = one.pop("rest").reshape(COUNT, 3, REST).transpose(0, 2, 1)
        one["sh"] = np.concatenate([one.pop("dc")[:, None], rest], axis=1)
        one["scales"] = np.exp(one["scales"])
        one["opacities"] = 1 / (1 + np.exp(-np.asarray(vertex["opacity"])))
        objects.append(one)
    return {name: np.concatenate([one[name] for one in objects]) for name in INNER}


def read_parquet(path: Path) -> dict[str, np.ndarray]:
    table = read_table(open_folder(path), "gaussians", "train", list(INNER))
    return {name: ragged(table[name], inner)[0] for name, inner in INNER.items()}


def read_datasets(path: Path) -> dict[str, np.ndarray]:
    rows = load_dataset(str(path), split="train").select_columns(list(INNER)).with_format("numpy")
    batches = list(rows.iter(batch_size=20))
    return {name: np.concatenate([np.concatenate(list(batch[name])) for batch in batches]) for name in INNER}


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["parquet", "datasets", "datasets, first time", "ply"])
def test_gaussians_of_100_objects(
    benchmark, reader: str, folder: Path, plys: list[Path], tmp_path, monkeypatch
) -> None:
    caches = (tmp_path / str(number) for number in itertools.count())

    def forget() -> None:
        if reader == "datasets, first time":
            monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", next(caches))

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", next(caches))
    read, source = (read_plys, plys) if reader == "ply" else (read_parquet, folder)
    read = read_datasets if reader.startswith("datasets") else read
    arrays = benchmark.pedantic(read, (source,), setup=forget, rounds=3, warmup_rounds=1)
    expected = read_parquet(folder)
    for name in INNER:
        np.testing.assert_allclose(arrays[name], expected[name], rtol=1e-5, atol=1e-6)
    if benchmark.enabled:
        benchmark.extra_info["objects_per_second"] = OBJECTS / benchmark.stats["median"]
