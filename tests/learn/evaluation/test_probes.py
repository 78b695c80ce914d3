"""Probes, memory-based vision, fine-tuning and pretext scores, each written out."""

import dataclasses

import numpy as np
import pytest
import torch

from gsbench.core.baseline import build_model, find_recipe
from gsbench.core.metrics import classification_metrics, knn_accuracy, retrieval_map
from gsbench.core.recipe import Recipe, Reported, Train
from gsbench.core.results import load_result
from gsbench.core.tasks import regime_ids
from gsbench.learn.checkpoints import from_pretrained
from gsbench.learn.data import most_points, open_objects, open_pairs
from gsbench.learn.evaluation import evaluate, find_reported, make_task, predict
from gsbench.learn.evaluation.embedding import extract
from gsbench.learn.evaluation.pretext_metrics import pretext_scores
from gsbench.learn.probe import fit_probe
from gsbench.learn.weights import weights_sha256
from gsbench.store.folder import open_folder
from tests.learn.evaluation.conftest import kept, labels_of, trained
from tests.tiny_training import LARGEST, NOVEL, OBJECTS, PSNR, VIEWS, make_pairs_recipe, make_recipe

CPU = torch.device("cpu")
PRETEXT = ("mpd_positive", "mpd_negative", "mpd_ratio", "mpd_auc", "cross_modality_accuracy", "cross_modality_balanced")


def test_a_probe_is_that_of_the_encoders_features(run, recipe, data, tmp_path):
    """Written out: all objects are learned from, half of them have labels."""
    result, steps = run(regime=50, draw=1)
    assert steps == list(range(1, 10)), "3 epochs of 24 objects in batches of 8"
    assert (result.task.protocol, result.task.modality, result.task.regime) == ("probe", "gaussians", 50)
    assert (result.run.epochs, result.run.train_objects) == (0, 12)
    pretext = result.pretext
    assert (pretext.features, pretext.sampling, pretext.num_points, pretext.num_views) == ("xyz", "fps", 16, VIEWS)
    assert (pretext.objects, pretext.epochs) == (24, 3)
    net = trained(kept(tmp_path), recipe)
    assert result.model.num_params == sum(p.numel() for p in net.parameters())
    folder, gaussians = open_folder(data), dataclasses.replace(result.task, regime=100, draw=0)
    train, test = (open_objects(folder, gaussians, split, min_opacity=0.1) for split in ("train", "test"))
    chosen = [train.ids.index(i) for i in regime_ids(OBJECTS["train"], 50, 1)]
    features, labels, seen = extract(net, train)[chosen], labels_of("train", train.ids)[chosen], extract(net, test)
    expected = fit_probe(features, labels, 2).probabilities(seen)
    rows = np.array([result.predictions[object_id] for object_id in test.ids])
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    truth = labels_of("test", test.ids)
    assert result.metrics == classification_metrics(rows, truth)
    assert result.metrics["accuracy"] > 0.9
    assert result.stated["knn_accuracy"] == knn_accuracy(features, labels, seen, truth)
    assert result.stated["retrieval_map"] == pytest.approx(retrieval_map(seen, truth))
    others = [open_objects(folder, gaussians, "test", min_opacity=0.1, sampling_draw=draw) for draw in range(1, 5)]
    drawn = [extract(net, objects) for objects in (test, *others)]
    by_draw = {
        "accuracy": [(fit_probe(features, labels, 2).probabilities(seen).argmax(1) == truth).mean() for seen in drawn],
        "knn_accuracy": [knn_accuracy(features, labels, seen, truth) for seen in drawn],
        "retrieval_map": [retrieval_map(seen, truth) for seen in drawn],
    }
    assert result.stated["sampling_draws"] == 5
    for key, values in by_draw.items():
        assert result.stated[f"{key}_over_draws"] == pytest.approx(np.mean(values)), key
        assert result.stated[f"{key}_over_draws_std"] == pytest.approx(np.std(values, ddof=1)), key
    assert len(set(by_draw["retrieval_map"])) > 1, "the draws differ"


def test_memory_based_vision(run, data, recipe, tmp_path):
    """The probe learns from images of meshes and is asked of renders of Gaussians, from cameras of either kind."""
    net = None
    for cameras, views, psnr in (
        ("train", 4, PSNR + 1.5),
        ("novel", NOVEL, PSNR + VIEWS + 0.5),
        ("train", 2, PSNR + 1),
    ):
        result, _ = run(modality="images", num_views=views, views_from="gaussians", cameras=cameras)
        net = net or trained(kept(tmp_path), recipe)
        folder, size = open_folder(data), find_recipe(recipe)[0].images
        learned = dataclasses.replace(result.task, views_from="meshes", cameras="train")
        train = open_objects(folder, learned, "train", size)
        test = open_objects(folder, result.task, "test", size)
        probe = fit_probe(extract(net, train), labels_of("train", train.ids), 2)
        rows = np.array([result.predictions[object_id] for object_id in test.ids])
        np.testing.assert_allclose(rows, probe.probabilities(extract(net, test)), atol=1e-6)
        assert result.stated["psnr"] == pytest.approx(psnr)
        assert "sampling_draws" not in result.stated
        assert result.metrics["accuracy"] > 0.9
    assert result.task.slug() != dataclasses.replace(result.task, cameras="novel").slug()


def test_pretext_scores_by_hand(run, data, recipe, tmp_path):
    result, _ = run()
    scores = result.pretext.metrics
    assert set(scores) == {
        "cross_modality_floor",
        *PRETEXT,
        *(f"{k}_{end}" for k in PRETEXT for end in ("low", "high")),
    }
    assert scores["cross_modality_floor"] == pytest.approx(2 / 3)
    for key in PRETEXT:
        assert scores[f"{key}_low"] <= scores[key] <= scores[f"{key}_high"]
    assert scores["mpd_negative"] > scores["mpd_positive"] > 0
    assert scores["mpd_auc"] > 0.5
    net = trained(kept(tmp_path), recipe)
    folder = open_folder(data)
    images = make_task(folder, "images", 100, 0, "xyz", "fps", VIEWS, "meshes", protocol="probe")
    points = dataclasses.replace(result.task, regime=100, draw=0)
    pairs = open_pairs(folder, points, images, "test", find_recipe(recipe)[0].images, min_opacity=0.1)
    asked = []

    def redrawn(draw):
        asked.append(draw)
        return extract(net, open_objects(folder, points, "test", min_opacity=0.1, sampling_draw=draw))

    assert pretext_scores(net, pairs, redrawn, CPU) == scores
    assert asked == [0, 1, 2, 3, 4], "each repeat shows other points of the objects"
    torch.nn.init.zeros_(net.head.weight)
    torch.nn.init.ones_(net.head.bias)
    always = pretext_scores(net, pairs, redrawn, CPU)
    assert always["cross_modality_accuracy"] == always["cross_modality_floor"]
    assert always["cross_modality_balanced"] == 0.5
    assert always["mpd_auc"] == scores["mpd_auc"]
    for parameter in net.images.parameters():
        parameter.data *= 10
    larger = pretext_scores(net, pairs, redrawn, CPU)
    assert larger["mpd_positive"] == pytest.approx(10 * scores["mpd_positive"], rel=1e-5)
    assert larger["mpd_auc"] == pytest.approx(scores["mpd_auc"], abs=0.01)


def test_pretext_scores_are_of_the_same_pairs_whatever_was_learnt_from(data, tmp_path):
    path = make_pairs_recipe(tmp_path / "pairs")
    path.write_text(path.read_text().replace("epochs = 3", "epochs = 0"))
    recipe = str(path)
    few, many = (evaluate(recipe, data, num_points=16, pretext_views=views)[0].pretext for views in (2, VIEWS))
    assert (few.num_views, many.num_views) == (2, VIEWS)
    assert few.metrics == many.metrics


@pytest.mark.parametrize("modality", ["gaussians", "images"])
def test_fine_tuning_trains_a_copy_by_the_regimes_labels(run, recipe, tmp_path, modality):
    count = {"num_views": 2} if modality == "images" else {}
    run()
    before = trained(kept(tmp_path, "pretext"), recipe).state_dict()
    result, steps = run(protocol="finetune", modality=modality, regime=50, **count)
    assert steps == list(range(1, 17)), "8 epochs of 12 objects in batches of 8, and no pretext training"
    assert (result.task.protocol, result.run.epochs, result.run.train_objects) == ("finetune", 8, 12)
    assert result.metrics["accuracy"] > 0.9
    assert result.model.num_params == sum(value.numel() for value in before.values()) + 2 * 8 + 2
    assert (("sampling_draws" in result.stated), "knn_accuracy" in result.stated) == (modality == "gaussians", False)
    after = trained(kept(tmp_path, "pretext"), recipe).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()), "the encoder itself stays"
    again, steps = run(protocol="finetune", modality=modality, regime=50, **count)
    assert (again.predictions, steps) == (result.predictions, []), "it is kept"


def test_a_fine_tuned_model_comes_back(run, data, recipe, tmp_path):
    result, _ = run(protocol="finetune", regime=50)
    encoder, _ = from_pretrained(kept(tmp_path, "pretext"), recipe)
    net, about = from_pretrained(kept(tmp_path, "finetune"), recipe)
    assert (about.tasks, about.encoder_sha256) == ((result.task,), weights_sha256(encoder))
    assert about.recipe == find_recipe(recipe)[0]
    test = open_objects(open_folder(data), result.task, "test", min_opacity=0.1)
    rows = np.array([result.predictions[object_id] for object_id in test.ids])
    np.testing.assert_array_equal(predict(net, test), rows)
    assert net.embed(test.batch(torch.arange(3))).shape == (3, 8)


@pytest.mark.parametrize("modality", ["gaussians", "points"])
def test_nothing_is_drawn_where_all_points_go_in(data, tmp_path, modality):
    path = str(make_recipe(tmp_path / "mine"))
    every, few = (evaluate(path, data, modality=modality, num_points=count)[0] for count in (None, LARGEST - 1))
    assert (every.task.num_points, every.stated) == (LARGEST, {})
    assert few.stated["sampling_draws"] == 5


def test_gaussians_that_stay_out_are_not_among_those_drawn_from(data, tmp_path):
    path = make_recipe(tmp_path / "mine")
    path.write_text(path.read_text() + "\n[points]\nmin_opacity = 0.4\n")
    opaque = most_points(open_folder(data), "gaussians", "test", 0.4)
    every, few = (evaluate(str(path), data, num_points=count)[0] for count in (opaque, opaque - 1))
    assert opaque < LARGEST
    assert every.stated == {}, "five draws of all that are opaque would be one"
    assert few.stated["sampling_draws"] == 5


@pytest.mark.parametrize("protocol", ["probe", "finetune"])
def test_memory_that_ends_while_objects_are_scored(run, monkeypatch, protocol):
    def full(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr("gsbench.learn.evaluation.embedding.extract", full)
    monkeypatch.setattr("gsbench.learn.evaluation.scoring.predict", full)
    with pytest.raises(ValueError, match=r"pairs: the memory of cpu ends while objects are scored \(allowed: fewer"):
        run(protocol=protocol)


def test_a_model_trained_by_labels_may_be_probed(data, tmp_path):
    path, once = str(make_recipe(tmp_path / "mine")), {"num_points": 16, "checkpoints": tmp_path / "kept"}
    supervised, probed = (evaluate(path, data, protocol=how, **once)[0] for how in ("supervised", "probe"))
    assert len(list((tmp_path / "kept").iterdir())) == 1, "the second one found the first one's training"
    assert (probed.run.epochs, probed.pretext) == (6, None)
    assert {"knn_accuracy", "retrieval_map", "accuracy_over_draws", "knn_accuracy_over_draws"} <= set(probed.stated)
    assert set(supervised.stated) == {"sampling_draws", "accuracy_over_draws", "accuracy_over_draws_std"}
    assert probed.predictions != supervised.predictions
    assert probed.task.slug() == supervised.task.slug().replace("supervised", "probe")
    with pytest.raises(
        ValueError, match=r"protocol is finetune, and mine learns from labels \(allowed: supervised, pr"
    ):
        evaluate(path, data, protocol="finetune")
    with pytest.raises(ValueError, match=r"pretext_views is 2, and mine learns from labels \(leave it out\)"):
        evaluate(path, data, pretext_views=2)


def test_a_published_figure_of_images_is_of_the_encoder_that_learnt_from_its_features(run):
    by_images, _ = run(modality="images", num_views=2)

    def figure(features: str, **changes) -> Reported:
        base = {"dataset": "tiny", "modality": "images", "accuracy": 0.5, "source": features, "protocol": "probe"}
        return Reported(**base | {"features": features} | changes)

    recipe = Recipe("a", "A", "m:A", "-", Train(1, 1, 0.1), reported=(figure("xyz+geo"), figure("xyz", num_views=2)))
    assert find_reported(recipe, by_images.task, "tiny", by_images.pretext).source == "xyz"
    geo = dataclasses.replace(by_images.pretext, features="xyz+geo")
    assert find_reported(recipe, by_images.task, "tiny", geo).source == "xyz+geo"
    assert find_reported(recipe, dataclasses.replace(by_images.task, num_views=1), "tiny", by_images.pretext) is None
    renders = dataclasses.replace(by_images.task, views_from="gaussians")
    assert find_reported(recipe, renders, "tiny", by_images.pretext).source == "xyz"
    assert find_reported(recipe, dataclasses.replace(renders, cameras="novel"), "tiny", by_images.pretext) is None


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("ssl-pointnet:smoke", "ssl-pointnet++:smoke")),
        "ssl-plus:smoke",
    ],
)
def test_shipped_recipes_of_pairs(data, tmp_path, name):
    """The published ones are also run by the tables' tests."""
    for changes in ({"protocol": "finetune"}, {"modality": "images", "num_views": 1}):
        (result,) = evaluate(
            name,
            data,
            regime=50,
            num_points=24,
            pretext_views=2,
            checkpoints=tmp_path / "kept",
            out=tmp_path,
            **changes,
        )
        assert result.pretext.epochs == 1
        assert set(result.predictions) == set(OBJECTS["test"])
        assert load_result(tmp_path / f"{result.task.slug()}-{result.file_name()}") == result


@pytest.mark.slow
def test_an_untrained_encoder_keeps_the_weights_that_it_starts_from(data, tmp_path):
    name = "ssl-plus:untrained"
    (result,) = evaluate(name, data, num_points=24, pretext_views=2, seeds=(3,), checkpoints=tmp_path / "kept")
    assert (result.pretext.epochs, result.pretext.objects) == (0, len(OBJECTS["train"]))
    net, _ = from_pretrained(kept(tmp_path))
    torch.manual_seed(3)
    assert weights_sha256(net) == weights_sha256(build_model(*find_recipe(name), 3, 2))


def test_the_shipped_recipe_of_many_views(data):
    (result,) = evaluate("mvcnn:smoke", data, num_views=2, regime=50)
    assert (result.task.protocol, result.run.epochs, result.pretext) == ("supervised", 2, None)
    assert result.stated == {}
