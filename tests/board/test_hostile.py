"""Entries and truths that somebody made up: refused in one line and without a trace, or shown as the text they are."""

import dataclasses
import html
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gsbench.board import Truth, check, publish, submit, truth_path
from gsbench.board.truth import load_truth, make_truth, truth_json
from gsbench.core.parsing import InputError
from gsbench.core.recipe import Reported
from gsbench.core.results import MAX_BYTES, save_result
from gsbench.store.load import resolve
from tests.board.results import CLASSES, LABELS, TASK, TRUTH, edit_json, files, make_result, rows
from tests.board.test_pretext import probed

Change = Callable[[dict[str, Any]], object]

BASE = dataclasses.replace(
    probed(stated={"knn_accuracy": 0.8, "sampling_draws": 5, "accuracy_over_draws": 0.9, "accuracy_over_draws_std": 0}),
    reported=Reported("ModelNet10", "images", 0.95, "https://example.org/paper", protocol="probe"),
)

NO_TEXT = {
    "empty": "",
    "blank": " ",
    "blank-before": " x",
    "tab": "a\tb",
    "newline": "a\nb",
    "return": "a\rb",
    "nul": "a\0b",
    "escape": "\x1b[2J",
    "bidi": "abc\u202egnp.exe",
    "isolate": "\u2066x\u2069",
    "zero-width": "a\u200bb",
    "no-break": "a\u00a0b",
    "line-separator": "a\u2028b",
    "private": "\ue000",
    "unassigned": "\u0378",
    "surrogate": "a\ud800b",
    "long": "x" * 201,
    "megabyte": "x" * 1_000_000,
    "number": 7,
    "list": ["x"],
}
TEXTS = (
    "task.revision", "model.title", "model.pretrained", "run.device", "run.versions.torch", "reported.source",
    "reported.dataset",
)  # fmt: skip

NO_COUNT = {"negative": -1, "true": True, "text": "1", "half": 1.5, "huge": 10**18, "64-bits": 2**64, "list": [1]}
COUNTS = (
    "run.seed", "run.epochs", "run.train_objects", "model.num_params", "task.num_views", "task.regime", "task.draw",
    "pretext.objects", "pretext.epochs", "pretext.num_points", "pretext.num_views", "reported.num_views",
)  # fmt: skip

NO_MEASURE = {"negative": -1, "true": True, "text": "1", "nan": float("nan"), "inf": float("inf"), "huge": 1e300}
MEASURES = ("run.train_seconds", "run.eval_seconds", "run.peak_memory_mb", "pretext.train_seconds")
SHARES = ("reported.accuracy", "metrics.accuracy", "stated.knn_accuracy", "stated.accuracy_over_draws")

NO_PROBABILITIES = {
    "true": [True, False, False],
    "text": ["1", "0", "0"],
    "null": [None, 0, 1],
    "nested": [[1], 0, 0],
    "short": [0.5, 0.5],
    "none": [],
    "no-list": 1,
    "negative": [1.5, -0.5, 0],
    "sum": [0.5, 0.6, 0.2],
    "nan": [float("nan"), 0, 1],
    "inf": [float("inf"), 0, 0],
    "digits": [10**400, 0, 0],
    "float": [1e308, 1e308, 0],
}

NO_HASH = {"hello": "hello", "short": "ab" * 31, "capitals": "AB" * 32, "empty": "", "blank": "ab" * 31 + "a "}


def put_at(path: str, value: object) -> Change:
    *above, last = path.split(".")

    def change(record: dict[str, Any]) -> None:
        for key in above:
            record = record[key]
        record[last] = value

    return change


def drop(path: str) -> Change:
    *above, last = path.split(".")

    def change(record: dict[str, Any]) -> None:
        for key in above:
            record = record[key]
        del record[last]

    return change


def every(paths: tuple[str, ...], values: dict[str, Any]) -> Iterator[Any]:
    return (pytest.param(put_at(path, value), id=f"{path}={key}") for path in paths for key, value in values.items())


def add_key(table: str, key: str, value: object) -> Any:
    return pytest.param(lambda record: record[table].update({key: value}), id=f"{table}+{key[:20]!a}")


RECORDS = [
    *every(TEXTS, NO_TEXT),
    *every(COUNTS, NO_COUNT),
    *every(MEASURES, NO_MEASURE),
    *every(SHARES, NO_MEASURE | {"percent": 99, "above": 1.000001}),
    *every(("predictions.bed_0001",), NO_PROBABILITIES),
    *every(("task.fingerprint", "model.recipe_sha256"), NO_HASH),
    *every(("run.commit",), {"words": "HEAD", "short": "abc123", "number": 7}),
    *every(("run.dirty",), {"text": "no", "number": 0}),
    *every(("run.selection",), {"test": "test", "best": "best", "empty": ""}),
    *every(("run.precision", "pretext.precision"), {"fp8": "fp8", "empty": "", "auto": "auto"}),
    *every(("task.split",), {"val": "val", "up": "../test", "empty": ""}),
    *every(("model.name",), {"up": "../net", "blank": "a b", "markup": "`<b>`", "dot": ".net", "long": "n" * 81}),
    *every(("task.dataset",), {"up": "../mini", "slash": "a/b", "blank": "a b", "pipe": "a|b", "long": "m" * 101}),
    *every(("task.features", "task.sampling"), {"of-points": "xyz", "of-images": "fps"}),
    *every(("task.num_points",), {"of-points": 1024}),
    *every(("task.protocol",), {"supervised": "supervised", "other": "zero-shot"}),
    *every(("reported.regime",), {"30": 30, "true": True, "text": "100"}),
    *every(("reported.features",), {"other": "xyz+rgb"}),
    *every(("schema_version",), {"0": 0, "true": True, "text": "1", "float": 1.0, "newer": 99, "null": None}),
    *every(("task", "model", "run", "metrics", "predictions", "stated"), {"null": None, "list": [], "text": "x"}),
    *(add_key("stated", key, 0.5) for key in ("map", "", "accuracy", "\ud800", "x" * 10_000, "std\n")),
    *(add_key(table, "extra", 1) for table in ("task", "model", "run", "pretext", "reported")),
    *(add_key("predictions", key, [1, 0, 0]) for key in ("bed_9999", "", "a\nb", "\u202ebed", "x" * 201)),
    *(add_key("metrics", key, 0.5) for key in ("map", "", "a\nb", "x" * 10_000)),
    *(add_key("run", "versions", {key: "1"}) for key in ("", "a\nb", "x" * 201)),
    add_key("run", "versions", {f"package{i}": "1" for i in range(1000)}),
    *(pytest.param(drop(f"stated.{key}"), id=f"stated-{key}") for key in list(BASE.stated)[1:]),
    *every(("stated.sampling_draws",), {"one": 1, "half": 2.5, "million": 1e6}),
    *every(("stated.knn_accuracy_over_draws_std",), {"alone": 0.1}),
    *every(("pretext.metrics.mpd_positive", "pretext.metrics.mpd_auc_low", "pretext.metrics.other"), {"x": -1}),
    *every(("pretext.metrics",), {"turned": {"mpd_auc": 0.5, "mpd_auc_low": 0.6, "mpd_auc_high": 0.4}}),
    *every(("pretext",), {"missing": 1, "empty": {}}),
    *every(("predictions",), {"one": {"bed_0001": [1, 0, 0]}, "empty": {}}),
    *(
        pytest.param(
            lambda r, regime=regime: (r["task"].update(regime=regime), r["run"].update(train_objects=240)),
            id=f"regime-{regime}-of-all",
        )
        for regime in (50, 10, 1)
    ),
    *every(("run.train_objects", "pretext.objects"), {"fewer": 239, "more": 241}),
]  # fmt: skip

COUNTED = dataclasses.replace(TRUTH, train_counts={"bathtub": 100, "bed": 100, "chair": 40})


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("result") / "result.json"
    save_result(BASE, path)
    return path.read_text()


@pytest.fixture
def offer(board, tmp_path):
    """Submits the bytes of a file to an empty board; they are refused in a line that names it, and nothing stays."""

    def submit_bytes(data: bytes) -> str:
        path = tmp_path / "incoming.json"
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            submit([(path, COUNTED)], board)
        assert files(board) == {}
        return one_line(caught.value, "incoming.json")

    return submit_bytes


def one_line(error: InputError, name: str) -> str:
    message = str(error)
    assert name in message
    assert message.isprintable()
    assert len(message) < 1500
    return message


def as_bytes(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode()


def test_the_record_that_is_changed_here_is_accepted(board, tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    ((entry, new),) = submit([(tmp_path / "result.json", COUNTED)], board)
    assert new
    publish(board, tmp_path / "README.md")
    edit_json(entry, lambda record: record)
    check(board, tmp_path / "README.md")


@pytest.mark.parametrize("change", RECORDS)
def test_a_record_that_cannot_be_true_is_refused(offer, text, change):
    record = json.loads(text)
    change(record)
    offer(as_bytes(record))


def test_there_are_enough_of_them():
    assert len(RECORDS) > 300


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{\0}\0", "no UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, "deep"),
        (b'{"task": ' * 100_000 + b"1" + b"}" * 100_000, "deep"),
        (b'{"schema_version": 1} {}', "not JSON"),
        (b'{"schema_version": 1, "schema_version": 1}', "'schema_version' stands twice"),
        (b'{"schema_version": 1' + b"0" * 400 + b"}", "64 bits"),
        (b'{"schema_version": 1' + b"0" * 5000 + b"}", "JSON"),
        (b"null", "schema_version is None"),
        (b'"' + b"x" * 1_000_000 + b'"', "schema_version is None"),
        (b" " * (MAX_BYTES + 1), f"at most {MAX_BYTES} are read"),
    ],
)
def test_a_file_that_is_no_record_is_refused(offer, data, message):
    assert message in offer(data)


@pytest.mark.parametrize("key", ["bed_0001", "accuracy", "seed", "title"])
def test_a_key_that_stands_twice_is_refused(offer, text, key):
    one = next(line for line in text.splitlines() if f'"{key}":' in line).strip().rstrip(",")
    assert f"{key!r} stands twice" in offer(text.replace(one, f"{one}, {one}", 1).encode())


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_and_not_waited_for(board, tmp_path, make):
    make(tmp_path / "incoming.json")
    with pytest.raises(InputError, match=r"incoming\.json: is (a folder|no regular file)"):
        submit([(tmp_path / "incoming.json", TRUTH)], board)


@pytest.mark.slow
@pytest.mark.parametrize("inside", ["[],", "{},", "[0],", '"a",', "1.5,", "[[[[]]]],", '{"":0},'])
def test_the_largest_file_does_not_take_much(offer, inside, memory_taken):
    """Whatever its bytes are: less than two billion bytes of memory."""
    head, tail = b'{"schema_version": 1, "stated": [', b"0]}"
    data = head + inside.encode() * ((MAX_BYTES - 100) // len(inside)) + tail
    offer(data)
    assert memory_taken() < 2e9


TRUTHS = [
    *every(("revision", "description"), NO_TEXT),
    *every(("classes",), {"line": ["a\nb", *CLASSES], "long": ["x" * 201, *CLASSES], "twice": [*CLASSES, "bed"]}),
    *every(("labels",), {"empty": {}, "list": [], "line": {"a\nb": "bed"}, "bidi": {"\u202e": "bed"}}),
    *every(("classes",), {"none": [], "text": "bed"}),
    *every(("labels.bed_0001",), {"number": 1, "other": "boat", "long": "x" * 1000}),
    *every(
        ("leaked.near",),
        {"twice": ["bed_0001", "bed_0001"], "unknown": ["bed_9999"], "line": ["a\nb"], "all": list(LABELS), "x": "b"},
    ),
    *every(("train_counts.bed",), {"negative": -1, "zero": 0, "true": True, "text": "1", "fewer": 99}),
    *every(("train_counts.boat",), {"x": 1}),
    *every(("dataset",), {"up": "../mini", "other": "mini2", "markup": "<b>"}),
    *every(("fingerprint",), {"other": "cd" * 32, **NO_HASH}),
    *every(("split",), {"train": "train", "empty": ""}),
    *every(("extra",), {"x": 1}),
]  # fmt: skip


@pytest.mark.parametrize("change", TRUTHS)
def test_a_truth_that_cannot_be_true_is_refused(board, tmp_path, text, change):
    (tmp_path / "result.json").write_text(text)
    submit([(tmp_path / "result.json", COUNTED)], board)
    known = truth_path(board, TASK)
    record = json.loads(known.read_text()) | {"leaked": {"near": ["bed_0001"]}}
    change(record)
    known.write_text(json.dumps(record))
    with pytest.raises(InputError) as caught:
        publish(board, tmp_path / "README.md")
    one_line(caught.value, "leaderboard")
    assert not (board / "TABLE.md").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "deep"),
        (b'{"labels": {}, "labels": {}}', "'labels' stands twice"),
        (b'{"train_counts": {"bed": 1' + b"0" * 400 + b"}}", "64 bits"),
        (b'{"description": "\\ud800"}', "no text"),
        (b"[]", "must be a table"),
        (b"\xff", "no UTF-8"),
        (b"", "not JSON"),
        (b" " * (MAX_BYTES + 1), f"at most {MAX_BYTES} are read"),
    ],
)
def test_a_file_that_is_no_truth_is_refused(tmp_path, data, message):
    (tmp_path / "truth.json").write_bytes(data)
    with pytest.raises(InputError) as caught:
        load_truth(tmp_path / "truth.json")
    assert message in one_line(caught.value, "truth.json")


SHOWN = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!-- leaderboard:end -->",
    "<!-- leaderboard:start -->",
    "![x](https://example.org/track.png)",
    "[x](javascript:alert(1))",
    "[x]: https://example.org",
    "**bold** and _leaning_ and ~~gone~~",
    "`code",
    "a | b \\| c \\",
    "&lt;b&gt; &amp; &#60;",
    "$x$",
    '=HYPERLINK("http://example.org/?"&A1,"x")',
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\uff1d1+1",
    "# heading",
    "1. list",
    "> quote",
    '", "quoted',
]


@pytest.mark.parametrize("words", SHOWN)
def test_texts_are_shown_as_they_are_wherever_they_go(board, put, words):
    """As a title, as a published figure's data and source, and as a data set's description."""
    readme, result = board.parent / "README.md", make_result(reported=Reported(words, "points", 0.9, words))
    entry = put(dataclasses.replace(result, model=dataclasses.replace(result.model, title=words)))
    edit_json(truth_path(board, TASK), lambda truth: truth.update(description=words))
    (row,) = rows(board)
    shown = f"'{words}" if words[0] in "=+-@\uff1d" else words
    assert (row["title"], row["reported_source"]) == (shown, shown)
    table, page = (board / "TABLE.md").read_text(), readme.read_text()
    for text in (table, page):
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
        unescaped = text.replace("\\|", "|")
        assert "<" not in unescaped.replace("<!-- leaderboard:start -->", "").replace("<!-- leaderboard:end -->", "")
        assert "](" not in unescaped.replace("[whole table](leaderboard/TABLE.md)", "")
        assert words in html.unescape(unescaped)
    assert page.count("<!-- leaderboard:start -->") == page.count("<!-- leaderboard:end -->") == 1
    assert publish(board, readme) == []
    check(board, readme)
    assert entry.exists()


@pytest.mark.parametrize(
    ("source", "is_link"),
    [
        ("https://example.org/a_b?c=d#e", True),
        ("http://example.org", True),
        ("javascript:alert(1)", False),
        ("https://example.org/a b", False),
        ("https://example.org/)](javascript:x", False),
        ("https://example.org/<b>", False),
        ("https:// example.org", False),
        ("httpx://example.org", False),
        ("https://", False),
    ],
)
def test_only_whole_addresses_become_links(board, put, source, is_link):
    put(make_result(reported=Reported("ModelNet10", "points", 0.9, source)))
    rows(board)
    assert (f"([source]({source}))" in (board / "TABLE.md").read_text()) == is_link
    assert ("[source](" in (board / "TABLE.md").read_text()) == is_link


def test_what_gsbench_knows_of_a_data_set_cannot_be_changed_with_its_entries(tmp_path):
    """Labels and metrics changed together fit each other, but not what is pinned."""

    def load(truth: Truth) -> Truth:
        (tmp_path / "truth.json").write_bytes(truth_json(truth))
        return load_truth(tmp_path / "truth.json")

    truth = make_truth(resolve("mini"), "test")
    assert truth.is_known()
    first = next(iter(truth.labels))
    for change in (
        {"labels": truth.labels | {first: "toilet"}},
        {"classes": (*truth.classes[1:], truth.classes[0])},
        {"leaked": {}},
        {"train_counts": {}},
        {"fingerprint": truth.fingerprint[:8] + "ab" * 28},
    ):
        with pytest.raises(InputError, match="d4de772d"):
            load(dataclasses.replace(truth, **change))
    assert load(dataclasses.replace(truth, description="Other words.")).labels == truth.labels
