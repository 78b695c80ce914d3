"""What an evaluation of pairs refuses, before it trains."""

import pytest

from gsbench.evaluation import evaluate
from tests.tiny_training import OBJECTS, make_folder, make_pairs_recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"protocol": "supervised"},
            r"protocol is supervised, and pairs learns from pairs \(allowed: probe, finetune\)",
        ),
        ({"modality": "points"}, "modality is points, pairs takes gaussians, images"),
        ({"num_views": 2}, r"num_views is 2, and pairs sees gaussians \(allowed: leave it out\)"),
        (
            {"modality": "images", "num_views": 5},
            r"tiny: num_views is 5 for the views of train \(allowed: up to 4, all that ball_0001 has\)",
        ),
        (
            {"modality": "images", "num_views": 3, "views_from": "gaussians", "cameras": "novel"},
            r"num_views is 3 for the reconstructions from novel cameras of test \(allowed: up to 2, all that ball_0013",
        ),
        ({"modality": "images", "cameras": "novel"}, r"cameras is 'novel' \(allowed: train\)|from novel cameras"),
        ({"pretext_views": 5}, r"num_views is 5 for the views of train \(allowed: up to 4"),
        ({"num_points": 61}, "num_points is 61"),
    ],
)
def test_bad_arguments_are_refused_before_training(run, changes, message, monkeypatch):
    monkeypatch.setattr("gsbench.evaluation.kept.train", lambda *a, **k: pytest.fail("training began"))
    with pytest.raises(ValueError, match=message) as caught:
        run(**changes)
    assert "\n" not in str(caught.value)


def test_pairs_of_one_view(run):
    with pytest.raises(ValueError, match=r"num_views is 1 with supervision pairs \(must be at least 2\)"):
        run(pretext_views=1)


def test_labels_of_one_class(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("gsbench.evaluation.kept.train", lambda *a, **k: pytest.fail("training began"))
    one = {"train": dict.fromkeys(OBJECTS["train"], "ball"), "test": OBJECTS["test"]}
    monkeypatch.setattr("tests.tiny_training.OBJECTS", one)
    data = make_folder(tmp_path / "one", ("gaussians", "views"))
    for protocol in ("probe", "finetune"):
        with pytest.raises(ValueError, match=r"one: regime 50, draw 0: a probe of 12 labelled .* of one class \(must"):
            evaluate(recipe, data, regime=50, num_points=8, protocol=protocol)


def test_pairs_need_both_modalities(recipe, tmp_path):
    data = make_folder(tmp_path / "tiny", ("gaussians", "points"))
    with pytest.raises(ValueError, match=r"tiny: has gaussians, points \(pairs learns from pairs: must have views\)"):
        evaluate(recipe, data, num_points=8)


def test_no_renders_from_novel_cameras(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.tiny_training.NOVEL", 0)
    data = make_folder(tmp_path / "tiny", ("gaussians", "views", "reconstructions"))
    arguments = {"modality": "images", "views_from": "gaussians", "cameras": "novel"}
    with pytest.raises(ValueError, match="no images of gaussians from novel cameras"):
        evaluate(recipe, data, **arguments)
    with pytest.raises(ValueError, match="12 objects of test have no reconstructions from novel cameras, the first is"):
        evaluate(recipe, data, num_views=1, **arguments)


def test_a_recipe_without_a_schedule_is_not_fine_tuned(data, tmp_path):
    path = make_pairs_recipe(tmp_path)
    path.write_text(path.read_text().replace("[finetune]\nepochs = 8\nbatch_size = 8\nlr = 0.02\n", ""))
    with pytest.raises(ValueError, match=r"learns from pairs and has no \[finetune\] \(allowed: probe\)"):
        evaluate(str(path), data, protocol="finetune")
