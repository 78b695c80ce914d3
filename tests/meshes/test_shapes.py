"""The procedural classes: deterministic, sound meshes, upright, and different from each other."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from gsbench.core.types import Mesh
from gsbench.meshes.off import load_off
from gsbench.meshes.shapes import LABELS, make_shape
from gsbench.meshes.shapes.__main__ import main
from gsbench.meshes.shapes.solids import Draw, block, column, cushion, scale, tube
from gsbench.meshes.split import list_meshes
from gsbench.meshes.surface import normalize

SEEDS = range(40)


def _volume(mesh: Mesh) -> float:
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    return float((a * np.cross(b, c)).sum() / 6)


def _edge_balance(mesh: Mesh) -> dict[tuple[int, int], int]:
    """Directed edges minus their reverses: all zero on a closed surface that is oriented one way."""
    balance: dict[tuple[int, int], int] = {}
    for a, b in mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).tolist():
        key, step = ((a, b), 1) if a < b else ((b, a), -1)
        balance[key] = balance.get(key, 0) + step
    return balance


def test_the_ten_classes_in_alphabetical_order() -> None:
    assert (
        *("bathtub", "bed", "chair", "desk", "dresser"),
        *("monitor", "night_stand", "sofa", "table", "toilet"),
    ) == LABELS


@pytest.mark.parametrize("label", LABELS)
def test_shapes_are_sound_upright_and_moderate(label: str) -> None:
    for seed in SEEDS:
        mesh = make_shape(label, seed)
        assert np.isfinite(mesh.vertices).all()
        assert mesh.faces.min() == 0
        assert mesh.faces.max() == len(mesh.vertices) - 1
        assert 30 < len(mesh.faces) < 5000
        assert abs(mesh.vertices[:, 2].min()) < 1e-6
        extent = np.ptp(mesh.vertices, axis=0)
        assert 0.2 < extent.max() < 4
        assert extent.min() > 0.05
        assert not any(_edge_balance(mesh).values()), f"{label} {seed} is not closed"
        assert np.linalg.norm(normalize(mesh).vertices, axis=1).max() <= 1


@pytest.mark.parametrize("label", LABELS)
def test_a_seed_always_gives_the_same_shape_and_no_other_does(label: str) -> None:
    shapes = [make_shape(label, seed) for seed in SEEDS]
    again = make_shape(label, 7)
    np.testing.assert_array_equal(again.vertices, shapes[7].vertices)
    np.testing.assert_array_equal(again.faces, shapes[7].faces)
    for one, other in itertools.combinations(shapes, 2):
        same_topology = np.array_equal(one.faces, other.faces)
        assert not (same_topology and np.abs(one.vertices - other.vertices).max() < 0.01)


@pytest.mark.parametrize("label", LABELS)
def test_topology_varies_within_a_class(label: str) -> None:
    assert len({len(make_shape(label, seed).faces) for seed in SEEDS}) >= 4


@pytest.mark.parametrize(("one", "other"), [("desk", "table"), ("dresser", "night_stand")])
def test_confusable_classes_overlap_in_proportions(one: str, other: str) -> None:
    ratios = {}
    for label in (one, other):
        extents = np.array([np.ptp(make_shape(label, seed).vertices, axis=0) for seed in range(100)])
        ratios[label] = extents[:, :2] / extents[:, 2:]
    low, high = np.percentile(ratios[one], [10, 90], axis=0)
    inside = ((ratios[other] > low) & (ratios[other] < high)).all(1).mean()
    assert 0.15 < inside < 0.95


@pytest.mark.parametrize(
    ("solid", "volume"),
    [
        (block(1, 2, 3, 1, 2, 3), 6.0),
        (scale(block(1, 2, 3, 1, 2, 3), -1, 1, 1), 6.0),
        (column(0, 0, 0, 2, [1, 1], 400), 2 * np.pi),
        (tube([(0, 0, 0), (0, 0, 1), (0, 0, 3)], 0.5, 400), 0.75 * np.pi),
        (tube([(1, 0, 0), (1, 2, 0)], 1, 4), 4.0),
    ],
    ids=["block", "mirrored block", "column", "tube", "square tube"],
)
def test_solids_are_closed_face_outward_and_have_their_volume(solid: Mesh, volume: float) -> None:
    assert not any(_edge_balance(solid).values())
    assert _volume(solid) == pytest.approx(volume, rel=1e-3)


def test_a_cushion_fills_its_box_but_for_the_edges() -> None:
    pillow = cushion(0, 0, 1, 2, 1, 0.4, 0.3)
    np.testing.assert_allclose(pillow.vertices.min(0), [-1, -0.5, 1], atol=0.02)
    np.testing.assert_allclose(pillow.vertices.max(0), [1, 0.5, 1.4], atol=0.02)
    assert 0.6 < _volume(pillow) < 0.8


def test_picks_follow_their_weights() -> None:
    draw = Draw(0, 0)
    picks = [draw.pick({"a": 3.0, "b": 1.0, "never": 0.0}) for _ in range(2000)]
    assert abs(picks.count("a") / 2000 - 0.75) < 0.05
    assert "never" not in picks


def test_the_command_writes_the_official_layout(tmp_path: Path) -> None:
    assert main([str(tmp_path), "--train", "2", "--test", "1", "--seed", "3"]) == 0
    files = list_meshes(tmp_path)
    chairs = [(file.object_id, file.split) for file in files if file.label == "chair"]
    assert chairs == [("chair_0001", "train"), ("chair_0002", "train"), ("chair_0003", "test")]
    assert len(files) == 30
    expected = make_shape("chair", 3_000_003)
    np.testing.assert_array_equal(load_off(files[8].path).vertices, expected.vertices)


@pytest.mark.parametrize("options", [["--train", "-1"], ["--train", "0", "--test", "0"], ["--seed", "-1"]])
def test_the_command_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main([str(tmp_path), *options]) == 2
    message = capsys.readouterr().err
    assert "allowed are 0 or more" in message
    assert message.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_unknown_labels_and_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="'lamp', allowed are bathtub, bed"):
        make_shape("lamp", 0)
    with pytest.raises(ValueError, match="seed is -1"):
        make_shape("bed", -1)
