"""The embedded data set: what it promises, checked on the files that ship."""

from pathlib import Path

import pytest

import gsbench
from gsbench.meshes.shapes import LABELS
from gsbench.produce.verification import verify
from gsbench.store.folder import open_folder
from gsbench.store.load import resolve

MOST_BYTES = 20_000_000


def test_mini_is_sound() -> None:
    report = verify(resolve("mini"))
    assert report.problems == ()
    assert report.name == "mini"


def test_mini_is_small_and_has_enough_of_every_class() -> None:
    path = resolve("mini")
    assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) <= MOST_BYTES
    manifest = open_folder(path).manifest
    assert manifest.classes == LABELS
    assert manifest.counts["gaussians"] == {"train": dict.fromkeys(LABELS, 24), "test": dict.fromkeys(LABELS, 12)}
    assert manifest.counts["views"]["test"] == dict.fromkeys(LABELS, 12 * 12)
    assert manifest.set_aside == {}
    assert manifest.sh_coefficients >= 4


def test_mini_opens_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    rows = gsbench.load_dataset("mini", split="test").with_format("numpy")
    assert len(rows) == 120
    assert rows[0]["means"].shape == (512, 3)
