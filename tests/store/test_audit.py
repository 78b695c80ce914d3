"""audit.json: what is written is what is read, and what it says of leaks and on the card."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from gsbench.meshes.split import IDENTICAL_FILES, official_split
from gsbench.store.audit import LEVELS, Audit, NearPair, Official, Thresholds, load_audit, save_audit
from gsbench.store.folder import open_folder
from gsbench.store.leaks import audit_of, leaked_objects, leaks_of, shipped_audit
from gsbench.store.origin import MODELNET10, Origin
from gsbench.store.quality import audit_text
from tests.store.conftest import TWINS

NONE = Audit(1, {"gsbench": "9"}, "", {"train": 0, "test": 0}, "ab" * 32, Thresholds(0.001, 0.02, 1e-6))
FULL = dataclasses.replace(
    NONE,
    note="as \u201cdownloaded\u201d",
    objects={"train": 5, "test": 4},
    identical_files={"cd" * 32: ("a", "b")},
    identical_geometry={"ef" * 32: ("a", "b", "c")},
    same_surface=(("a", "b", "c", "d"),),
    near_duplicates=(NearPair("a", "d", 0.0005, 0.0001, 2), NearPair("a", "e", 0.012, 0.001, 0)),
    across_classes={"files": (), "surfaces": (("a", "b", "c", "d"),), "near": (("a", "b", "c", "d", "e"),)},
    leaked={"files": ("b",), "surfaces": ("b", "c"), "near": ("b", "c", "e")},
    unreadable={"x": "truncated: 3 vertices announced, 2 found"},
    not_finite=("y",),
    unused_vertices={"a": (4, 0.66)},
    open_edges={"a": 3, "b": 3},
    watertight=2,
    official=Official(("m", "n"), (), (), ("w",), (("a", "b"),), ()),
)


@pytest.mark.parametrize("audit", [NONE, FULL], ids=["empty", "full"])
def test_an_audit_comes_back_as_it_was(tmp_path, audit):
    path = tmp_path / "audit.json"
    save_audit(audit, path)
    assert load_audit(path) == audit
    record = json.loads(path.read_text())
    assert record["counts"] == audit.counts()
    first = path.read_bytes()
    save_audit(load_audit(path), path)
    assert path.read_bytes() == first


def test_findings_stand_in_lines_of_their_own(tmp_path):
    path = tmp_path / "audit.json"
    save_audit(FULL, path)
    lines = path.read_text().splitlines()
    assert '  {"one": "a", "other": "e", "distance": 0.012, "mean": 0.001, "quarters": 0}' in lines
    assert '  "b": 3' in lines


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda record: record.update(format_version=2),
            r"format_version is 2 \(allowed: 1; it was written",
        ),
        (lambda record: record.pop("format_version"), r"format_version is None \(allowed: 1\)"),
        (lambda record: record.update(extra=1), "unknown key 'extra'"),
        (lambda record: record.pop("thresholds"), "key 'thresholds' is missing"),
        (lambda record: record["near_duplicates"].pop(), "counts are not those of the lists"),
        (lambda record: record.pop("counts"), "counts are not those of the lists"),
        (
            lambda record: record["leaked"].update(name=[]),
            r"'name' is not allowed \(must be files \| surfaces \| near\)",
        ),
    ],
)
def test_a_file_that_is_no_audit(tmp_path, change, message):
    path = tmp_path / "audit.json"
    save_audit(FULL, path)
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=message) as error:
        load_audit(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_file_that_is_no_record(tmp_path, text):
    path = tmp_path / "audit.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"audit\.json: (not JSON|format_version is None)"):
        load_audit(path)


def test_leaks_follow_the_splits_that_are_given():
    assert leaked_objects(FULL, {"a"}, {"b", "c", "d", "e"}) == {
        "files": ("b",), "surfaces": ("b", "c", "d"), "near": ("b", "c", "d", "e"),
    }  # fmt: skip
    assert leaked_objects(FULL, {"e"}, {"a", "b", "c", "d"}) == {"files": (), "surfaces": (), "near": ("a", "b", "c")}
    assert set(leaked_objects(FULL, {"z"}, {"a", "b"}).values()) == {()}
    assert set(leaked_objects(FULL, {"a"}, {"z"}).values()) == {()}


def test_modelnet10_comes_with_its_audit():
    audit = shipped_audit()
    assert audit.official is not None
    assert sum(audit.objects.values()) + len(audit.official.missing) == 4899
    assert set(audit.official.identical_files_found) == set(IDENTICAL_FILES)
    for level in LEVELS:
        assert {official_split(object_id) for object_id in audit.leaked[level]} == {"test"}
    assert set(audit.leaked["files"]) < set(audit.leaked["surfaces"]) < set(audit.leaked["near"])
    train, test = (
        {f"{i}" for pair in audit.near_duplicates for i in (pair.one, pair.other) if official_split(i) == split}
        for split in ("train", "test")
    )
    assert set(leaked_objects(audit, train, test)["near"]) <= set(audit.leaked["near"])


@pytest.mark.parametrize("name", ["tiny", "modelnet10", "modelnet10-gs"])
def test_other_data_has_none_whatever_it_is_called(made, name):
    folder = open_folder(made)
    assert audit_of(dataclasses.replace(folder, manifest=dataclasses.replace(folder.manifest, name=name))) is None


def test_the_shipped_audit_holds_no_geometry():
    """Ids, hashes and counts: no list of numbers longer than the two of unused vertices."""
    audit = shipped_audit()

    def numbers_in(value):
        if isinstance(value, dict):
            return max((numbers_in(item) for item in value.values()), default=0)
        if isinstance(value, list | tuple):
            own = sum(isinstance(item, int | float) for item in value)
            return max([own, *(numbers_in(item) for item in value)])
        return 0

    assert numbers_in(dataclasses.asdict(audit)) <= 2


def test_a_folder_with_hashes_tells_its_leaked_files(made: Path) -> None:
    assert TWINS[1].endswith("0012")  # a test object, whose twin is in train
    assert leaks_of(open_folder(made)) == {"files": (TWINS[1],)}


def test_a_folder_without_an_audit_says_so(made: Path) -> None:
    assert audit_text(open_folder(made)).startswith("The meshes have not been audited")


def test_the_card_of_modelnet10_says_what_was_found(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_folder(made)
    monkeypatch.setattr("gsbench.store.leaks.origin_of", lambda folder: Origin(MODELNET10, False))
    text = audit_text(folder)
    audit = shipped_audit()
    assert f"looked at {sum(audit.objects.values())} meshes" in text
    assert audit.note in text
    assert f"{len(audit.official.missing)} objects of the official split were not at hand" in text
    assert re.search(rf"near duplicates, to 0\.02 \| {len(audit.near_duplicates)} pairs \| \d+ \| ", text)
    assert f"- the same file (1): `{TWINS[1]}`" in text
    assert f"| edges of a single face (not closed) | {len(audit.open_edges)} |" in text
