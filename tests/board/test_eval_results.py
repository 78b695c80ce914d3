"""Entries as the Hub's evaluation results: by our own reading of the format, and by the client's parser."""

import re

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

from gsbench.board.eval_results import eval_results
from gsbench.cli import main
from gsbench.core.parsing import InputError
from tests.board.results import TRUTH, make_result

KEYS = {"dataset", "value", "source", "notes", "date", "verifyToken"}


def check_schema(record: object) -> None:
    """What the Hub documents of a file in `.eval_results/`."""
    assert isinstance(record, list)
    for entry in record:
        assert set(entry) <= KEYS
        assert set(entry["dataset"]) <= {"id", "task_id", "revision"}
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry["dataset"]["id"])
        assert re.fullmatch(r"[\w.+-]+", entry["dataset"]["task_id"])
        assert re.fullmatch(r"[0-9a-f]{40}", entry["dataset"].get("revision", "a" * 40))
        assert isinstance(entry["value"], float)
        assert 0 <= entry["value"] <= 100
        assert isinstance(entry.get("notes", ""), str)
        assert set(entry.get("source", {})) <= {"url", "name", "user", "org"}
        assert "source" not in entry or entry["source"]["url"].startswith("https://")


@pytest.mark.parametrize("source", [None, "https://example.org/board"])
def test_a_row_is_valid_and_parses(source):
    text = eval_results([make_result(wrong=6), make_result(seed=1, wrong=9)], TRUTH, "org/mini", source)
    record = yaml.safe_load(text)
    check_schema(record)
    (entry,) = parse_eval_result_entries(record)
    assert (entry.dataset_id, entry.task_id) == ("org/mini", "test-gaussians-supervised-xyz-fps-n1024-r100")
    assert entry.value == 87.5
    assert entry.source_url == source
    assert "seed 0, 1" in (entry.notes or "")
    assert "95 % interval" in (entry.notes or "")


@pytest.mark.parametrize(
    ("repo", "source", "message"),
    [
        ("mini", None, "--repo"),
        ("a/b/c", None, "--repo"),
        ("../x", None, "--repo"),
        ("<b>/x", None, "--repo"),
        ("org/mini", "javascript:alert(1)", "--source"),
        ("org/mini", "https://x.org/<script>", "--source"),
    ],
)
def test_what_the_hub_would_refuse_is_refused(repo, source, message):
    with pytest.raises(InputError, match=message):
        eval_results([make_result()], TRUTH, repo, source)


def test_the_command_prints_or_writes_it(board, put, tmp_path, capsys):
    entry = put(make_result())
    options = ["export", str(entry), "--to", "eval-results", "--repo", "org/mini", "--board", str(board)]
    assert main(options) == 0
    printed = capsys.readouterr().out
    check_schema(yaml.safe_load(printed))
    assert main([*options, "--out", str(tmp_path / "mini.yaml")]) == 0
    assert (tmp_path / "mini.yaml").read_text() == printed
