"""Files that people and programs hand in: their bytes, the tables in TOML and JSON, and those as frozen dataclasses.

Whatever parsing may raise becomes an InputError, and what would fail later is refused here: a file that is no regular
one or too large, nesting without end, keys given twice, numbers beyond 64 bits, strings that no file can hold. An
unknown key or a wrong type is an error that says what is allowed.
"""

import copy
import dataclasses
import difflib
import functools
import json
import math
import os
import re
import stat
import tomllib
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

T = TypeVar("T")

MAX_TEXT, MAX_ID = 200, 255
"""Characters of a text that stands in a table, and of an id or a class."""

MAX_INTEGER = 2**53 - 1
"""The largest whole number that every JSON reader gives back as it was."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")

MAX_JSON_BYTES, MAX_TOML_BYTES = 32_000_000, 1_000_000
"""Largest files that are parsed: JSON made for it takes 50 times its size of memory, TOML a second a megabyte."""

_MAX_DEPTH = 64  # of tables and lists within each other
_MAX_SHOWN = 100  # characters of a value in an error
_INT64 = range(-(1 << 63), 1 << 63)
_NESTED = (dict, list)
_TOO_DEEP = f"tables and lists stand more than {_MAX_DEPTH} deep in each other"
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
# tomllib takes a time that grows with the square of a dotted key's length.
_LONG_KEY = re.compile(rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{_MAX_DEPTH}}}""")


class InputError(ValueError):
    """What the user can mend: the message names the file or key, what is wrong and what is allowed.

    Whatever else is raised is a fault of gsbench.
    """


def check_range(
    key: str, value: float, low: float, high: float = math.inf, *, above: bool = False, below: bool = False
) -> None:
    """Raises an InputError unless a number is finite and in `low`..`high`.

    Args:
        key: names the value in the error.
        value: a whole number or a float.
        low: the least that is allowed.
        high: the most; none by default.
        above: whether `low` itself is not allowed.
        below: whether `high` itself is not allowed.
    """
    if (low < value if above else low <= value) and (value < high if below else value <= high) and value != math.inf:
        return
    if high == math.inf:
        allowed = f"must be {'above' if above else 'at least'} {low}{', and finite' if value == math.inf else ''}"
    else:
        allowed = f"allowed: {'above ' if above else ''}{low} {'to below' if below else 'to'} {high}"
    raise InputError(f"{key} is {value} ({allowed})")


def check_choice(key: str, value: object, allowed: Iterable[object]) -> None:
    """Raises an InputError unless a value is one of those that are allowed."""
    if value not in allowed:
        raise InputError(f"{key} is {shown(value)} (allowed: {', '.join(map(str, allowed))})")


def check_text(key: str, value: str, most: int = MAX_TEXT) -> None:
    """Raises an InputError unless a text is 1 to `most` printable characters in a line, without blanks around it.

    So it holds no control character, none that turns the direction of writing, and no half of a surrogate pair.
    """
    if not 1 <= len(value) <= most or value != value.strip():
        raise InputError(
            f"{key} is {shown(value)}, {len(value)} long (allowed: 1 to {most} characters, no blanks around)"
        )
    if not value.isprintable():
        raise InputError(f"{key} is {shown(value)} (allowed: printable characters)")


def check_id(key: str, value: str) -> None:
    """Raises an InputError unless a text can be an object's id or a class: in any language, without slashes.

    They name files, stand in tables and on terminals.
    """
    check_text(key, value, MAX_ID)
    if "/" in value or "\\" in value or value in (".", ".."):
        raise InputError(f"{key} is {shown(value)} (allowed: printable characters without slashes)")


def check_name(key: str, value: str) -> None:
    """Raises an InputError unless a text can be part of a path."""
    if not _NAME.fullmatch(value):
        raise InputError(f"{key} is {shown(value)} (allowed: a letter or digit, then up to 99 more or . _ + -)")


def check_hex(key: str, value: str, lengths: tuple[int, ...] = (64,)) -> None:
    """Raises an InputError unless a text is a hash: so many hexadecimal digits, in small letters."""
    if len(value) not in lengths or not set(value) <= set("0123456789abcdef"):
        digits = " or ".join(map(str, lengths))
        raise InputError(f"{key} is {shown(value)} (allowed: {digits} hexadecimal digits)")


def overlay(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A copy of the table `base` with the keys of `over` laid over it, tables within tables key by key.

    A table of another `method` takes the place of the one in `base`: it has other keys.
    """
    merged = copy.deepcopy(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("method") in (None, old.get("method")):
            merged[key] = overlay(old, value)
        else:
            merged[key] = value
    return merged


def file_size(path: str | os.PathLike[str], most: int) -> int:
    """The size of a regular file in bytes.

    Raises:
        InputError: a folder, a pipe (which would be waited for without end) or a device, or more than `most` bytes.
        OSError: no such file, or no right to see it.
    """
    about = os.stat(path)
    if not stat.S_ISREG(about.st_mode):
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "no regular file"
        raise InputError(f"{path}: is {kind} (allowed: a file)")
    if about.st_size > most:
        raise InputError(f"{path}: {about.st_size} bytes, files of at most {most} are read")
    return about.st_size


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """The bytes of a regular file; InputError and OSError as `file_size`."""
    file_size(path, most)
    with open(path, "rb") as file:
        return file.read(most)


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file; an InputError names the file if it cannot be read or parsed."""
    return dict(_read(path, MAX_TOML_BYTES, "TOML", _load_toml))


def read_json(path: Path) -> Any:
    """What a JSON file holds; an InputError names the file if it cannot be read or parsed, or gives a key twice."""
    return _read(path, MAX_JSON_BYTES, "JSON", _load_json)


def parse_json(data: bytes) -> Any:
    """What a JSON text holds that is part of a file, as `read_json`; the InputError leaves naming it to the caller."""
    if len(data) > MAX_JSON_BYTES:
        raise InputError(f"{len(data)} bytes of JSON, at most {MAX_JSON_BYTES} are read")
    return _parse_text(data, "JSON", _load_json)


def _read(path: Path, most: int, kind: str, load: Callable[[str], Any]) -> Any:
    try:
        data = read_bytes(path, most)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return _parse_text(data, kind, load)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _parse_text(data: bytes, kind: str, load: Callable[[str], Any]) -> Any:
    """What `load` makes of a text in UTF-8; whatever it raises becomes an InputError."""
    try:
        text = data.decode("utf-8-sig")  # editors on Windows put a mark before it
        value = load(text)
    except InputError:
        raise
    except RecursionError:
        raise InputError(_TOO_DEEP) from None
    except MemoryError:
        raise InputError(f"its {len(data)} bytes of {kind} take more memory than there is") from None
    except UnicodeDecodeError as error:
        raise InputError(f"not {kind}: byte {error.start} is no UTF-8") from None
    except ValueError as error:
        raise InputError(f"not {kind}: {error}") from None
    # JSON's numbers are checked as they are read, and only an escape makes a string that is none.
    check_values = kind == "TOML" or "\\u" in text
    for one in _tables_and_lists(value):
        if check_values:
            _check_values(one)
    return value


def _load_toml(text: str) -> dict[str, Any]:
    if _LONG_KEY.search(text):
        raise InputError(f"a key of {_MAX_DEPTH} parts or more (allowed: fewer)")
    return tomllib.loads(text)


def _load_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_repeats, parse_int=_int64)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a key that stands there twice, json itself takes the last value in silence."""
    table = dict(pairs)
    if len(table) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise InputError(f"key {shown(counts.most_common(1)[0][0])} stands twice in one object (allowed: once)")
    return table


def _int64(digits: str | int) -> int:
    number = int(digits)
    if number not in _INT64:
        raise InputError("a whole number of more than 64 bits (allowed: -2^63 to 2^63 - 1)")
    return number


def _tables_and_lists(value: Any) -> Iterator[dict[str, Any] | list[Any]]:
    """Those of a document from the outside in; an InputError where they are too deep for what works on them."""
    level = [value] if isinstance(value, _NESTED) else []
    for _ in range(_MAX_DEPTH):
        yield from level
        inside = (one.values() if isinstance(one, dict) else one for one in level)
        level = [one for values in inside for one in values if isinstance(one, _NESTED)]
    if level:
        raise InputError(_TOO_DEEP)


def _check_values(values: dict[str, Any] | list[Any]) -> None:
    """Refuses numbers and characters that other files, file names and numpy cannot hold."""
    for value in (*values, *values.values()) if isinstance(values, dict) else values:
        if isinstance(value, int):
            _int64(value)
        if isinstance(value, str) and _NO_TEXT.search(value):
            raise InputError(f"the string {shown(value)} holds a character of no text (NUL, or half of a pair)")


def read_versioned(path: Path, key: str, version: int, oldest: int | None = None) -> dict[str, Any]:
    """The table in a JSON file whose `key` names its version: `version`, or one from `oldest` on where that is given.

    Raises:
        InputError: as `read_json`, or for another version.
    """
    table = read_json(path)
    found = table.get(key) if isinstance(table, dict) else None
    first = version if oldest is None else oldest
    if type(found) is not int or not first <= found <= version:
        newer = type(found) is int and found > version
        hint = "; it was written by a newer gsbench, which reads it" if newer else ""
        allowed = f"{first} to {version}" if first < version else f"{version}"
        raise InputError(f"{path}: {key} is {shown(found)} (allowed: {allowed}{hint})")
    return dict(table)


def parse(table: dict[str, Any], kind: type[T], where: str) -> T:
    """Builds a frozen dataclass of type `kind` from a table, checking every key and type on the way.

    Args:
        table: what `read_toml` returned, or a part of it.
        kind: a dataclass; its fields may be dataclasses, tuples, literals, dicts and plain values, any of them or None,
            and one of several dataclasses that differ in a literal key `method`.
        where: names the file (and the key) in errors.

    Raises:
        InputError: unknown or missing key, or a value of the wrong type.
    """
    if not isinstance(table, dict):
        raise InputError(f"{where}: {shown(table)} is not allowed (must be a table)")
    hints = _type_hints(kind)  # type: ignore[arg-type]
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            raise InputError(f"{where}: unknown key {shown(key)}{suggest(key, fields)} (allowed: {', '.join(fields)})")
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in table:
            raise InputError(f"{where}: key '{name}' is missing (required: {_describe(hints[name])})")
    values = {key: _convert(value, hints[key], f"{where}: {key}") for key, value in table.items()}
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


# Cached, since a board of a thousand Result files has only five types.
_type_hints = functools.cache(typing.get_type_hints)


def _convert(value: Any, hint: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return parse(value, hint, where)  # type: ignore[arg-type]
    if origin is Literal and any(type(value) is type(arg) and value == arg for arg in args):
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(value, _choose([arg for arg in args if arg is not type(None)], value, where), where)
    if origin is list and isinstance(value, list):
        return [_convert(v, args[0], f"{where}[{i}]") for i, v in enumerate(value)]
    if origin is tuple and isinstance(value, list):
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else args
        if len(kinds) == len(value):
            return tuple(_convert(v, k, f"{where}[{i}]") for i, (v, k) in enumerate(zip(value, kinds, strict=True)))
    if origin is dict and isinstance(value, dict):
        return {_convert(key, args[0], where): _convert(v, args[1], f"{where}.{key}") for key, v in value.items()}
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise InputError(f"{where} is {value} (must be finite)")
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise InputError(f"{where}: {shown(value)} is not allowed (must be {_describe(hint)})")


def _choose(kinds: list[Any], value: Any, where: str) -> Any:
    """Which kind of a union a value is for: of several dataclasses the one of its `method`, else the first."""
    if len(kinds) == 1 or not isinstance(value, dict) or "method" not in value:
        return kinds[0]
    methods = {kind: get_args(_type_hints(kind)["method"]) for kind in kinds}
    for kind, names in methods.items():
        if value["method"] in names:
            return kind
    allowed = " | ".join(name for names in methods.values() for name in names)
    raise InputError(f"{where}: method: {shown(value['method'])} is not allowed (must be {allowed})")


def _describe(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " | ".join(map(str, args))
    if origin is tuple:
        return f"a list of {_describe(args[0])}" + ("" if args[-1] is Ellipsis else f", {len(args)} long")
    if origin is dict or dataclasses.is_dataclass(hint):
        return "a table"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_describe(arg) for arg in args if arg is not type(None)))
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}.get(hint, str(hint))


def shown(value: Any) -> str:
    """How a value stands in an error: as Python writes it, without line ends, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x' or 'y'?` for the names closest to `word`, or nothing."""
    close = difflib.get_close_matches(word[:_MAX_SHOWN], list(known), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
