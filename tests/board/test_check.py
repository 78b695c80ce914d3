"""A change of any file of the board is found."""

import os

import pytest

from gsbench.board import CheckError, check, load_truth, publish, truth_path, unfinished_files
from gsbench.core.files import TEMPORARY_PREFIX
from gsbench.core.parsing import InputError
from tests.board.results import LABELS, TASK, edit_json, files, make_result


@pytest.fixture
def published(board, put):
    for seed in range(2):
        put(make_result(seed=seed))
    publish(board, board.parent / "README.md")
    check(board, board.parent / "README.md")
    return board


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
        (lambda r: r["model"].update(recipe_sha256="ef" * 32), r"recipe_sha256 is 'efef.*, other seeds .* have 'cdcd"),
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: f"{text}  ", r"line 5 has 2 spaces at its end, the entries give no blank at its end"),
        (lambda text: f"{text}\r", r"line 5 has 1 carriage return at its end, the entries give no blank at its end"),
        (lambda text: text.replace("ral ", "ral  "), r"line 5 has 2 spaces before 'shapes.*, .* 1 space before"),
        (
            lambda text: text.replace("ral ", "ral \t"),
            r"line 5 has 1 space and 1 tab before 'shapes.*, .* 1 space before",
        ),
        (lambda text: text.replace("ral ", "ra l"), r"line 5 is 'Procedura lshapes.*', .* 'Procedural shapes"),
    ],
    ids=["two at the end", "carriage return", "two", "tab", "elsewhere"],
)
def test_check_tells_blanks_apart(published, change, message):
    """Printed as they are, or folded by whoever prints them, such lines look the same."""
    path = published / "TABLE.md"
    lines = path.read_text().split("\n")
    path.write_text("\n".join([*lines[:4], change(lines[4]), *lines[5:]]), newline="")
    with pytest.raises(CheckError, match=rf"TABLE\.md: {message}"):
        check(published, published.parent / "README.md")


def test_check_names_the_line(published):
    entries = published / "entries" / TASK.slug()
    for name in ("net-s0.json", "net-s1.json"):
        edit_json(entries / name, lambda record: record["model"].update(title="Net of a longer name"))
    with pytest.raises(
        CheckError, match=r"TABLE\.md: line 11 is '\| Net `net` .*', the entries give '\| Net of a longer"
    ):
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


def test_line_ends_of_windows_stay(published, put):
    paths = [published / "TABLE.md", published / "table.csv", published.parent / "README.md"]
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    check(published, published.parent / "README.md")
    put(make_result(seed=2))
    assert publish(published, published.parent / "README.md") == paths
    for path in paths:
        assert path.read_bytes().count(b"\r\n") == path.read_bytes().count(b"\n") > 1
    check(published, published.parent / "README.md")


def linked(path) -> None:
    elsewhere = path.rename(path.parents[2] / "elsewhere")
    path.symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (linked, "is a link"),
        (lambda folder: linked(folder / "net-s1.json"), "net-s1.json: is a link"),
        (lambda folder: (folder / "net-s1.json").rename(folder / "net-s1.JSON"), "net-s1.JSON: is no entry"),
        (lambda folder: (folder / "net-s1.json.orig").write_text(""), "net-s1.json.orig: is no entry"),
        (lambda folder: (folder / "more").mkdir(), r"more: is no entry \(allowed in .*: a \*\.json file\)"),
        (
            lambda folder: folder.with_suffix(".json").write_text("{}"),
            r"is no entry \(allowed .*: a task's folder\)",
        ),
        (lambda folder: os.mkfifo(folder / "net-s2.json"), "net-s2.json: is no entry"),
    ],
)
def test_what_would_be_left_out_in_silence_is_refused(published, change, message):
    before = files(published)
    change(published / "entries" / TASK.slug())
    for look in (check, publish):
        with pytest.raises(InputError, match=message):
            look(published, published.parent / "README.md")
    assert (published / "TABLE.md").read_bytes() == before["TABLE.md"]


def test_what_is_unfinished_is_passed_over_and_goes_when_it_is_old(published):
    folder = published / "entries" / TASK.slug()
    young, old = folder / f"{TEMPORARY_PREFIX}1.json", published / "datasets" / f"{TEMPORARY_PREFIX}2.json"
    for path in (young, old):
        path.write_text("{")
    os.utime(old, (0, 0))
    check(published, published.parent / "README.md")
    assert unfinished_files(published) == [old, young]
    assert publish(published, published.parent / "README.md") == []
    assert unfinished_files(published) == [young]


def test_a_page_that_is_no_text(published):
    (published / "table.csv").write_bytes(b"\xff")
    with pytest.raises(CheckError, match=r"table\.csv: byte 0 is no UTF-8"):
        check(published, published.parent / "README.md")
