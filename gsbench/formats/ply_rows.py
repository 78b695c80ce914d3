"""Rows of one element of a PLY file: any property types, byte order or text, lists, and elements around it.

The header is not believed: nothing is allocated before the file is seen to be long enough for what it announces.
plyfile reads all of this too, but its license (GPL) is not ours; the tests hold this reader against it. gsply reads
little-endian floats alone.
Source: Turk, "The PLY Polygon File Format", 1998.
"""

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int64, Shaped

from gsbench.core.parsing import InputError
from gsbench.core.types import Array

_TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float32": "f4",
    "float64": "f8",
}
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_MAX_HEADER, _MAX_DIGITS = 1 << 20, 19
_MAX_PROPERTIES = 1000  # of an element
_MAX_LIST = 1 << 32
_MAX_LIST_ROWS = 2_000_000  # which Python walks, a second for each million


@dataclass(frozen=True, slots=True)
class Property:
    """A property of an element: its numpy type code, and the type of its length where it is a list."""

    name: str
    dtype: str
    count_dtype: str | None = None


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a header: its name, the number of rows announced, and the properties of a row."""

    name: str
    count: int
    properties: tuple[Property, ...]

    @property
    def has_lists(self) -> bool:
        """Whether rows may differ in length."""
        return any(one.count_dtype for one in self.properties)

    def min_bytes(self, order: str) -> int:
        """The least number of bytes that the announced rows take; in text, a digit and a separator a value."""
        if not order:
            return max(0, self.count * 2 * len(self.properties) - 1)
        return self.count * sum(np.dtype(one.count_dtype or one.dtype).itemsize for one in self.properties)


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says: byte order ("" for text), elements, and where the rows begin."""

    order: str
    elements: tuple[Element, ...]
    size: int


def read_rows(path: Path, name: str) -> tuple[Shaped[Array, " n"], int]:
    """Reads the rows of the element `name`.

    Returns:
        A structured array with the element's scalar properties (lists are left out), and the number of bytes in the
        file that no element announces; 0 where elements follow this one, or the file is text.

    Raises:
        InputError: not a PLY file, a header that makes no sense, no such element, fewer rows than announced.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        header = read_header(file)
        index = [element.name for element in header.elements].index(name) if name in _names(header) else None
        if index is None:
            raise InputError(f"no element '{name}' (it has: {', '.join(_names(header)) or 'none'})")
        before, element = header.elements[:index], header.elements[index]
        left = os.fstat(file.fileno()).st_size - header.size
        for one in (*before, element):
            left -= one.min_bytes(header.order)
            if left < 0:
                have = max(0, left + one.min_bytes(header.order))
                raise _truncated(one, f"at least {one.min_bytes(header.order)} bytes, {have} are there")
        rows = _read_binary(file, before, element, header.order) if header.order else _read_text(file, before, element)
        is_last = element is header.elements[-1]
        return rows, os.fstat(file.fileno()).st_size - file.tell() if header.order and is_last else 0


def _names(header: Header) -> list[str]:
    return [element.name for element in header.elements]


def _truncated(element: Element, found: str) -> InputError:
    return InputError(f"truncated: {element.count} rows of element '{element.name}' announced: {found}")


def read_header(file: BinaryIO) -> Header:
    """Reads a PLY header and leaves `file` behind it; InputError if it is none."""
    order: str | None = None
    elements: list[tuple[str, int, list[Property]]] = []
    for words in _header_lines(file):
        match words:
            case [] | ["comment" | "obj_info", *_]:
                continue
            case ["format", kind, _] if kind in _ORDERS:
                order = _ORDERS[kind]
            case ["element", name, count] if count.isdecimal() and len(count) < _MAX_DIGITS:
                elements.append((name, int(count), []))
            case ["property", "list", count_kind, kind, name] if elements and {count_kind, kind} <= _TYPES.keys():
                elements[-1][2].append(Property(name, _TYPES[kind], _TYPES[count_kind]))
            case ["property", kind, name] if elements and kind in _TYPES:
                elements[-1][2].append(Property(name, _TYPES[kind]))
            case _:
                raise InputError(f"header line {' '.join(words)[:80]!r} makes no sense")
    if order is None:
        raise InputError(f"the header names no format (allowed: {', '.join(_ORDERS)})")
    for name, rows, properties in elements:
        if rows and not 0 < len(properties) <= _MAX_PROPERTIES:
            raise InputError(f"element '{name}' has {len(properties)} properties (allowed: 1 to {_MAX_PROPERTIES})")
        counts = Counter(one.name for one in properties)
        if len(counts) < len(properties):
            raise InputError(f"element '{name}' has two properties '{counts.most_common(1)[0][0]}'")
    return Header(order, tuple(Element(name, count, tuple(of)) for name, count, of in elements), file.tell())


def _header_lines(file: BinaryIO) -> Iterator[list[str]]:
    """The words of each line between `ply` and `end_header`."""
    if file.readline(8).strip() != b"ply":
        raise InputError("not a PLY file: it must begin with a line 'ply'")
    while line := file.readline(_MAX_HEADER):
        words = line.decode("latin-1").split()
        if words == ["end_header"]:
            return
        if file.tell() > _MAX_HEADER:
            break
        yield words
    raise InputError("the header has no end ('end_header' is missing)")


def _read_binary(file: BinaryIO, before: tuple[Element, ...], element: Element, order: str) -> Shaped[Array, " n"]:
    for position, one in enumerate(before):
        if one.has_lists:
            return _read_walking(file, before[position:], element, order)
        file.seek(one.min_bytes(order), os.SEEK_CUR)
    if element.has_lists:
        return _read_walking(file, (), element, order)
    return np.fromfile(file, row_dtype(element, order), element.count)


def row_dtype(element: Element, order: str) -> np.dtype:
    """The type of a row without its lists."""
    return np.dtype([(one.name, order + one.dtype) for one in element.properties if not one.count_dtype])


def _read_walking(file: BinaryIO, before: tuple[Element, ...], element: Element, order: str) -> Shaped[Array, " n"]:
    """Rows that lists make differ in length, from row to row."""
    start = file.tell()
    data = np.fromfile(file, np.uint8)
    position = 0
    for other in (*before, element):
        places, position = _walk(data, other, order, position)
    file.seek(start + position)
    rows = np.empty(element.count, row_dtype(element, order))
    for column, one in enumerate(element.properties):
        if not one.count_dtype:
            size = np.dtype(one.dtype).itemsize
            cells = data[places[:, column, None] + np.arange(size)]
            rows[one.name] = cells.view(order + one.dtype)[:, 0]
    return rows


def _read_text(file: BinaryIO, before: tuple[Element, ...], element: Element) -> Shaped[Array, " n"]:
    data = file.read()
    blank = np.frombuffer(b" " + data, np.uint8) <= ord(" ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # older numpy only warns of a word that is no number
        try:
            values = np.fromstring(data, np.float64, sep=" ") if not blank.all() else np.empty(0)
        except (DeprecationWarning, ValueError):
            raise InputError("its text holds something that is no number") from None
    if len(values) != np.count_nonzero(blank[:-1] & ~blank[1:]):  # numpy takes 1.5.3 for two
        raise InputError("its text holds something that is no number")
    del data, blank
    position = 0
    for other in (*before, element):
        places, position = _walk(values, other, "", position)
    rows = np.empty(element.count, [(one.name, np.float64) for one in element.properties if not one.count_dtype])
    for column, one in enumerate(element.properties):
        if not one.count_dtype:
            rows[one.name] = values[places[:, column]]
    return rows


def _walk(data: Shaped[Array, " m"], element: Element, order: str, start: int) -> tuple[Int64[Array, "n p"], int]:
    """Where each property of each row begins in `data` (bytes, or the numbers of a text), and where the rows end."""
    sizes = [np.dtype(one.dtype).itemsize if order else 1 for one in element.properties]
    if not element.has_lists:
        width = sum(sizes)
        if start + element.count * width > len(data):
            raise _truncated(element, f"{element.count * width} values, {max(0, len(data) - start)} are there")
        first = start + width * np.arange(element.count)[:, None]
        return first + np.cumsum([0, *sizes])[:-1], start + element.count * width
    if element.count > _MAX_LIST_ROWS:
        raise InputError(
            f"{element.count} rows of lists in element '{element.name}' (at most {_MAX_LIST_ROWS} are read)"
        )
    places = np.empty((element.count, len(sizes)), np.int64)
    position = start
    for row in range(element.count):
        for column, (one, size) in enumerate(zip(element.properties, sizes, strict=True)):
            places[row, column] = position
            position += _list_size(data, one, order, position, size) if one.count_dtype else size
            if position > len(data):
                raise _truncated(element, f"the file ends in row {row}")
    return places, position


def _list_size(data: Shaped[Array, " m"], one: Property, order: str, position: int, size: int) -> int:
    """How much of `data` the list at `position` takes, its length included."""
    if not order:
        length = data[position] if position < len(data) else 0
        head = 1
    else:
        assert one.count_dtype is not None
        head = np.dtype(one.count_dtype).itemsize
        cell = data[position : position + head]
        length = cell.view(order + one.count_dtype)[0] if len(cell) == head else 0
    if not (0 <= length < _MAX_LIST and length == int(length)):
        raise InputError(f"a list '{one.name}' announces {length} values")
    return head + int(length) * size
