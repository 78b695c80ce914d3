"""Predictions of models trained elsewhere: what was not said is unknown, and what is wrong is told at once."""

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsbench.board import check, publish
from gsbench.board.outside import Claim, results_of
from gsbench.board.predictions import MAX_BYTES, Faults, read_predictions
from gsbench.board.receipts import receipt_text
from gsbench.board.submission import enter, make_candidate
from gsbench.core.parsing import InputError
from gsbench.core.results import load_result
from tests.board.results import CLASSES, LABELS, TRUTH, edit_json, files, make_result, rows

CLAIM = Claim("their-net", "points")
Table = list[list[object]]


def table(seed: int = 0, margin: float = 2.0) -> Table:
    """A header and a row an object."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(LABELS), len(CLASSES)))
    logits[np.arange(len(LABELS)), TRUTH.indices()] += margin
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return [["object_id", *CLASSES], *([i, *row] for i, row in zip(LABELS, shares.tolist(), strict=True))]


def write(path: Path, lines: Table) -> Path:
    header, body = lines[0], lines[1:]
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)
    elif path.suffix == ".json":
        path.write_text(json.dumps({row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in body}))
    else:
        pq.write_table(pa.table({name: [row[i] for row in body] for i, name in enumerate(header)}), path)
    return path


def candidates(folder: Path, claim: Claim = CLAIM, seeds: tuple[int, ...] | None = None, margin: float = 2.0):
    paths = [write(folder / f"p{seed}.csv", table(seed, margin)) for seed in seeds or (0,)]
    results = results_of(paths, seeds, claim, TRUTH)
    return [make_candidate(str(path), result, TRUTH) for path, result in zip(paths, results, strict=True)]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".json"])
def test_the_same_predictions_whatever_the_format(tmp_path, ending):
    found = read_predictions(write(tmp_path / f"p{ending}", table()), TRUTH)
    expected = np.array([row[1:] for row in table()[1:]])
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-9)


def test_order_of_rows_and_columns_does_not_matter(tmp_path):
    lines = [[row[3], row[0], row[1], row[2]] for row in table()]
    other = [lines[0], *reversed(lines[1:])]
    ours = read_predictions(write(tmp_path / "a.csv", table()), TRUTH)
    assert (ours == read_predictions(write(tmp_path / "b.csv", other), TRUTH)).all()


def test_json_takes_lists_in_the_order_of_the_classes(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({row[0]: row[1:] for row in table()[1:]}))
    assert (read_predictions(path, TRUTH) == read_predictions(write(tmp_path / "a.csv", table()), TRUTH)).all()


def test_half_precision_is_scaled_to_sum_to_one(tmp_path):
    lines = [table()[0], *([row[0], *map(float, np.float16(row[1:]))] for row in table()[1:])]
    assert abs(read_predictions(write(tmp_path / "a.csv", lines), TRUTH).sum(1) - 1).max() < 1e-9


def test_what_was_not_said_is_unknown(tmp_path, board):
    receipt = enter(candidates(tmp_path), board)
    result = load_result(receipt.entries[0][0])
    record = json.loads(receipt.entries[0][0].read_text())
    assert receipt.written
    assert {record["task"][key] for key in ("protocol", "features", "sampling")} == {"unknown"}
    assert {record["model"][key] for key in ("recipe_sha256", "pretrained")} == {"unknown"}
    assert {record["run"][key] for key in ("device", "selection", "precision")} == {"unknown"}
    assert (result.task.regime, result.run.seed, result.run.epochs, result.model.num_params) == (None,) * 4
    publish(board, board.parent / "README.md")
    check(board, board.parent / "README.md")
    assert "their-net` (trained elsewhere)" in (board / "TABLE.md").read_text()
    assert rows(board)[0]["trained"] == "trained elsewhere"


def test_what_was_said_stands_and_the_seeds_are_one_row(tmp_path, board):
    claim = dataclasses.replace(
        CLAIM,
        modality="gaussians",
        protocol="supervised",
        regime=50,
        draw=1,
        features="xyz",
        sampling="fps",
        num_points=1024,
        pretrained="ImageNet",
        paper="https://example.org/paper",
    )
    receipt = enter(candidates(tmp_path, claim, (4, 5)), board)
    assert [path.name for path, _ in receipt.entries] == ["their-net-s4.json", "their-net-s5.json"]
    (row,) = rows(board)
    assert (row["regime"], row["n"], row["pretrained"]) == ("50", "2", "ImageNet")
    assert "[paper](https://example.org/paper)" in (board / "TABLE.md").read_text()


def test_dry_run_shows_the_row_and_writes_nothing(tmp_path, board, put):
    claim = dataclasses.replace(
        CLAIM, modality="gaussians", protocol="supervised", regime=100, features="xyz", sampling="fps", num_points=1024
    )
    put(make_result())
    before = files(board)
    receipt = enter(candidates(tmp_path, claim), board, dry_run=True)
    text = receipt_text(receipt, dry_run=True)
    assert files(board) == before
    assert not receipt.written
    assert "2 rows" in text
    assert "their-net" in text
    assert "Nothing was written." in text


def test_an_outside_model_cannot_join_the_row_of_a_recipe(tmp_path, board, put):
    claim = Claim(
        "net",
        "gaussians",
        protocol="supervised",
        regime=100,
        features="xyz",
        sampling="fps",
        num_points=1024,
    )
    put(make_result())
    with pytest.raises(InputError, match="recipe_sha256 is 'unknown'"):
        enter(candidates(tmp_path, claim, (7,)), board)


@pytest.mark.parametrize(
    ("table_name", "key", "value"),
    [
        ("model", "recipe_sha256", "ab" * 32),
        ("model", "code_sha256", "ab" * 32),
        ("run", "commit", "ab" * 20),
        (None, "reported", {"dataset": "x", "modality": "points", "accuracy": 1.0, "source": "https://x.org"}),
        (None, "stated", {"knn_accuracy": 0.9}),
        (None, "schema_version", 2),
        ("outside", "sha256", "x"),
        ("outside", "kind", "rerun"),
        ("outside", "paper", "javascript:alert(1)"),
        (None, "outside", None),
        (None, "provenance", "rerun"),
    ],
)
def test_an_entry_cannot_claim_what_was_not_checked(tmp_path, board, table_name, key, value):
    path = enter(candidates(tmp_path), board).entries[0][0]
    edit_json(path, lambda record: (record if table_name is None else record[table_name]).update({key: value}))
    with pytest.raises(InputError, match=f"{key}|is unknown"):
        check(board, board.parent / "README.md")


def test_equal_predictions_under_another_name_or_seed_are_held(tmp_path, board):
    enter(candidates(tmp_path), board)
    before = files(board)
    for claim, seeds in ((dataclasses.replace(CLAIM, name="copy"), None), (CLAIM, (0,))):
        receipt = enter(candidates(tmp_path, claim, seeds), board)
        assert "equal predictions" in receipt.findings[0]
        assert not receipt.written
    assert files(board) == before
    assert enter(candidates(tmp_path, CLAIM, (0,)), board, reviewed=True).written


@pytest.mark.parametrize("power", [0.3, 0.8, 3.0])
def test_twins_are_found_at_another_temperature(tmp_path, board, power):
    enter(candidates(tmp_path), board)
    lines = table()
    warmed = []
    for row in lines[1:]:
        shares = np.array(row[1:], float) ** power
        warmed.append([row[0], *(shares / shares.sum()).tolist()])
    path = write(tmp_path / "warm.csv", [lines[0], *warmed])
    (result,) = results_of([path], None, dataclasses.replace(CLAIM, name="warm"), TRUTH)
    (finding,) = enter([make_candidate("warm", result, TRUTH)], board).findings
    assert "nearly the same predictions" in finding


def test_the_guesses_of_another_as_certainties_are_found(tmp_path, board):
    enter(candidates(tmp_path), board)
    guesses = [[row[0], *(float(x == max(row[1:])) for x in row[1:])] for row in table()[1:]]
    path = write(tmp_path / "hard.csv", [table()[0], *guesses])
    (result,) = results_of([path], None, dataclasses.replace(CLAIM, name="hard"), TRUTH)
    assert "the same guess" in enter([make_candidate("hard", result, TRUTH)], board).findings[0]


def test_twins_within_one_submission_are_found(tmp_path, board):
    paths = [write(tmp_path / f"{seed}.csv", table()) for seed in (0, 1)]
    results = results_of(paths, (0, 1), CLAIM, TRUTH)
    receipt = enter([make_candidate(str(seed), result, TRUTH) for seed, result in enumerate(results)], board)
    assert len(receipt.findings) == 1


def test_models_of_other_seeds_are_no_twins(tmp_path, board):
    assert enter(candidates(tmp_path, CLAIM, (0, 1, 2)), board).findings == []


def test_predictions_that_may_be_the_labels_are_held(tmp_path, board, put):
    put(make_result(wrong=20))
    receipt = enter(candidates(tmp_path, margin=40.0), board)
    assert "these may be the labels" in receipt.findings[0]
    assert not receipt.written


def test_a_good_model_beside_good_ones_is_not_held(tmp_path, board, put):
    put(make_result(wrong=1))
    assert enter(candidates(tmp_path, margin=40.0), board).findings == []


FIRST, SECOND = list(LABELS)[:2]


def cell(row: int, column: int, value: object) -> Callable[[Table], None]:
    def change(lines: Table) -> None:
        lines[row][column] = value

    return change


def whole_row(row: int, values: list[object]) -> Callable[[Table], None]:
    def change(lines: Table) -> None:
        lines[row][1:] = values

    return change


HOSTILE: dict[str, tuple[Callable[[Table], object], str]] = {
    "nan": (cell(1, 1, "nan"), "not finite"),
    "NaN of one row": (whole_row(1, ["NaN", "NaN", "NaN"]), "not finite"),
    "inf": (cell(1, 1, "inf"), "not finite"),
    "minus inf": (cell(1, 1, "-inf"), "not finite"),
    "1e400": (cell(1, 1, "1e400"), "not finite"),
    "negative": (whole_row(1, [1.5, -0.5, 0]), "negative"),
    "slightly negative": (whole_row(1, [1.001, -0.001, 0]), "negative"),
    "logits": (whole_row(1, [5.0, 2.0, 1.0]), "above 1"),
    "percent": (whole_row(1, [50, 30, 20]), "above 1"),
    "sum too small": (whole_row(1, [0.5, 0.2, 0.2]), "sum to 1"),
    "sum too large": (whole_row(1, [0.5, 0.5, 0.2]), "sum to 1"),
    "all zero": (whole_row(1, [0, 0, 0]), "sum to 1"),
    "text": (cell(1, 1, "chair"), "no number"),
    "empty cell": (cell(1, 1, ""), "no number"),
    "blank": (cell(1, 1, " "), "no number"),
    "underscore": (cell(1, 1, "0_1"), "no number"),
    "formula": (cell(1, 1, "=1+1"), "no number"),
    "complex": (cell(1, 1, "1j"), "no number"),
    "hexadecimal": (cell(1, 1, "0x1"), "no number"),
    "comma for a point": (cell(1, 1, "0,5"), "no number"),
    "none": (cell(1, 1, "None"), "no number"),
    "duplicate object": (lambda lines: lines.append(list(lines[1])), "more than once"),
    "duplicate in place of another": (cell(2, 0, FIRST), "more than once"),
    "missing object": (lambda lines: lines.pop(), "missing"),
    "one object alone": (lambda lines: lines.__delitem__(slice(2, None)), "missing"),
    "no object": (lambda lines: lines.__delitem__(slice(1, None)), "missing"),
    "unknown object": (cell(1, 0, "nothing_0001"), "no test object"),
    "training object beside": (lambda lines: lines.append(["chair_9999", 1, 0, 0]), "no test object"),
    "another case": (cell(1, 0, FIRST.upper()), "no test object"),
    "blank after the id": (cell(1, 0, f"{FIRST} "), "no test object"),
    "empty id": (cell(1, 0, ""), "no test object"),
    "path as an id": (cell(1, 0, "../../etc/passwd"), "no test object"),
    "HTML as an id": (cell(1, 0, "<script>alert(1)</script>"), "no test object"),
    "long id": (cell(1, 0, "x" * 100_000), "no test object"),
    "control characters": (cell(1, 0, "a\x1b[2J"), "no test object"),
    "right to left": (cell(1, 0, "\u202egnp"), "no test object"),
    "NUL": (cell(1, 0, "a\0b"), "no test object|not CSV"),
    "missing class": (lambda lines: [line.pop() for line in lines], "no probabilities of the class"),
    "unknown class": (lambda lines: [line.append(0) for line in lines], "is no class"),
    "another class": (cell(0, 1, "table"), "is no class"),
    "class of another case": (cell(0, 1, "Bathtub"), "is no class"),
    "class twice": (cell(0, 2, CLASSES[0]), "stands twice"),
    "classes as numbers": (lambda lines: lines[0].__setitem__(slice(1, None), [0, 1, 2]), "is no class"),
    "HTML as a class": (cell(0, 1, "<img src=x onerror=alert(1)>"), "is no class"),
    "no column of ids": (cell(0, 0, "id"), "0 columns are named object_id"),
    "two columns of ids": (cell(0, 1, "object_id"), "2 columns are named object_id"),
    "no header": (lambda lines: lines.pop(0), "0 columns are named object_id"),
    "short row": (lambda lines: lines[1].pop(), "other than 4 values"),
    "long row": (lambda lines: lines[1].append(0), "other than 4 values"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_tables_are_refused_with_the_reason(tmp_path, case):
    change, reason = HOSTILE[case]
    lines = table()
    change(lines)
    with pytest.raises(InputError, match=reason) as told:
        read_predictions(write(tmp_path / "p.csv", lines), TRUTH)
    assert len(str(told.value)) < 2000
    assert str(told.value).isprintable()


FILES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("p.csv", b"", "is empty"),
    "not UTF-8": ("p.csv", b"object_id,bathtub\n\xff\xfe,1\n", "no UTF-8"),
    "UTF-16": ("p.csv", "object_id,bathtub\n".encode("utf-16"), "no UTF-8"),
    "open quote": ("p.csv", b'object_id,bathtub\n"a,1\n', "not CSV|have other"),
    "huge": ("p.csv", b"x" * (MAX_BYTES + 1), "bytes"),
    "huge JSON": ("p.json", b" " * (MAX_BYTES + 1), "bytes"),
    "no JSON": ("p.json", b"{", "not JSON"),
    "JSON list": ("p.json", b"[1]", "must map"),
    "JSON nested": ("p.json", b"[" * 10_000, "JSON|deep"),
    "JSON key twice": ("p.json", b'{"a": [1,0,0], "a": [1,0,0]}', "twice"),
    "JSON NaN": ("p.json", b'{"a": [NaN,0,0]}', "not finite"),
    "JSON true": ("p.json", b'{"a": [true,0,0]}', "no number"),
    "JSON null": ("p.json", b'{"a": [null,0,1]}', "no number"),
    "JSON short list": ("p.json", b'{"a": [1]}', "must be a list of 3"),
    "JSON mixed": ("p.json", b'{"a": [1,0,0], "b": {"bed": 1}}', "must all be the same"),
    "JSON surrogate": ("p.json", b'{"\\ud800": [1,0,0]}', "no text"),
    "no Parquet": ("p.parquet", b"PAR1 nothing PAR1", "not Parquet"),
    "CSV as Parquet": ("p.parquet", b"object_id,bathtub\n", "not Parquet"),
    "pickle": ("p.pkl", b"\x80\x04.", "ending"),
    "no ending": ("p", b"object_id\n", "ending"),
    "archive": ("p.csv.gz", b"\x1f\x8b", "ending"),
}


@pytest.mark.parametrize("case", FILES)
def test_hostile_files_are_refused_with_the_reason(tmp_path, case):
    name, data, reason = FILES[case]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=reason):
        read_predictions(path, TRUTH)


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo"])
def test_what_is_no_file_is_refused(tmp_path, kind):
    import os

    path = tmp_path / "p.csv"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(InputError, match=str(path)):
        read_predictions(path, TRUTH)


def test_a_parquet_file_that_unpacks_to_much_is_refused(tmp_path):
    path = tmp_path / "p.parquet"
    zeros = np.zeros(20_000_000)
    pq.write_table(pa.table(dict.fromkeys(("object_id", *CLASSES), zeros)), path, compression="zstd")
    assert path.stat().st_size < MAX_BYTES
    with pytest.raises(InputError, match="allowed: 32,000,000 bytes"):
        read_predictions(path, TRUTH)


def test_parquet_ids_that_are_no_text_are_refused(tmp_path):
    lines = table()
    for number, line in enumerate(lines[1:]):
        line[0] = number
    with pytest.raises(Faults, match="no text as object_id"):
        read_predictions(write(tmp_path / "p.parquet", lines), TRUTH)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "<b>x</b>"}, "name is"),
        ({"name": "../../x"}, "name is"),
        ({"name": "x" * 200}, "name is"),
        ({"name": ""}, "name is"),
        ({"title": "a\nb"}, "title is"),
        ({"paper": "javascript:alert(1)"}, "paper is"),
        ({"code": 'https://x.org/"><script>'}, "code is"),
        ({"modality": "meshes"}, "modality is"),
        ({"protocol": "magic"}, "protocol is"),
        ({"regime": 30, "draw": 0}, "regime is 30"),
        ({"regime": 50}, "draw is missing"),
        ({"draw": 1}, "draw is 1"),
        ({"num_views": 3}, "num_views is 3"),
        ({"features": "xyz+geo"}, "features is"),
    ],
)
def test_hostile_claims_are_refused(tmp_path, change, reason):
    with pytest.raises(InputError, match=reason):
        candidates(tmp_path, dataclasses.replace(CLAIM, **change))


def test_all_faults_are_told_at_once(tmp_path):
    lines = table()
    lines[1][1:] = ["nan", 0, 0]
    lines[2][1:] = [-1, 1, 1]
    lines[3][1:] = [0.1, 0.1, 0.1]
    lines[4][1] = "x"
    lines[5][0] = "nothing"
    lines.append(list(lines[6]))
    with pytest.raises(Faults) as told:
        read_predictions(write(tmp_path / "p.csv", lines), TRUTH)
    assert len(told.value.faults) == 7


def test_the_faults_of_all_files_are_told_at_once(tmp_path):
    paths = [write(tmp_path / f"{seed}.csv", table()[:-1]) for seed in (0, 1)]
    with pytest.raises(Faults) as told:
        results_of(paths, (0, 1), CLAIM, TRUTH)
    assert [str(path) in fault for path, fault in zip(paths, told.value.faults, strict=True)] == [True, True]


@pytest.mark.parametrize("seeds", [None, (0,), (0, 0), (0, 1, 2)])
def test_several_files_are_several_seeds(tmp_path, seeds):
    paths = [write(tmp_path / f"{seed}.csv", table(seed)) for seed in (0, 1)]
    with pytest.raises(InputError, match="seed is"):
        results_of(paths, seeds, CLAIM, TRUTH)
