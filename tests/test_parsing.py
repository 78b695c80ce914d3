"""Tables to dataclasses: what is refused, and how the message says it."""

import dataclasses
from typing import Literal

import pytest

from gsbench.parsing import InputError, check_range, overlay, parse, read_json, read_toml, read_versioned, suggest


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.toml: (cannot be read|not TOML)"):
        read_toml(path)


def test_errors_of_a_dataclass_itself_name_the_file():
    @dataclasses.dataclass
    class Even:
        number: int

        def __post_init__(self) -> None:
            if self.number % 2:
                raise InputError("number is odd")

    assert parse({"number": 2}, Even, "x.toml") == Even(2)
    with pytest.raises(ValueError, match=r"x\.toml: number is odd"):
        parse({"number": 3}, Even, "x.toml")


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("value", "limits", "refused"),
    [
        (0, {"low": 0, "high": 1}, None),
        (1, {"low": 0, "high": 1}, None),
        (10**400, {"low": 0}, None),
        (2, {"low": 0, "high": 1}, "k is 2 (allowed: 0 to 1)"),
        (NAN, {"low": 0, "high": 1}, "k is nan (allowed: 0 to 1)"),
        (INF, {"low": 0}, "k is inf (must be at least 0, and finite)"),
        (-INF, {"low": 0}, "k is -inf (must be at least 0)"),
        (0.0, {"low": 0, "above": True}, "k is 0.0 (must be above 0)"),
        (0.0, {"low": 0, "high": 1, "above": True}, "k is 0.0 (allowed: above 0 to 1)"),
        (1, {"low": 0, "high": 1, "below": True}, "k is 1 (allowed: 0 to below 1)"),
        (10**30, {"low": 1, "high": 4096}, f"k is {10**30} (allowed: 1 to 4096)"),
    ],
)
def test_ranges(value, limits, refused):
    if refused is None:
        check_range("k", value, **limits)
        return
    with pytest.raises(InputError) as caught:
        check_range("k", value, **limits)
    assert str(caught.value) == refused


@dataclasses.dataclass(frozen=True)
class Walk:
    steps: int
    method: Literal["walk"] = "walk"


@dataclasses.dataclass(frozen=True)
class Swim:
    strokes: int = 3
    method: Literal["swim", "dive"] = "swim"


@dataclasses.dataclass(frozen=True)
class Trip:
    how: Walk | Swim
    back: Walk | None = None


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"how": {"method": "swim"}}, Trip(Swim(3, "swim"))),
        ({"how": {"method": "dive", "strokes": 1}}, Trip(Swim(1, "dive"))),
        ({"how": {"steps": 2}, "back": {"steps": 3}}, Trip(Walk(2), Walk(3))),
        ({"how": {"steps": 2, "method": "walk"}, "back": None}, Trip(Walk(2))),
    ],
)
def test_one_of_several_tables_is_chosen_by_its_method(table, expected):
    assert parse(table, Trip, "x.toml") == expected


def test_a_table_of_another_method_replaces_and_one_of_the_same_overlays():
    base = {"how": {"method": "walk", "steps": 2}, "back": {"steps": 3}}
    swims = overlay(base, {"how": {"method": "swim"}})
    assert parse(swims, Trip, "x.toml") == Trip(Swim(), Walk(3))
    assert overlay(base, {"how": {"method": "walk"}}) == base
    assert overlay(base, {"how": {"steps": 4}})["how"] == {"method": "walk", "steps": 4}
    assert base == {"how": {"method": "walk", "steps": 2}, "back": {"steps": 3}}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"method": "fly"}, r"^x\.toml: how: method: 'fly' is not allowed \(must be walk \| swim \| dive\)$"),
        ({"method": ["swim"]}, r"^x\.toml: how: method: \['swim'\] is not allowed"),
        ({"method": "swim", "steps": 2}, r"how: unknown key 'steps'.*allowed: strokes, method"),
        ({"strokes": 2}, r"how: unknown key 'strokes'.*allowed: steps, method"),
        (None, r"how: None is not allowed \(must be a table\)"),
        ("swim", r"how: 'swim' is not allowed \(must be a table\)"),
    ],
)
def test_a_table_of_no_known_method_is_refused(how, message):
    with pytest.raises(ValueError, match=message):
        parse({"how": how}, Trip, "x.toml")


def test_suggestions():
    assert suggest("pointnet", ["pointnet++", "mvcnn"]) == "; did you mean 'pointnet++'?"
    assert suggest("zzz", ["pointnet++", "mvcnn"]) == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"x\.json: cannot be read \(No such file"),
        (b"{", r"x\.json: not JSON"),
        (b"\xff\xfe", r"x\.json: not JSON"),
    ],
)
def test_json_that_cannot_be_read(tmp_path, content, message):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"version is None \(allowed: 3\)$"),
        ("{}", r"version is None \(allowed: 3\)$"),
        ('{"version": 2}', r"version is 2 \(allowed: 3\)$"),
        ('{"version": 4}', "version is 4 .allowed: 3; it was written by a newer gsbench, which reads it"),
        ('{"version": "3"}', r"version is '3' \(allowed: 3\)$"),
    ],
)
def test_tables_of_another_version(tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_versioned(tmp_path / "x.json", "version", 3)


def test_a_table_of_the_version(tmp_path):
    (tmp_path / "x.json").write_text('{"version": 3, "more": [1]}')
    assert read_versioned(tmp_path / "x.json", "version", 3) == {"version": 3, "more": [1]}
