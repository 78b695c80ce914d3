from pathlib import Path

import numpy as np
import pytest

from gsbench.store.create import Contents, create_folder
from gsbench.store.folder import open_folder
from gsbench.store.quality import distribution, read_scores, summarize
from tests.store.conftest import ABOUT, OBJECTS, rows_of_everything


def test_scores_are_those_of_both_splits(made: Path) -> None:
    scores = read_scores(open_folder(made))
    expected = {name: 30 + int(name[-4:]) / 4 for labels in OBJECTS.values() for name in labels}
    assert dict(zip(scores.ids, scores.psnr.tolist(), strict=True)) == expected
    assert {name: len(psnr) for name, psnr in scores.by_class().items()} == {"chair": 13, "sofa": 13}
    assert scores.worst(2) == {"chair_0001": 30.25, "sofa_0001": 30.25}


def test_the_manifest_keeps_the_distribution(made: Path) -> None:
    quality = open_folder(made).manifest.quality
    psnr = [30 + number / 4 for number in range(1, 14)] * 2
    assert list(quality) == ["psnr", "ssim", *(f"psnr_{name}" for name in ("min", "p5", "p25", "p50", "p75", "p95"))]
    assert quality["psnr"] == pytest.approx(np.mean(psnr))
    assert quality["psnr_p25"] == pytest.approx(np.percentile(psnr, 25))
    assert (quality["psnr_min"], quality["ssim"]) == (30.25, pytest.approx(0.95))


def test_of_one_object_every_percentile_is_its_own() -> None:
    assert set(distribution([31.0]).values()) == {31.0}


def test_without_gaussians_there_is_nothing_to_say(tmp_path: Path) -> None:
    rows = {key: of_split for key, of_split in rows_of_everything().items() if key[0] == "points"}
    manifest = create_folder(tmp_path / "points", Contents(ABOUT, OBJECTS), rows)
    assert manifest.quality == {}
    assert summarize(read_scores(open_folder(tmp_path / "points"))) == {}
