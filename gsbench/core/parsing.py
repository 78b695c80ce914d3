"""Tables that people and programs hand in, as frozen dataclasses; the checks of names, texts and numbers.

An unknown key or a wrong type is an InputError that says what is allowed.
"""

import copy
import dataclasses
import difflib
import functools
import math
import re
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, TypeVar, get_args, get_origin

T = TypeVar("T")

MAX_TEXT, MAX_ID = 200, 255
"""Characters of a text that stands in a table, and of an id or a class."""

MAX_INTEGER = 2**53 - 1
"""The largest whole number that every JSON reader gives back as it was."""

LINK = re.compile(r"https?://[A-Za-z0-9][^\s()<>\[\]{}\"'`\\|]*")
"""A link that can stand in a page as it is."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


_MAX_SHOWN = 100  # characters of a value in an error


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


def check_link(key: str, value: str) -> None:
    """Raises an InputError unless a text is a link that pages can show: http or https, without blanks and markup."""
    check_text(key, value)
    if not LINK.fullmatch(value):
        raise InputError(f"{key} is {shown(value)} (allowed: http:// or https:// without blanks, brackets and quotes)")


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
