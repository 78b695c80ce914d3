"""The board: what may enter it, what its tables say, and that a change of any file is found."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest

from gsbench.leaderboard import CheckError, Truth, check, load_truth, publish, submit, truth_path
from gsbench.metrics import classification_metrics, mcnemar
from gsbench.recipe import Reported
from gsbench.results import ModelInfo, Pretext, Result, RunInfo, load_result, save_result
from gsbench.tasks import Task

CLASSES = ("bathtub", "bed", "chair")
OBJECTS = 60
LABELS = {f"{CLASSES[i % 3]}_{i:04d}": CLASSES[i % 3] for i in range(OBJECTS)}
FINGERPRINT = "ab" * 32
TRUTH = Truth("mini", "1.0", FINGERPRINT, "test", "Procedural shapes.", CLASSES, LABELS)
README = "# Project\n\n<!-- leaderboard:start -->\n<!-- leaderboard:end -->\n\nBelow.\n"
TASK = Task("mini", "1.0", FINGERPRINT, "test", "gaussians", "supervised", 100, 0, "xyz", "fps", 1024, None, None)


def make_result(
    name: str = "net", seed: int = 0, wrong: int = 6, task: Task = TASK, reported: Reported | None = None
) -> Result:
    """A result that gets the first `wrong` objects, from the object number `seed` on, wrong."""
    labels = np.array([CLASSES.index(label) for label in LABELS.values()])
    missed = (np.arange(OBJECTS) - seed) % OBJECTS < wrong
    probabilities = np.full((OBJECTS, 3), 0.2)
    probabilities[np.arange(OBJECTS), np.where(missed, (labels + 1) % 3, labels)] = 0.6
    return Result(
        schema_version=1,
        task=task,
        model=ModelInfo(name, name.title(), "cd" * 32, 1000),
        run=RunInfo(seed, "cpu", "last", 10, 240, 1.0, 1.0, 100.0, "fp32", {}, None, None),
        metrics=classification_metrics(probabilities, labels),
        reported=reported,
        predictions=dict(zip(LABELS, probabilities.tolist(), strict=True)),
    )


@pytest.fixture
def board(tmp_path):
    (tmp_path / "README.md").write_text(README)
    return tmp_path / "leaderboard"


@pytest.fixture
def put(board, tmp_path):
    """Submits a result to the board, for its entry's path."""

    def submit_result(result: Result):
        path = tmp_path / "incoming.json"
        save_result(result, path)
        return submit(path, board, dataclasses.replace(TRUTH, dataset=result.task.dataset))

    return submit_result


def rows(board) -> list[dict[str, str]]:
    publish(board, board.parent / "README.md")
    return list(csv.DictReader(io.StringIO((board / "table.csv").read_text())))


def files(board) -> dict[str, bytes]:
    return {str(path.relative_to(board)): path.read_bytes() for path in board.rglob("*.*") if path.is_file()}


def test_an_entry_and_its_truth_stand_where_they_belong(board, put):
    result = make_result("net:quick", seed=3)
    entry = put(result)
    assert entry == board / "entries" / TASK.slug() / "net-quick-s3.json"
    assert load_result(entry) == result
    assert load_truth(truth_path(board, TASK)) == TRUTH
    assert sorted(files(board)) == sorted([f"datasets/mini@{FINGERPRINT[:8]}.json", str(entry.relative_to(board))])


def test_submitting_again_changes_nothing_and_another_result_is_refused(board, put):
    put(make_result())
    before = files(board)
    put(make_result())
    assert files(board) == before
    with pytest.raises(CheckError, match=r"net-s0\.json: another entry"):
        put(make_result(wrong=5))
    assert files(board) == before


def edited_metric(result: Result) -> Result:
    return dataclasses.replace(result, metrics=result.metrics | {"accuracy": 0.9 + 1e-8})


def drop_object(result: Result) -> Result:
    return dataclasses.replace(result, predictions={k: v for k, v in result.predictions.items() if k != "bed_0001"})


def rename_object(result: Result) -> Result:
    renamed = {k.replace("bed_0001", "bed_9999"): v for k, v in result.predictions.items()}
    return dataclasses.replace(result, predictions=renamed)


def flip_prediction(result: Result) -> Result:
    return dataclasses.replace(result, predictions=result.predictions | {"chair_0059": [0.6, 0.2, 0.2]})


def narrow(result: Result) -> Result:
    return dataclasses.replace(result, predictions={k: [0.5, 0.5] for k in result.predictions})


def other_task(**change):
    return lambda result: dataclasses.replace(result, task=dataclasses.replace(result.task, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edited_metric, r"metrics\.accuracy is 0\.90000001, its predictions give 0\.9$"),
        (lambda r: dataclasses.replace(r, metrics={"accuracy": 0.9}), r"class_accuracy is missing, its .* give 0\.9$"),
        (lambda r: dataclasses.replace(r, metrics=r.metrics | {"map": 1.0}), "metrics.map is 1, its .* give missing"),
        (flip_prediction, r"metrics\.accuracy is 0\.9, its predictions give 0\.8833333333"),
        (drop_object, r"missing objects: bed_0001 \(must hold the 60 test objects\)"),
        (rename_object, "missing objects: bed_0001; unknown objects: bed_9999"),
        (narrow, "2 probabilities an object, the data 3"),
        (other_task(fingerprint="ef" * 32), f"task.fingerprint is '{'ef' * 32}', the data's is '{FINGERPRINT}'"),
        (other_task(split="train"), r"task\.split is 'train', the data's is 'test'"),
    ],
)
def test_what_does_not_hold_is_refused_and_nothing_is_written(board, put, change, message):
    with pytest.raises(CheckError, match=message) as caught:
        put(change(make_result()))
    assert "incoming.json: " in str(caught.value)
    assert files(board) == {}


@pytest.mark.parametrize("name", ["../../net", "net\n", ".net", ""])
def test_names_cannot_lead_out_of_the_board(board, put, name):
    with pytest.raises(ValueError, match=r"(dataset|model\.name|task)"):
        put(make_result(task=dataclasses.replace(TASK, dataset=name)))
    assert files(board) == {}


def test_seeds_of_different_recipes_do_not_share_a_row(put):
    put(make_result(seed=0))
    other = make_result(seed=1)
    with pytest.raises(CheckError, match=r"incoming\.json: model\.recipe_sha256 is '0000', other seeds .* have 'cdcd"):
        put(dataclasses.replace(other, model=dataclasses.replace(other.model, recipe_sha256="0000")))
    with pytest.raises(CheckError, match=r"incoming\.json: run\.epochs is 99, other seeds .* have 10"):
        put(dataclasses.replace(other, run=dataclasses.replace(other.run, epochs=99)))


def test_a_row_is_the_mean_and_spread_over_seeds(board, put):
    for seed, wrong in enumerate((6, 9, 3)):
        put(make_result(seed=seed, wrong=wrong))
    (row,) = rows(board)
    assert row["n"] == "3"
    assert float(row["accuracy_mean"]) == pytest.approx(0.9)
    assert float(row["accuracy_std"]) == pytest.approx(0.05)
    assert 0.8 < float(row["interval_low"]) < 0.9 < float(row["interval_high"]) < 1
    assert row["standing"] == "alone"
    assert "90.0 ± 5.0" in (board / "TABLE.md").read_text()


def test_one_seed_has_no_spread(board, put):
    put(make_result())
    (row,) = rows(board)
    assert row["accuracy_std"] == ""
    assert "| 90.0 ± \N{EN DASH} " in (board / "TABLE.md").read_text()


def test_draws_of_a_regime_are_one_row(board, put):
    for draw in range(3):
        for seed in range(2):
            put(make_result(seed=seed, wrong=6 + draw, task=dataclasses.replace(TASK, regime=10, draw=draw)))
    (row,) = rows(board)
    assert (row["draws"], row["n"], row["regime"]) == ("3", "6", "10")
    assert float(row["accuracy_mean"]) == pytest.approx(1 - 7 / 60)
    assert "10 %, 3 draws" in (board / "TABLE.md").read_text()


def test_tied_and_behind_are_what_the_paired_test_says(board, put):
    for name, wrong in (("best", 2), ("close", 5), ("far", 30)):
        put(make_result(name, wrong=wrong))
    put(make_result("elsewhere", wrong=40, task=dataclasses.replace(TASK, num_points=512)))
    table = {row["model"]: row for row in rows(board)}
    assert [table[name]["standing"] for name in ("best", "close", "far", "elsewhere")] == [
        "best", "tied", "behind", "alone",
    ]  # fmt: skip
    assert [float(table[name]["objects_behind_best"]) for name in ("best", "close", "far")] == [0, 3, 28]
    right = np.arange(OBJECTS)
    assert float(table["close"]["p_value_to_best"]) == pytest.approx(mcnemar(right >= 2, right >= 5), abs=1e-6)
    text = (board / "TABLE.md").read_text()
    assert "| best " in text
    assert "| tied, 3.0 objects behind " in text


PRETEXT = Pretext("xyz", "fps", 2048, 64, 240, 20, 3600.0, "bf16", {"mpd_auc": 0.9})
PROBE = dataclasses.replace(
    TASK, modality="images", protocol="probe", features=None, sampling=None, num_points=None, num_views=64,
    views_from="meshes",
)  # fmt: skip


def probed(seed: int = 0, wrong: int = 6, stated: dict[str, float] | None = None, **changes) -> Result:
    """Images by a probe of an encoder that learnt from something."""
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
    assert "Learnt before" not in (board / "TABLE.md").read_text()
    assert "raws" not in (board / "TABLE.md").read_text()
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


def test_a_model_and_its_variant_are_no_siblings(board, put):
    put(make_result("net:short"))
    other = make_result("net")
    put(dataclasses.replace(other, model=dataclasses.replace(other.model, recipe_sha256="ef" * 32)))
    assert [row["model"] for row in rows(board)] == ["net", "net:short"]


def test_each_data_set_has_a_heading_of_its_own(board, put):
    put(make_result(reported=Reported("ModelNet10", "points", 0.95, "https://example.org/paper")))
    put(make_result(wrong=12, task=dataclasses.replace(TASK, dataset="modelnet10-gs")))
    rows(board)
    before, after = (board / "TABLE.md").read_text().split("### modelnet10-gs")
    assert before.index("### mini") < before.index("90.0 ±")
    assert "80.0 ±" in after
    assert "90.0 ±" not in after
    assert "95.0 on ModelNet10 ([source](https://example.org/paper))" in before
    assert before.count("60 test objects, fingerprint `abababab`") == 1


def test_objects_may_stand_in_any_order_in_an_entry(put, board):
    result = make_result()
    shuffled = dataclasses.replace(result, predictions=dict(reversed(result.predictions.items())))
    entry = put(result)
    edit_json(entry, lambda record: record.update(predictions=shuffled.predictions))
    (row,) = rows(board)
    assert float(row["accuracy_mean"]) == pytest.approx(0.9)


def test_titles_cannot_break_the_table(board, put):
    result = make_result()
    put(dataclasses.replace(result, model=dataclasses.replace(result.model, title="a|b\nc")))
    rows(board)
    line = next(line for line in (board / "TABLE.md").read_text().splitlines() if "a\\|b c" in line)
    assert line.replace("\\|", "").count("|") == 12


def test_publishing_touches_only_the_block_of_the_readme(board, put):
    put(make_result())
    readme = board.parent / "README.md"
    assert publish(board, readme) == [board / "TABLE.md", board / "table.csv", readme]
    assert publish(board, readme) == []
    text = readme.read_text()
    assert text.startswith("# Project\n\n<!-- leaderboard:start -->\n\n### mini\n")
    assert text.endswith("\n<!-- leaderboard:end -->\n\nBelow.\n")


def test_an_empty_board_can_be_published_and_checked(board):
    board.mkdir()
    publish(board, board.parent / "README.md")
    check(board, board.parent / "README.md")
    assert "No entries yet." in (board / "TABLE.md").read_text()


def test_a_board_that_is_not_there(board):
    with pytest.raises(ValueError, match="leaderboard: no such folder"):
        publish(board, board.parent / "README.md")


@pytest.mark.parametrize("text", ["no markers", "<!-- leaderboard:end --> <!-- leaderboard:start -->"])
def test_a_readme_without_its_markers(board, put, text):
    put(make_result())
    (board.parent / "README.md").write_text(text)
    with pytest.raises(ValueError, match=r"README\.md: the block for the table is missing"):
        publish(board, board.parent / "README.md")


@pytest.fixture
def published(board, put):
    for seed in range(2):
        put(make_result(seed=seed))
    publish(board, board.parent / "README.md")
    check(board, board.parent / "README.md")
    return board


def edit_json(path, change) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["metrics"].update(accuracy=0.95), r"net-s1\.json: metrics\.accuracy is 0\.95, .* give 0\.9$"),
        (lambda r: r["predictions"].pop("bed_0001"), r"net-s1\.json: predictions: missing objects: bed_0001"),
        (lambda r: r["predictions"].update(bed_0001=[float("nan")] * 3), r"net-s1\.json: predictions\.bed_0001 is"),
        (lambda r: r["predictions"].update(bed_0001=[0.1, 0.2, 0.3]), "sums to 0.6"),
        (lambda r: r["run"].update(seed=7), r"net-s1\.json: stands in the wrong place .*net-s7\.json"),
        (lambda r: r["task"].update(num_points=7), "stands in the wrong place .*-n7-"),
        (lambda r: r["task"].update(fingerprint="ab" * 4 + "cd" * 28), r"task\.fingerprint is 'abababab(cd)+'"),
        (lambda r: r["model"].update(recipe_sha256="00"), r"recipe_sha256 is '00', other seeds of .* have 'cdcd"),
        (lambda r: r["model"].update(title="Other"), "TABLE|table|README"),
        (lambda r: r.pop("run"), "key 'run' is missing"),
    ],
)
def test_check_finds_a_changed_entry(published, change, message):
    edit_json(published / "entries" / TASK.slug() / "net-s1.json", change)
    if message.startswith("TABLE"):
        edit_json(published / "entries" / TASK.slug() / "net-s0.json", change)
    with pytest.raises(CheckError, match=message) as caught:
        check(published, published.parent / "README.md")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["leaderboard/TABLE.md", "leaderboard/table.csv", "README.md"])
def test_check_finds_a_changed_table(published, name):
    path = published.parent / name
    path.write_text(path.read_text().replace("Net", "Not"))
    with pytest.raises(CheckError, match=rf"{name}: line \d+ is '.*Not.*', the entries give '.*Net.*'"):
        check(published, published.parent / "README.md")


def test_check_finds_a_line_that_is_missing(published):
    path = published / "table.csv"
    path.write_text(path.read_text().rstrip("\n"))
    with pytest.raises(CheckError, match=r"table\.csv: line 3 is nothing, the entries give ''"):
        check(published, published.parent / "README.md")


@pytest.mark.parametrize("name", ["TABLE.md", "table.csv"])
def test_check_finds_a_table_that_is_missing(published, name):
    (published / name).unlink()
    with pytest.raises(CheckError, match=f"{name}: is missing"):
        check(published, published.parent / "README.md")


def test_check_finds_a_changed_label(published):
    path = truth_path(published, TASK)
    edit_json(path, lambda truth: truth["labels"].update(bed_0001="chair"))
    with pytest.raises(CheckError, match=r"metrics\.accuracy"):
        check(published, published.parent / "README.md")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["labels"].update(bed_0001="boat"), r"labels\.bed_0001 is 'boat' \(allowed: bathtub, bed, chair\)"),
        (lambda t: t.update(labels={}), "labels is empty"),
        (lambda t: t.pop("classes"), "key 'classes' is missing"),
        (
            lambda t: t.update(leaked={"name": []}),
            r"leaked: 'name' is not allowed \(must be files \| surfaces \| near\)",
        ),
        (lambda t: t.update(leaked={"near": ["bed_9999"]}), "leaked.near names bed_9999"),
        (lambda t: t.update(leaked={"near": list(LABELS)}), "leaked.near names every object"),
    ],
)
def test_a_truth_file_that_is_none(published, change, message):
    edit_json(truth_path(published, TASK), change)
    with pytest.raises(ValueError, match=message):
        load_truth(truth_path(published, TASK))


def test_check_finds_an_entry_without_its_truth(published):
    truth_path(published, TASK).unlink()
    with pytest.raises(CheckError, match=r"datasets/mini@abababab\.json: cannot be read"):
        check(published, published.parent / "README.md")


def test_check_writes_nothing(published):
    before = files(published)
    (published / "TABLE.md").write_text("stale")
    with pytest.raises(CheckError):
        check(published, published.parent / "README.md")
    assert files(published) == before | {"TABLE.md": b"stale"}
