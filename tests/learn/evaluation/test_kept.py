"""What of an encoder is kept, found again, gone on from, and told to be damaged."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gsbench.core.baseline import find_recipe
from gsbench.core.parsing import InputError
from gsbench.learn.checkpoints import from_pretrained, save_pretrained
from gsbench.learn.evaluation import Callbacks, evaluate
from tests.learn.evaluation.conftest import Killed, kept, kill_at
from tests.tiny_training import LARGEST, OBJECTS, VIEWS, make_pairs_recipe


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


def test_features_of_points_serve_the_pretext_scores_and_the_probe(recipe, data, tmp_path):
    taken: list[int] = []
    watch = Callbacks(extracting=lambda done, total: taken.append(total) if done == total else None)
    evaluate(recipe, data, num_points=16, checkpoints=tmp_path / "kept", callbacks=watch)
    assert (taken.count(12), taken.count(24)) == (5, 1), "the test objects once a draw, the training objects once"


def test_where_all_points_go_in_they_are_one_draw(data, tmp_path):
    recipe = make_pairs_recipe(tmp_path / "opaque")
    recipe.write_text(recipe.read_text().replace("min_opacity = 0.1", "min_opacity = 0.0"))
    taken: list[int] = []
    watch = Callbacks(extracting=lambda done, total: taken.append(total) if done == total else None)
    evaluate(str(recipe), data, num_points=LARGEST, callbacks=watch)
    assert taken.count(12) == 2, "once for the pretext scores, and, where nothing is kept, once for the probe"


def test_features_of_fewer_views_come_with_those_of_more(run, recipe, data, tmp_path):
    def score(num_views: int, checkpoints: Path) -> tuple[set[int], dict[str, list[float]]]:
        taken: set[int] = set()
        (result,) = evaluate(
            recipe, data, num_points=16, checkpoints=checkpoints, modality="images", num_views=num_views,
            callbacks=Callbacks(extracting=lambda done, total: taken.add(total)),
        )  # fmt: skip
        return taken, result.predictions

    run()  # the encoder and the scores of its own tasks
    for views in (2, 1):
        shutil.copytree(tmp_path / "kept", tmp_path / f"alone{views}")
    every, _ = score(VIEWS, tmp_path / "kept")
    assert every == {24 * VIEWS, 12 * VIEWS}
    for views in (2, 1):
        taken, predictions = score(views, tmp_path / "kept")
        alone, expected = score(views, tmp_path / f"alone{views}")
        assert (taken, alone) == (set(), {24 * views, 12 * views})
        for object_id, row in predictions.items():
            np.testing.assert_allclose(row, expected[object_id], atol=1e-6)
    assert score(3, tmp_path / "kept")[0], "three of four views are not every second"


def test_a_line_says_that_an_encoder_was_found(data, recipe, tmp_path):
    told: list[str] = []
    for _ in range(2):
        evaluate(recipe, data, num_points=16, checkpoints=tmp_path / "kept", callbacks=Callbacks(note=told.append))
    assert told == [f"reused the encoder in {kept(tmp_path)}, trained for 3 epochs."]


def test_nothing_is_kept_without_a_folder(data, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (evaluate(recipe, data, num_points=16)[0] for _ in range(2))
    assert first.predictions == second.predictions
    assert first.pretext.metrics == second.pretext.metrics
    assert list(tmp_path.iterdir()) == []


def test_trainings_of_another_precision_are_kept_apart(run, tmp_path):
    first, _ = run()
    assert (first.pretext.precision, first.precision) == ("fp32", "fp32"), "on every CPU"
    other, steps = run(precision="bf16")
    assert len(steps) == 9, "the encoder trained in fp32 is not taken for it"
    assert (other.pretext.precision, other.precision) == ("bf16", "bf16")
    assert other.model.recipe_sha256 == first.model.recipe_sha256
    assert [run(precision=precision)[1] for precision in ("bf16", "fp32", None)] == [[], [], []]
    tuned, _ = run(precision="bf16", protocol="finetune", regime=50)
    assert (tuned.run.precision, tuned.pretext) == ("bf16", other.pretext)


def test_interrupted_fine_tuning_goes_on_but_not_from_another_encoder(run, recipe, data, tmp_path):
    run()
    arguments = {"num_points": 16, "checkpoints": tmp_path / "kept", "protocol": "finetune"}
    with pytest.raises(Killed):
        evaluate(recipe, data, callbacks=kill_at(5), **arguments)
    whole, steps = run(protocol="finetune")
    assert steps[0] == 4
    anew = evaluate(recipe, data, num_points=16, protocol="finetune")[0]
    assert whole.predictions == anew.predictions
    encoder = kept(tmp_path, "pretext")
    net, about = from_pretrained(encoder, recipe)
    net.points.weight.data *= 2
    save_pretrained(encoder, net, about)
    with pytest.raises(
        ValueError, match="-s0: of another recipe, code, seed, data set or encoder, remove it to train anew"
    ):
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


def test_scores_of_an_older_definition_are_made_anew(run, tmp_path):
    first, _ = run()
    path = kept(tmp_path) / "pretext.json"
    written = path.read_bytes()
    older = json.loads(written)
    auc = older["metrics"]["mpd_auc"] = older["metrics"]["mpd_auc_low"]
    path.write_text(json.dumps(older))
    assert run()[0].pretext.metrics["mpd_auc"] == auc, "those of this definition are taken as they are"
    del older["definition"]
    path.write_text(json.dumps(older))
    assert run()[0].pretext == first.pretext
    assert path.read_bytes() == written


def test_an_interrupted_pretext_training_goes_on_and_leaves_one_folder(run, recipe, data, tmp_path):
    with pytest.raises(Killed):
        evaluate(recipe, data, num_points=16, checkpoints=tmp_path / "kept", callbacks=kill_at(5))
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


def lose_score(folder: Path) -> None:
    record = json.loads((folder / "pretext.json").read_text())
    del record["metrics"]["mpd_auc"]
    (folder / "pretext.json").write_text(json.dumps(record))


def of_features(edit):
    def change(folder: Path) -> None:
        (path,) = folder.parent.rglob("train-*.npz")
        with np.load(path) as file:
            arrays = dict(file)
        edit(arrays)
        np.savez(path, **arrays)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (corrupt("model.safetensors", b"x"), r"model\.safetensors: not the weights that config\.json is about"),
        (corrupt("config.json", b"{"), r"config\.json: not JSON"),
        (of_another_seed, "-s0: of another recipe, code, seed, data set or encoder, remove it to train anew"),
        (corrupt("pretext.json", b"{"), r"pretext\.json: not JSON: .*: no scores, remove it"),
        (corrupt("pretext.json", b"[]"), r"pretext\.json: "),
        (corrupt("pretext.json", b'{"metrics": {}}'), r"pretext\.json: key 'weights_sha256' is missing"),
        (corrupt("train-*.npz", b"PK"), r"train-.*\.npz: no features \(\w+\), remove it to make them anew"),
        (corrupt("train-*.npz", b""), r"train-.*\.npz: no features"),
        (corrupt("pretext.json", b"[" * 100_000), r"pretext\.json: .*no scores, remove it"),
        (lose_score, r"pretext\.json: no scores \(must be cross_modality_floor, mpd_positive"),
        (of_features(lambda f: f.update(features=f["features"][:, :0])), r"npz: no features \(must be finite numbers"),
        (of_features(lambda f: f.update(features=f["features"] * np.nan)), r"npz: no features \(must be finite"),
        (of_features(lambda f: f.update(features=f["features"][:-1])), r"npz: no features \(must be finite"),
        (of_features(lambda f: f.update(labels=1 - f["labels"])), r"npz: of other objects or labels than the data's"),
        (of_features(lambda f: f.update(labels=f["labels"] + 9)), r"npz: of other objects or labels than the data's"),
        (of_features(lambda f: f.update(ids=f["ids"][::-1])), r"npz: of other objects or labels than the data's"),
        (of_features(lambda f: f.update(ids=f["ids"][:, None])), r"npz: no features \(must be finite"),
        (of_features(lambda f: f.pop("ids")), r"npz: no features \(KeyError\)"),
    ],
)
def test_what_is_damaged_is_named(run, tmp_path, change, message):
    run()
    change(kept(tmp_path))
    with pytest.raises(ValueError, match=message) as caught:
        run()
    assert "\n" not in str(caught.value)


def test_fine_tuning_does_not_decide_which_encoder_it_is(data, recipe, tmp_path):
    other = make_pairs_recipe(tmp_path / "other")
    other.write_text(other.read_text().replace("epochs = 8", "epochs = 4"))
    evaluate(recipe, data, num_points=16, checkpoints=tmp_path / "kept")
    told: list[str] = []
    (result,) = evaluate(
        str(other), data, num_points=16, checkpoints=tmp_path / "kept", callbacks=Callbacks(note=told.append)
    )
    assert len(told) == 1
    assert result.model.recipe_sha256 == find_recipe(str(other))[0].sha256() != find_recipe(recipe)[0].sha256()


def test_a_training_that_has_begun_keeps_its_number_of_images(run, data, recipe, tmp_path, monkeypatch):
    with pytest.raises(Killed):
        evaluate(recipe, data, num_points=16, checkpoints=tmp_path / "kept", callbacks=kill_at(5))
    monkeypatch.setattr("gsbench.learn.evaluation.pretext.free_memory", lambda: 1)
    result, steps = run()
    assert (result.pretext.num_views, steps[0]) == (VIEWS, 4)


def test_images_that_do_not_fit_into_memory_are_refused(run, data, recipe, monkeypatch, tmp_path):
    """How many an encoder learns from is no matter of the machine."""
    needed = len(OBJECTS["train"]) * VIEWS * 8 * 8 * 3
    monkeypatch.setattr("gsbench.learn.evaluation.pretext.free_memory", lambda: needed)
    with pytest.raises(InputError, match=r"pairs: 4 images of 8 px of each of 24 .* \(allowed: --pretext-views 2"):
        run()
    monkeypatch.setattr("gsbench.learn.evaluation.pretext.free_memory", lambda: needed // 8)
    with pytest.raises(InputError, match=r"\(allowed: none fits; a smaller images\.size; or more memory\)"):
        run()
    assert not (tmp_path / "kept").exists()
    assert run(pretext_views=VIEWS)[0].pretext.num_views == VIEWS, "who asks for it has it"
    assert run()[0].pretext.num_views == VIEWS, "it is there now"
