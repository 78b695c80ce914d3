"""What is frozen: a change of one of these values changes every fingerprint, or what a score on the board means.

Whoever moves or rewrites code leaves this file alone and green. A value changes only with a new version of the data or
of the task, and then on purpose.
"""

import hashlib
from pathlib import Path

import gsbench_baselines.pointnet2
import llvmlite.binding
import numpy as np
import pytest
import torch

from gsbench.core.baseline import build_model
from gsbench.core.files import read_toml
from gsbench.core.parsing import overlay, parse
from gsbench.core.recipe import Recipe
from gsbench.core.tasks import Task, all_regimes, ids_sha256, regime_ids
from gsbench.learn.data import open_objects
from gsbench.learn.train import train
from gsbench.learn.weights import weights_sha256
from gsbench.meshes.off import save_off
from gsbench.meshes.shapes import make_shape
from gsbench.meshes.surface import normalize, sample_surface
from gsbench.produce.build import build
from gsbench.store.folder import Folder, open_folder, read_table
from gsbench.store.load import resolve
from tests.learn.test_data import task
from tests.tiny_training import make_folder

MINI = "d4de772dac813dbad1a0f7f8038e192b170e888976f55ec4af5df295b57e4f97"
OF_THE_WHOLE_SET = ("label", "regime_draws")
"""Columns that follow from the other objects of a data set."""

WEIGHTS = {"torch 2.13.0, AVX512, znver4": "0dad794689c6f527"}
"""Of `test_two_epochs_end_in_the_same_weights`, by kind of CPU; sums are rounded elsewhere on another."""


def digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:16]


def rows(folder: Folder, config: str, split: str, object_id: str) -> list[dict]:
    table = read_table(folder, config, split)
    table = table.filter([name == object_id for name in table["object_id"].to_pylist()]).combine_chunks()
    return table.drop_columns([name for name in OF_THE_WHOLE_SET if name in table.column_names]).to_pylist()


def test_the_mini_is_the_one_that_scores_are_of() -> None:
    assert open_folder(resolve("mini")).manifest.fingerprint() == MINI


def test_objects_of_the_mini_are_made_again_bit_for_bit(tmp_path: Path) -> None:
    """One training and one test object, from their procedural meshes: every row that ships, images and all."""
    made = {"train": "chair_0001", "test": "chair_0025"}
    for split, object_id in made.items():
        folder = tmp_path / "shapes" / "chair" / split
        folder.mkdir(parents=True)
        save_off(folder / f"{object_id}.off", make_shape("chair", int(object_id[-4:])))
    build(tmp_path / "shapes", tmp_path / "again", "mini", workers=1)
    shipped, again = open_folder(resolve("mini")), open_folder(tmp_path / "again")
    for config in shipped.manifest.counts:
        for split, object_id in made.items():
            expected = rows(shipped, config, split, object_id)
            assert expected, (config, object_id)
            assert rows(again, config, split, object_id) == expected, (config, object_id)


def test_a_mesh_is_normalized_and_sampled_as_ever() -> None:
    mesh = normalize(make_shape("toilet", 3))
    assert digest(mesh.vertices, mesh.faces) == "d509554e02681f21"
    assert digest(*sample_surface(mesh, 1000, 7)) == "d600280b7fe03f31"


def test_regimes_hold_the_same_objects_as_ever() -> None:
    labels = {f"{label}_{number:04d}": label for label in ("chair", "desk", "sofa") for number in range(1, 120)}
    drawn = {f"{regime}/{draw}": ids_sha256(regime_ids(labels, regime, draw))[:8] for regime, draw in all_regimes()}
    assert drawn == {
        "100/0": "f0389637",
        "50/0": "96071a61",
        "50/1": "889d27cd",
        "50/2": "c993f337",
        "10/0": "a64ed890",
        "10/1": "f62c6de8",
        "10/2": "fba450cc",
        "1/0": "d2aa4f58",
        "1/1": "b2f6db9b",
        "1/2": "29920a4d",
    }


@pytest.mark.parametrize(
    ("changes", "slug"),
    [
        ({}, "tiny@aaaaaaaa-test-gaussians-supervised-xyz-fps-n1024-r100d0"),
        (
            {"modality": "points", "protocol": "finetune", "regime": 1, "draw": 2, "sampling": "uniform"},
            "tiny@aaaaaaaa-test-points-finetune-xyz-uniform-n1024-r1d2",
        ),
        (
            {"modality": "images", "protocol": "probe", "features": None, "sampling": None, "num_points": None}
            | {"num_views": 4, "views_from": "gaussians", "cameras": "novel"},
            "tiny@aaaaaaaa-test-images-probe-gaussians-novel-v4-r100d0",
        ),
    ],
)
def test_tasks_are_called_as_ever(changes: dict, slug: str) -> None:
    plain = {
        "dataset": "tiny",
        "revision": "1",
        "fingerprint": "a" * 64,
        "split": "test",
        "modality": "gaussians",
        "protocol": "supervised",
        "regime": 100,
        "draw": 0,
        "features": "xyz",
        "sampling": "fps",
        "num_points": 1024,
        "num_views": None,
        "views_from": None,
    }
    assert Task(**plain | changes).slug() == slug


def kind_of_cpu() -> str:
    """What decides how sums are rounded: torch's vector instructions, and the processor that numba compiles for."""
    processor = llvmlite.binding.get_host_cpu_name()
    return f"torch {torch.__version__.split('+')[0]}, {torch.backends.cpu.get_cpu_capability()}, {processor}"


def test_two_epochs_end_in_the_same_weights(tmp_path: Path) -> None:
    """PointNet++ on a folder of two classes, with all that augments points."""
    path = Path(gsbench_baselines.pointnet2.__file__).parent / "recipe.toml"
    changes = {
        "train": {"epochs": 2, "batch_size": 8, "precision": "fp32"},
        "augment": {"point_dropout": 0.5, "scale": [0.8, 1.25], "shift": 0.1, "jitter": 0.01, "rotate_z": True},
    }
    recipe = parse(overlay(read_toml(path), changes), Recipe, "frozen")
    objects = open_objects(open_folder(make_folder(tmp_path / "tiny")), task(), "train")
    torch.manual_seed(0)
    model = build_model(recipe, path, objects.channels, 2)
    train(model, objects, recipe, 0, torch.device("cpu"), None, None)
    if kind_of_cpu() not in WEIGHTS:
        pytest.skip(f"no weights are known of a {kind_of_cpu()}: {weights_sha256(model)[:16]} here")
    assert weights_sha256(model)[:16] == WEIGHTS[kind_of_cpu()]
