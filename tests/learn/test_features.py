"""Frozen features from elsewhere: the same entry whatever the file's format, and every fault of the file told."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsbench.board import check
from gsbench.cli import main
from gsbench.core.parsing import InputError
from gsbench.core.results import load_result
from gsbench.core.tasks import all_regimes
from gsbench.learn.features import probe_features, read_features
from gsbench.learn.probe import fit_probe
from gsbench.store.folder import open_folder, read_labels
from gsbench.store.load import resolve


@pytest.fixture(scope="module")
def folder():
    return open_folder(resolve("mini"))


@pytest.fixture(scope="module")
def arrays(folder) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = {**read_labels(folder, "train"), **read_labels(folder, "test")}
    features = rng.normal(size=(len(labels), 24)).astype(np.float32)
    features[np.arange(len(labels)), [folder.manifest.classes.index(label) for label in labels.values()]] += 3
    return {"object_id": np.array(list(labels)), "features": features}


def test_npz_and_parquet_have_one_hash_in_any_order(folder, arrays, tmp_path):
    np.savez(tmp_path / "f.npz", **arrays)
    backwards = {key: array[::-1].tolist() for key, array in arrays.items()}
    pq.write_table(pa.table(backwards), tmp_path / "f.parquet")
    a, b = read_features(tmp_path / "f.npz", folder), read_features(tmp_path / "f.parquet", folder)
    assert a.sha256 == b.sha256
    one = next(probe_features(a, folder))
    other = next(probe_features(b, folder))
    assert one.probabilities == other.probabilities


def test_the_probe_is_the_boards_own(folder, arrays, tmp_path):
    np.savez(tmp_path / "f.npz", **arrays)
    probed = list(probe_features(read_features(tmp_path / "f.npz", folder), folder))
    assert [(each.regime, each.draw) for each in probed] == all_regimes()
    train, test = read_labels(folder, "train"), sorted(read_labels(folder, "test"))
    row = {object_id: number for number, object_id in enumerate(arrays["object_id"].tolist())}
    labels = np.array([folder.manifest.classes.index(train[object_id]) for object_id in sorted(train)])
    fitted = fit_probe(arrays["features"][[row[i] for i in sorted(train)]], labels, len(folder.manifest.classes))
    expected = fitted.probabilities(arrays["features"][[row[i] for i in test]])
    np.testing.assert_allclose([probed[0].probabilities[i] for i in test], expected, atol=1e-5)
    assert probed[0].accuracy > probed[-1].accuracy


def test_from_features_to_entries_that_the_board_holds(arrays, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("f.npz", **arrays)
    options = ["--data", "mini", "--modality", "gaussians", "--name", "their-encoder", "--seed", "1"]
    assert main(["probe", "f.npz", *options, "--dry-run"]) == 0
    assert not (tmp_path / "leaderboard").exists()
    assert main(["probe", "f.npz", *options]) == 0
    capsys.readouterr()
    entries = sorted((tmp_path / "leaderboard" / "entries").rglob("*.json"))
    assert len(entries) == len(all_regimes())
    result = load_result(entries[0])
    assert result.outside is not None
    assert result.outside.kind == "features"
    assert set(result.stated) == {"knn_accuracy", "retrieval_map"}
    check(tmp_path / "leaderboard", tmp_path / "README.md")


BAD = {
    "not finite": (lambda f: f["features"].__setitem__((0, 0), np.nan), "not finite"),
    "not finite in 32 bits": (lambda f: f.update(features=np.full(f["features"].shape, 1e300)), "not finite"),
    "text": (lambda f: f.update(features=f["features"].astype(str)), "of type"),
    "flat": (lambda f: f.update(features=f["features"][:, 0]), "of shape"),
    "no width": (lambda f: f.update(features=f["features"][:, :0]), "of shape"),
    "too wide": (lambda f: f.update(features=np.zeros((len(f["object_id"]), 9000), np.float16)), "of shape"),
    "fewer rows": (lambda f: f.update(features=f["features"][:-1]), "of shape"),
    "pickle": (lambda f: f.update(features=np.array([{}] * len(f["object_id"]))), "plain arrays"),
    "no ids": (lambda f: f.pop("object_id"), "object_id is missing"),
    "numbers as ids": (lambda f: f.update(object_id=np.arange(len(f["object_id"]))), "no text"),
    "test objects alone": (lambda f: f.update({key: a[240:] for key, a in f.items()}), "train objects missing"),
    "unknown": (lambda f: f.update(object_id=np.array([*f["object_id"][1:], "<b>"])), "'<b>' no object"),
    "twice": (lambda f: f.update({key: np.concatenate([a, a[:1]]) for key, a in f.items()}), "more than once"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_features_are_refused_with_the_reason(folder, arrays, tmp_path, case):
    change, reason = BAD[case]
    made = {key: array.copy() for key, array in arrays.items()}
    change(made)
    np.savez(tmp_path / "f.npz", **made)
    with pytest.raises(InputError, match=reason):
        read_features(tmp_path / "f.npz", folder)


@pytest.mark.parametrize("name", ["f.npz", "f.parquet", "f.pkl"])
def test_what_is_no_such_file_is_refused(folder, tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\3\4 nothing")
    with pytest.raises(InputError, match=r"not a \.npz|not Parquet|ending"):
        read_features(tmp_path / name, folder)
