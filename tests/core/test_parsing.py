"""Tables to dataclasses: what is refused, and how the message says it."""

import dataclasses
import os
import time
from pathlib import Path
from typing import Any, Literal

import pytest

from gsbench.core.files import MAX_JSON_BYTES, MAX_TOML_BYTES, parse_json, read_json, read_toml, read_versioned
from gsbench.core.parsing import InputError, check_range, overlay, parse, suggest

READ = {".json": read_json, ".toml": read_toml}


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


DEEP = 100_000
HOSTILE = {
    "brackets": (".json", b"[" * DEEP, "more than 64 deep"),
    "closed brackets": (".json", b"[" * DEEP + b"]" * DEEP, "more than 64 deep"),
    "tables in tables": (".json", b'{"a":' * DEEP, "more than 64 deep"),
    "just too deep": (".json", b"[" * 65 + b"]" * 65, "more than 64 deep"),
    "brackets in TOML": (".toml", b"a = " + b"[" * DEEP, "more than 64 deep"),
    "a long dotted key": (".toml", b"a." * DEEP + b"a = 1", "a key of 64 parts or more"),
    "a long dotted key in quotes": (".toml", b'"a" . ' * DEEP + b"a = 1", "a key of 64 parts or more"),
    "a long dotted table": (".toml", b"[" + b"a." * DEEP + b"a]", "a key of 64 parts or more"),
    "400 digits": (".json", b"[" + b"9" * 400 + b"]", "a whole number of more than 64 bits"),
    "a bit too many": (".json", b'{"a": -9223372036854775809}', "a whole number of more than 64 bits"),
    "9,000 digits": (".json", b"[" + b"9" * 9000 + b"]", "not JSON: Exceeds the limit"),
    "400 digits in TOML": (".toml", b"a = " + b"9" * 400, "a whole number of more than 64 bits"),
    "9,000 hexadecimal digits": (".toml", b"a = 0x" + b"f" * 9000, "a whole number of more than 64 bits"),
    "a key twice": (".json", b'{"a": 1, "b": [], "a": 1}', "key 'a' stands twice in one object"),
    "a key twice in TOML": (".toml", b"a = 1\na = 1", "not TOML: Cannot overwrite a value"),
    "a key twice, inside": (".json", b'[{"a": {"b\\n": 1, "b\\u000a": 2}}]', r"key 'b\\n' stands twice"),
    "half of a pair": (".json", b'{"a": "\\ud800"}', r"'\\ud800' holds a character of no text"),
    "half of a pair as key": (".json", b'{"\\uDFFF": 1}', r"'\\udfff' holds a character of no text"),
    "half of a pair in TOML": (".toml", b'a = "\\ud800"', "not TOML"),
    "half of a pair as it is": (".json", b'"\xed\xa0\x80"', "not JSON: byte 1 is no UTF-8"),
    "NUL": (".json", b'["\\u0000"]', r"'\\x00' holds a character of no text"),
    "NUL in TOML": (".toml", b'a = ["\\u0000"]', r"'\\x00' holds a character of no text"),
    "NUL as it is": (".json", b'["\0"]', "not JSON"),
    "NUL as it is in TOML": (".toml", b'a = "\0"', "not TOML"),
    "UTF-16": (".json", "{}".encode("utf-16"), "not JSON: byte 0 is no UTF-8"),
    "UTF-16 without a mark": (".json", "{}".encode("utf-16-le"), "not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_at_once_in_one_line_that_names_them(tmp_path: Path, name: str) -> None:
    suffix, content, message = HOSTILE[name]
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(InputError, match=message) as caught:
        READ[suffix](path)
    assert time.perf_counter() - start < 5
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(("suffix", "most"), [(".json", MAX_JSON_BYTES), (".toml", MAX_TOML_BYTES)])
def test_files_that_memory_could_not_hold_are_not_opened(tmp_path: Path, suffix: str, most: int) -> None:
    path = tmp_path / f"x{suffix}"
    with path.open("wb") as file:
        file.truncate(most + 1)  # takes no room on the disk
    with pytest.raises(InputError, match=rf"x\{suffix}: {most + 1} bytes, files of at most {most} are read"):
        READ[suffix](path)
    with pytest.raises(InputError, match="at most"):
        parse_json(b" " * (MAX_JSON_BYTES + 1))


@pytest.mark.parametrize("suffix", READ)
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    (tmp_path / f"loop{suffix}").symlink_to(tmp_path / f"loop{suffix}")
    for name, message in (
        ("pipe", "is no regular file .allowed: a file"),
        ("folder", "is a folder .allowed: a file"),
        ("loop", "cannot be read"),
    ):
        with pytest.raises(InputError, match=rf"{name}\{suffix}: {message}"):
            READ[suffix](tmp_path / f"{name}{suffix}")


@pytest.mark.parametrize(
    ("suffix", "content", "expected"),
    [
        (".json", b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (".toml", b"\xef\xbb\xbfa = 1\r\n", {"a": 1}),
        (".json", b"[" * 64 + b"]" * 64, None),
        (".json", b"[9223372036854775807, -9223372036854775808]", [2**63 - 1, -(2**63)]),
        (".json", b'["\\ud83d\\ude00", "\\\\u0000", 1.00000000000000000000001]', ["\U0001f600", "\\u0000", 1.0]),
        (".toml", b"a.b.c.d.e = 0.1\nf = [1.5, 2.5, 3.5]", None),
        (".toml", b"a = '" + b"1.5, " * 1000 + b"'", {"a": "1.5, " * 1000}),
    ],
)  # fmt: skip
def test_what_stays_allowed(tmp_path: Path, suffix: str, content: bytes, expected: Any) -> None:
    (tmp_path / f"x{suffix}").write_bytes(content)
    value = READ[suffix](tmp_path / f"x{suffix}")
    assert expected is None or value == expected


@dataclasses.dataclass(frozen=True)
class Numbers:
    lr: float = 0.1
    by_name: dict[str, float] = dataclasses.field(default_factory=dict)
    level: Literal[1, 2] = 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"lr": float("nan")}, r"^x\.toml: lr is nan \(must be finite\)$"),
        ({"lr": float("-inf")}, "lr is -inf .must be finite"),
        ({"by_name": {"a": float("inf")}}, r"by_name\.a is inf .must be finite"),
        ({"level": True}, "level: True is not allowed .must be 1 | 2"),
        ({"level": 1.0}, "level: 1.0 is not allowed"),
        ({"lr": "a" * 10_000}, r"^x\.toml: lr: 'a{99}\.\.\. is not allowed"),
        ({"b" * 1_000_000: 1}, r"^x\.toml: unknown key 'b{99}\.\.\. .allowed: lr"),
        ({"line\nend": 1}, r"^x\.toml: unknown key 'line\\nend' .allowed: lr"),
        ([1], r"^x\.toml: \[1\] is not allowed .must be a table"),
        (None, r"^x\.toml: None is not allowed .must be a table"),
    ],
)
def test_values_that_no_table_of_ours_holds(table: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(table, Numbers, "x.toml")


@pytest.mark.parametrize("content", [b'{"version": true}', b'{"version": 1.0}'])
def test_a_version_is_a_whole_number(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"version is .* .allowed: 1"):
        read_versioned(tmp_path / "x.json", "version", 1)
