"""Encoders of pairs, from their training to probes and fine-tuning: what is trained, kept, reused, stated, refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from gsbench.baseline import find_recipe
from gsbench.checkpoints import from_pretrained, save_pretrained
from gsbench.data import open_objects, open_pairs
from gsbench.evaluation import Watch, evaluate, find_reported, make_task
from gsbench.evaluation.matching import pretext_scores
from gsbench.features import extract
from gsbench.metrics import classification_metrics, knn_accuracy, retrieval_map
from gsbench.probe import fit_probe
from gsbench.recipe import Recipe, Reported, Train
from gsbench.results import load_result
from gsbench.store.folder import open_folder
from gsbench.tasks import regime_ids
from tests.tiny_training import NOVEL, OBJECTS, PSNR, VIEWS, make_folder, make_pairs_recipe, make_recipe

CPU = torch.device("cpu")
PRETEXT = ("mpd_positive", "mpd_negative", "mpd_ratio", "mpd_auc", "cross_modality_accuracy", "cross_modality_balanced")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data") / "tiny", ("gaussians", "points", "views", "reconstructions"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return str(make_pairs_recipe(tmp_path_factory.mktemp("theirs")))


@pytest.fixture
def run(data, recipe, tmp_path):
    """Evaluates with checkpoints; returns the Result and the steps of every training."""

    def evaluate_here(**changes):
        steps: list[int] = []
        arguments = {"num_points": 16, "checkpoints": tmp_path / "kept"} | changes
        watch = Watch(progress=lambda done, total, loss: steps.append(done))
        (result,) = evaluate(recipe, data, watch=watch, **arguments)
        return result, steps

    return evaluate_here


def kept(tmp_path: Path) -> Path:
    (folder,) = (path.parent for path in (tmp_path / "kept").rglob("model.safetensors"))
    return folder


def trained(folder: Path, recipe: str):
    return from_pretrained(folder, recipe)[0]


def labels_of(split: str, ids) -> np.ndarray:
    return np.array([("ball", "rod").index(OBJECTS[split][object_id]) for object_id in ids])


def test_a_probe_is_that_of_the_encoders_features(run, recipe, data, tmp_path):
    """Written out: all objects are learnt from, half of them have labels."""
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
    right = [
        (fit_probe(features, labels, 2).probabilities(extract(net, objects)).argmax(1) == truth).mean()
        for objects in (test, *others)
    ]
    assert result.stated["sampling_draws"] == 5
    assert result.stated["accuracy_over_draws"] == pytest.approx(np.mean(right))
    assert result.stated["accuracy_over_draws_std"] == pytest.approx(np.std(right, ddof=1))


def test_an_encoder_is_trained_once_for_every_probe(run, tmp_path):
    first, steps = run()
    assert len(steps) == 9
    for changes in (
        {},
        {"regime": 10, "draw": 2},
        {"modality": "images", "num_views": 1},
        {"modality": "images", "num_views": 4, "views_from": "gaussians"},
        {"modality": "images", "num_views": 2, "views_from": "gaussians", "cameras": "novel"},
    ):
        result, steps = run(**changes)
        assert steps == [], changes
        assert result.pretext == first.pretext, "its scores are kept, too"
    again, _ = run()
    assert again.predictions == first.predictions
    assert again.stated == first.stated
    for changes in ({"num_points": 8}, {"sampling": "uniform"}, {"features": "xyz+geo"}, {"seeds": (1,)},
                    {"pretext_views": 2}):  # fmt: skip
        assert len(run(**changes)[1]) == 9, changes
    assert len(list((tmp_path / "kept").rglob("model.safetensors"))) == 6


def test_a_line_says_that_an_encoder_was_found(data, recipe, tmp_path):
    told: list[str] = []
    for _ in range(2):
        evaluate(recipe, data, num_points=16, checkpoints=tmp_path / "kept", watch=Watch(notice=told.append))
    assert told == [f"reused the encoder in {kept(tmp_path)}, trained for 3 epochs."]


def test_a_probe_that_stopped_short_says_so(data, recipe, monkeypatch):
    monkeypatch.setattr("gsbench.probe._ITERATIONS", 1)
    told: list[str] = []
    (result,) = evaluate(recipe, data, num_points=16, watch=Watch(notice=told.append))
    assert told == ["the probe of seed 0 stopped at scikit-learn's limit of steps, short of its tolerance."]
    assert result.stated["probe_converged"] == 0


def test_nothing_is_kept_without_a_folder(data, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (evaluate(recipe, data, num_points=16)[0] for _ in range(2))
    assert first.predictions == second.predictions
    assert first.pretext.metrics == second.pretext.metrics
    assert list(tmp_path.iterdir()) == []


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
        learnt = dataclasses.replace(result.task, views_from="meshes", cameras="train")
        train = open_objects(folder, learnt, "train", size)
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
    assert pretext_scores(net, pairs, CPU) == scores
    torch.nn.init.zeros_(net.head.weight)
    torch.nn.init.ones_(net.head.bias)
    always = pretext_scores(net, pairs, CPU)
    assert always["cross_modality_accuracy"] == always["cross_modality_floor"]
    assert always["cross_modality_balanced"] == 0.5
    assert always["mpd_auc"] == scores["mpd_auc"]
    for parameter in net.images.parameters():
        parameter.data *= 10
    larger = pretext_scores(net, pairs, CPU)
    assert larger["mpd_positive"] == pytest.approx(10 * scores["mpd_positive"], rel=1e-5)
    assert larger["mpd_auc"] == pytest.approx(scores["mpd_auc"], abs=0.01)


@pytest.mark.parametrize("modality", ["gaussians", "images"])
def test_fine_tuning_trains_a_copy_by_the_regimes_labels(run, recipe, tmp_path, modality):
    count = {"num_views": 2} if modality == "images" else {}
    run()
    before = trained(kept(tmp_path), recipe).state_dict()
    result, steps = run(protocol="finetune", modality=modality, regime=50, **count)
    assert steps == list(range(1, 17)), "8 epochs of 12 objects in batches of 8, and no pretext training"
    assert (result.task.protocol, result.run.epochs, result.run.train_objects) == ("finetune", 8, 12)
    assert result.metrics["accuracy"] > 0.9
    assert result.model.num_params == sum(value.numel() for value in before.values()) + 2 * 8 + 2
    assert (("sampling_draws" in result.stated), "knn_accuracy" in result.stated) == (modality == "gaussians", False)
    after = trained(kept(tmp_path), recipe).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()), "the encoder itself stays"
    assert run(protocol="finetune", modality=modality, regime=50, **count)[1] == [], "its last epoch is there"


def test_interrupted_fine_tuning_goes_on_but_not_from_another_encoder(run, recipe, data, tmp_path):
    class Killed(Exception):
        pass

    def kill(done, total, loss):
        if done == 5:
            raise Killed

    run()
    arguments = {"num_points": 16, "checkpoints": tmp_path / "kept", "protocol": "finetune"}
    with pytest.raises(Killed):
        evaluate(recipe, data, watch=Watch(progress=kill), **arguments)
    whole, steps = run(protocol="finetune")
    assert steps[0] == 4
    anew = evaluate(recipe, data, num_points=16, protocol="finetune")[0]
    assert whole.predictions == anew.predictions
    net, about = from_pretrained(kept(tmp_path), recipe)
    net.points.weight.data *= 2
    save_pretrained(kept(tmp_path), net, about)
    with pytest.raises(ValueError, match="checkpoint of another recipe, seed or training set"):
        run(protocol="finetune")


def test_features_and_scores_of_other_weights_are_not_taken(run, recipe, tmp_path):
    first, _ = run()
    net, about = from_pretrained(kept(tmp_path), recipe)
    net.points.weight.data[:, 2] *= 5
    net.images.weight.data *= 5
    save_pretrained(kept(tmp_path), net, about)
    second, steps = run()
    assert steps == []
    assert second.predictions != first.predictions
    assert second.pretext.metrics["mpd_positive"] == pytest.approx(5 * first.pretext.metrics["mpd_positive"])
    fresh = tmp_path / "fresh"
    shutil.copytree(kept(tmp_path), fresh / kept(tmp_path).name)
    (fresh / kept(tmp_path).name / "pretext.json").unlink()
    third, _ = run(checkpoints=fresh)
    assert (third.predictions, third.pretext, third.stated) == (second.predictions, second.pretext, second.stated)


def test_an_interrupted_pretext_training_goes_on_and_leaves_one_folder(run, recipe, data, tmp_path):
    class Killed(Exception):
        pass

    def kill(done, total, loss):
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        evaluate(recipe, data, num_points=16, checkpoints=tmp_path / "kept", watch=Watch(progress=kill))
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".pt"]
    result, steps = run()
    assert steps == [4, 5, 6, 7, 8, 9]
    assert result.predictions == evaluate(recipe, data, num_points=16)[0].predictions
    assert not list((tmp_path / "kept").glob("*.pt"))


def test_a_kill_between_the_two_files_of_a_checkpoint(run, tmp_path):
    first, _ = run()
    (kept(tmp_path) / "config.json").unlink()
    again, steps = run()
    assert len(steps) == 9, "weights alone are no checkpoint"
    assert again.predictions == first.predictions


def corrupt(name: str, content: bytes):
    def change(folder: Path) -> None:
        (path,) = folder.parent.rglob(name)
        path.write_bytes(content)

    return change


def of_another_seed(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["checkpoint"]["seed"] = 9
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (corrupt("model.safetensors", b"x"), r"model\.safetensors: not the weights that config\.json is about"),
        (corrupt("config.json", b"{"), r"config\.json: not JSON"),
        (of_another_seed, "-s0: encoder of another recipe, seed or data set, remove it to train anew"),
        (corrupt("pretext.json", b"{"), r"pretext\.json: no scores \(JSONDecodeError\), remove it"),
        (corrupt("pretext.json", b"[]"), r"pretext\.json: "),
        (corrupt("pretext.json", b'{"metrics": {}}'), r"pretext\.json: key 'weights_sha256' is missing"),
        (corrupt("train-*.npz", b"PK"), r"train-.*\.npz: no features \(\w+\), remove it to make them anew"),
        (corrupt("train-*.npz", b""), r"train-.*\.npz: no features"),
    ],
)
def test_what_is_damaged_is_named(run, tmp_path, change, message):
    run()
    change(kept(tmp_path))
    with pytest.raises(ValueError, match=message) as caught:
        run()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"protocol": "supervised"},
            r"protocol is supervised, and pairs learns from pairs \(allowed: probe, finetune\)",
        ),
        ({"modality": "points"}, "modality is points, pairs takes gaussians, images"),
        ({"num_views": 2}, r"num_views is 2, and pairs sees gaussians \(allowed: leave it out\)"),
        ({"modality": "images", "num_views": 5}, r"num_views is 5 \(allowed: up to 4, all that ball_0001 has\)"),
        (
            {"modality": "images", "num_views": 3, "views_from": "gaussians", "cameras": "novel"},
            r"num_views is 3 \(allowed: up to 2, all that ball_0013 has\)",
        ),
        ({"modality": "images", "cameras": "novel"}, r"cameras is 'novel' \(allowed: train\)|from novel cameras"),
        ({"pretext_views": 5}, r"num_views is 5 \(allowed: up to 4"),
        ({"num_points": 61}, "num_points is 61"),
    ],
)
def test_bad_arguments_are_refused_before_training(run, changes, message, monkeypatch):
    for module in ("pretext", "protocols"):
        monkeypatch.setattr(f"gsbench.evaluation.{module}.train", lambda *a, **k: pytest.fail("training began"))
    with pytest.raises(ValueError, match=message) as caught:
        run(**changes)
    assert "\n" not in str(caught.value)


def test_pairs_of_one_view(run):
    with pytest.raises(ValueError, match=r"num_views is 1 with supervision pairs \(must be at least 2\)"):
        run(pretext_views=1)


def test_labels_of_one_class(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("gsbench.evaluation.pretext.train", lambda *a, **k: pytest.fail("training began"))
    one = {"train": dict.fromkeys(OBJECTS["train"], "ball"), "test": OBJECTS["test"]}
    monkeypatch.setattr("tests.tiny_training.OBJECTS", one)
    data = make_folder(tmp_path / "one", ("gaussians", "views"))
    for protocol in ("probe", "finetune"):
        with pytest.raises(ValueError, match=r"a probe of 12 labelled objects of one class \(must be of two"):
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


def test_a_model_trained_by_labels_may_be_probed(data, tmp_path):
    path, once = str(make_recipe(tmp_path / "mine")), {"num_points": 16, "checkpoints": tmp_path / "kept"}
    supervised, probed = (evaluate(path, data, protocol=how, **once)[0] for how in ("supervised", "probe"))
    assert len(list((tmp_path / "kept").iterdir())) == 1, "the second one found the first one's training"
    assert (probed.run.epochs, probed.pretext) == (6, None)
    assert {"knn_accuracy", "retrieval_map", "accuracy_over_draws"} <= set(probed.stated)
    assert set(supervised.stated) == {"sampling_draws", "accuracy_over_draws", "accuracy_over_draws_std"}
    assert probed.predictions != supervised.predictions
    assert probed.task.slug() == supervised.task.slug().replace("supervised", "probe")
    with pytest.raises(
        ValueError, match=r"protocol is finetune, and mine learns from labels \(allowed: supervised, pr"
    ):
        evaluate(path, data, protocol="finetune")
    with pytest.raises(ValueError, match=r"pretext_views is 2, and mine learns from labels \(leave it out\)"):
        evaluate(path, data, pretext_views=2)


def test_a_recipe_without_a_schedule_is_not_fine_tuned(data, tmp_path):
    path = make_pairs_recipe(tmp_path)
    path.write_text(path.read_text().replace("[finetune]\nepochs = 8\nbatch_size = 8\nlr = 0.02\n", ""))
    with pytest.raises(ValueError, match=r"learns from pairs and has no \[finetune\] \(allowed: probe\)"):
        evaluate(str(path), data, protocol="finetune")


def test_fine_tuning_does_not_decide_which_encoder_it_is(data, recipe, tmp_path):
    other = make_pairs_recipe(tmp_path / "other")
    other.write_text(other.read_text().replace("epochs = 8", "epochs = 4"))
    evaluate(recipe, data, num_points=16, checkpoints=tmp_path / "kept")
    told: list[str] = []
    (result,) = evaluate(
        str(other), data, num_points=16, checkpoints=tmp_path / "kept", watch=Watch(notice=told.append)
    )
    assert len(told) == 1
    assert result.model.recipe_sha256 == find_recipe(str(other))[0].sha256() != find_recipe(recipe)[0].sha256()


def test_a_training_that_has_begun_keeps_its_number_of_images(run, data, recipe, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def kill(done, total, loss):
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        evaluate(recipe, data, num_points=16, checkpoints=tmp_path / "kept", watch=Watch(progress=kill))
    monkeypatch.setattr("gsbench.evaluation.pretext.free_memory", lambda: 1)
    result, steps = run()
    assert (result.pretext.num_views, steps[0]) == (VIEWS, 4)


def test_images_that_do_not_fit_into_memory_are_halved(run, monkeypatch, tmp_path):
    needed = len(OBJECTS["train"]) * VIEWS * 8 * 8 * 3
    monkeypatch.setattr("gsbench.evaluation.pretext.free_memory", lambda: needed)
    first, _ = run()
    assert first.pretext.num_views == VIEWS // 2
    assert run(pretext_views=VIEWS)[0].pretext.num_views == VIEWS
    assert run()[0].pretext.num_views == VIEWS, "it is there now"


def test_a_published_figure_of_images_is_of_the_encoder_that_learnt_from_its_features(run):
    by_images, _ = run(modality="images", num_views=2)

    def figure(features: str, **changes) -> Reported:
        base = {"dataset": "tiny", "modality": "images", "accuracy": 0.5, "source": features, "protocol": "probe"}
        return Reported(**base | {"features": features} | changes)

    recipe = Recipe("a", "A", "m:A", "-", Train(1, 1, 0.1), reported=(figure("xyz+geo"), figure("xyz", num_views=2)))
    assert find_reported(recipe, by_images.task, by_images.pretext).source == "xyz"
    geo = dataclasses.replace(by_images.pretext, features="xyz+geo")
    assert find_reported(recipe, by_images.task, geo).source == "xyz+geo"
    assert find_reported(recipe, dataclasses.replace(by_images.task, num_views=1), by_images.pretext) is None
    renders = dataclasses.replace(by_images.task, views_from="gaussians")
    assert find_reported(recipe, renders, by_images.pretext).source == "xyz"
    assert find_reported(recipe, dataclasses.replace(renders, cameras="novel"), by_images.pretext) is None


@pytest.mark.parametrize("name", ["ssl-pointnet:smoke", "ssl-pointnet++:smoke", "ssl-plus:smoke"])
def test_shipped_recipes_of_pairs(data, tmp_path, name):
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


def test_the_shipped_recipe_of_many_views(data):
    (result,) = evaluate("mvcnn:smoke", data, num_views=2, regime=50)
    assert (result.task.protocol, result.run.epochs, result.pretext) == ("supervised", 2, None)
    assert result.stated == {}
