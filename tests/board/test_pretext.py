"""Encoders that learned before: whose rows they are, and what they state."""

import dataclasses

import pytest

from gsbench.board import CheckError, check
from gsbench.core.results import Pretext, Result
from tests.board.results import TASK, edit_json, make_result, rows

PRETEXT = Pretext("xyz", "fps", 2048, 64, 240, 20, 3600.0, "bf16", {"mpd_auc": 0.9})
PROBE = dataclasses.replace(
    TASK, modality="images", protocol="probe", features=None, sampling=None, num_points=None, num_views=64,
    views_from="meshes",
)  # fmt: skip


def probed(seed: int = 0, wrong: int = 6, stated: dict[str, float] | None = None, **changes) -> Result:
    """Images by a probe of an encoder that learned from something."""
    pretext = dataclasses.replace(PRETEXT, **changes)
    result = make_result("ssl", seed, wrong, PROBE)
    return dataclasses.replace(result, pretext=pretext, stated={"knn_accuracy": 0.8} if stated is None else stated)


def test_what_an_encoder_learnt_from_tells_rows_apart(board, put):
    put(make_result())
    for seed in range(2):
        put(probed(seed, stated={"knn_accuracy": 0.8 + 0.1 * seed, "psnr": 30.0} if seed else {"knn_accuracy": 0.8}))
        put(probed(seed, wrong=9, features="xyz+geo"))
    paths = sorted(path.name for path in (board / "entries" / PROBE.slug()).iterdir())
    assert paths == [f"ssl-{features}-fps-n2048-v64-s{s}.json" for features in ("xyz+geo", "xyz") for s in (0, 1)]
    table = rows(board)
    assert [(row["model"], row["pretext_features"], row["n"], row["standing"]) for row in table] == [
        ("net", "", "1", "alone"), ("ssl", "xyz", "2", "best"), ("ssl", "xyz+geo", "2", "tied"),
    ]  # fmt: skip
    assert float(table[1]["stated_knn_accuracy"]) == pytest.approx(0.85)
    assert (table[1]["stated_mpd_auc"], table[0]["stated_mpd_auc"]) == ("0.900000", "")
    assert "stated_psnr" not in table[1], "not all runs of the row state it"
    assert (table[1]["cameras"], table[0]["cameras"]) == ("train", "")
    text = (board / "TABLE.md").read_text()
    assert "2048 Gaussians xyz+geo, fps, and 64 images of 240 objects, 20 epochs" in text
    assert "64 images of meshes, probe" in text
    assert "frozen features of an encoder" in text
    check(board, board.parent / "README.md")


def test_a_board_without_encoders_says_nothing_of_them(board, put):
    put(make_result())
    rows(board)
    assert "Learned before" not in (board / "TABLE.md").read_text()
    assert "ver draws" not in (board / "TABLE.md").read_text()
    assert "frozen features" not in (board / "TABLE.md").read_text()


def test_other_draws_of_the_points_stand_beside_the_accuracy(board, put):
    stated = {"sampling_draws": 5, "accuracy_over_draws": 0.877, "accuracy_over_draws_std": 0.0123}
    put(dataclasses.replace(make_result("net", wrong=5), stated=stated))
    put(make_result("older"))
    rows(board)
    header, _, *lines = (line for line in (board / "TABLE.md").read_text().splitlines() if line.startswith("|"))
    column = [cell.strip() for cell in header.split("|")].index("Over draws")
    assert [line.split("|")[column].strip() for line in lines] == ["87.7 ± 1.2 (5)", "\N{EN DASH}"]
    assert "its predictions are of the first draw" in (board / "TABLE.md").read_text()


def test_encoders_of_different_length_do_not_share_a_row(put):
    put(probed())
    with pytest.raises(CheckError, match=r"incoming\.json: pretext\.epochs is 5, other seeds .* have 20"):
        put(probed(1, epochs=5))


def test_what_is_stated_is_carried_along_unchecked(board, put):
    entry = put(probed(stated={"knn_accuracy": 0.1}))
    rows(board)
    edit_json(entry, lambda record: record["metrics"].update(accuracy=0.91))
    with pytest.raises(CheckError, match=r"metrics\.accuracy is 0\.91"):
        check(board, board.parent / "README.md")
    edit_json(entry, lambda record: record["metrics"].update(accuracy=0.9))
    check(board, board.parent / "README.md")
    edit_json(entry, lambda record: record["stated"].update(knn_accuracy=float("inf")))
    with pytest.raises(CheckError, match=r"stated\.knn_accuracy is inf \(must be finite\)"):
        check(board, board.parent / "README.md")
