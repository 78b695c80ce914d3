"""Class probabilities of test objects, read from a file that anybody may have made: all of its faults at once."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from gsbench.board.truth import Truth
from gsbench.core.files import MAX_JSON_BYTES, file_size, read_bytes, read_json
from gsbench.core.parsing import InputError, check_choice, shown
from gsbench.core.results import as_predictions
from gsbench.core.types import Array

OBJECT_ID = "object_id"
"""The column of a table of predictions that names the object; the others are named like the classes."""

MAX_BYTES = MAX_JSON_BYTES
"""Of a file of predictions, and of what is packed in one."""

SUM_TOLERANCE = 1e-3
"""How far the probabilities of an object may sum from 1: those of half precision do by so much."""

_READERS = (".csv", ".parquet", ".json")


class Faults(InputError):
    """All that is wrong with what was handed in, each in a line of its own."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


def read_predictions(path: Path, truth: Truth) -> Float64[Array, "n c"]:
    """Reads class probabilities of all test objects, in the order of the truth's labels, each row scaled to sum to 1.

    CSV and Parquet have a column `object_id` and one of each class, JSON maps each object_id to its probabilities: by
    class, or as a list in the order of the data set's classes.

    Raises:
        Faults: all that is wrong with the file.
        InputError: it cannot be read.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder (allowed: a file that ends in {', '.join(_READERS)})")
    check_choice(f"{path}: the file's ending", path.suffix.lower(), _READERS)
    try:
        file_size(path, MAX_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    read = {".csv": _read_csv, ".parquet": _read_parquet, ".json": _read_json}[path.suffix.lower()]
    columns, ids, rows = read(path, truth)
    faults = [*_faults_of_columns(columns, truth), *_faults_of_ids(ids, truth)]
    probabilities = np.zeros((0, len(truth.classes)))
    if not _faults_of_columns(columns, truth):
        place = [columns.index(name) for name in truth.classes]
        values = [[_number(row[i]) if i < len(row) else None for i in place] for row in rows]
        found, probabilities = _faults_of_values(ids, values)
        faults += found
    if faults:
        raise Faults([f"{path}: {fault}" for fault in faults])
    row_of = {object_id: number for number, object_id in enumerate(ids)}
    ordered = probabilities[[row_of[object_id] for object_id in truth.labels]]
    return as_predictions(ordered / ordered.sum(1, keepdims=True))


_Table = tuple[list[str], list[Any], list[list[Any]]]
"""The names of the columns without `object_id` (with it where it is missing), the ids, and the rows' values."""


def _read_csv(path: Path, truth: Truth) -> _Table:
    try:
        text = read_bytes(path, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is no UTF-8 (save the file as UTF-8)") from None
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except csv.Error as error:
        raise InputError(f"{path}: not CSV ({error})") from None
    if not lines:
        raise InputError(f"{path}: is empty (must have a line of column names, and one an object)")
    header, body = [name.strip() for name in lines[0]], lines[1:]
    _check_has_ids(path, header)
    ragged = [number for number, line in enumerate(body, 2) if len(line) != len(header)]
    if ragged:
        some = "1 line has" if len(ragged) == 1 else f"{len(ragged)} lines have"
        raise InputError(
            f"{path}: {some} other than {len(header)} values, the first is line {ragged[0]} (is the file cut short?)"
        )
    at = header.index(OBJECT_ID)
    return (
        [name for name in header if name != OBJECT_ID],
        [line[at] for line in body],
        [line[:at] + line[at + 1 :] for line in body],
    )


def _check_has_ids(path: Path, columns: Sequence[str]) -> None:
    if columns.count(OBJECT_ID) != 1:
        count = columns.count(OBJECT_ID)
        raise InputError(
            f"{path}: {count} columns are named {OBJECT_ID} (must be one, and one of each class, with commas between; "
            f"there are {_some(columns)})"
        )


def _read_parquet(path: Path, truth: Truth) -> _Table:
    import pyarrow as pa  # takes .1 s
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            about = file.metadata
            packed = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
            if packed > MAX_BYTES or about.num_rows * about.num_columns > MAX_BYTES:
                raise InputError(
                    f"{path}: holds {packed:,} bytes in {about.num_rows:,} rows (allowed: {MAX_BYTES:,} bytes)"
                )
            names = list(file.schema_arrow.names)
            _check_has_ids(path, names)
            if len(names) > len(truth.classes) + 10:
                raise InputError(f"{path}: {len(names)} columns (must be {OBJECT_ID} and {len(truth.classes)} classes)")
            table = file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not Parquet ({str(error).partition(chr(10))[0][:200]})") from None
    values = [table.column(i).to_pylist() for i, name in enumerate(names) if name != OBJECT_ID]
    ids = table.column(names.index(OBJECT_ID)).to_pylist()
    return [name for name in names if name != OBJECT_ID], ids, [list(row) for row in zip(*values, strict=True)]


def _read_json(path: Path, truth: Truth) -> _Table:
    record = read_json(path)
    if isinstance(record, dict) and {"predictions", "schema_version"} <= record.keys():
        raise InputError(f"{path}: is a Result file (submit it without --predictions)")
    if not isinstance(record, dict) or not record:
        raise InputError(f"{path}: {shown(record)} (must map each object_id to its class probabilities)")
    classes = list(truth.classes)
    by_class = [row for row in record.values() if isinstance(row, dict)]
    if not by_class:
        wrong = [key for key, row in record.items() if not isinstance(row, list) or len(row) != len(classes)]
        if wrong:
            raise InputError(f"{path}: {_some(wrong)}: must be a list of {len(classes)} probabilities, one a class")
        return classes, list(record), list(record.values())
    if len(by_class) != len(record):
        raise InputError(f"{path}: some objects have a list, others a table (must all be the same)")
    columns = list(dict.fromkeys(name for row in by_class for name in row))
    short = [key for key, row in record.items() if len(row) != len(columns)]
    if short and set(columns) == set(classes):
        raise InputError(f"{path}: {_some(short)}: must have a probability of each of {len(classes)} classes")
    return columns, list(record), [[row.get(name) for name in columns] for row in by_class]


def _faults_of_columns(columns: Sequence[str], truth: Truth) -> list[str]:
    known = set(truth.classes)
    faults = []
    if missing := [name for name in truth.classes if name not in columns]:
        faults.append(f"no probabilities of the class {_some(missing)} (must be one column a class)")
    if unknown := [name for name in columns if name not in known]:
        faults.append(f"{_some(unknown)} is no class of {truth.dataset} (allowed: {', '.join(truth.classes)})")
    if repeated := [name for name, count in Counter(columns).items() if count > 1 and name in known]:
        faults.append(f"the class {_some(repeated)} stands twice")
    return faults


def _faults_of_ids(ids: Sequence[Any], truth: Truth) -> list[str]:
    faults = []
    texts = [each for each in ids if isinstance(each, str)]
    if len(texts) != len(ids):
        faults.append(f"{len(ids) - len(texts)} rows have no text as {OBJECT_ID}")
    counts = Counter(texts)
    if missing := [object_id for object_id in truth.labels if object_id not in counts]:
        faults.append(f"{_some(missing)} missing (must be all {len(truth.labels)} test objects)")
    if unknown := [object_id for object_id in counts if object_id not in truth.labels]:
        faults.append(f"{_some(unknown)} no test object of {truth.dataset} ({truth.fingerprint[:8]})")
    if repeated := [object_id for object_id, count in counts.items() if count > 1]:
        faults.append(f"{_some(repeated)} there more than once")
    return faults


def _number(value: Any) -> float | None:
    """A cell as a number; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | np.floating):
        return None
    if isinstance(value, str) and "_" in value:  # Python reads 1_0 as 10
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _faults_of_values(ids: Sequence[Any], values: list[list[float | None]]) -> tuple[list[str], Float64[Array, "n c"]]:
    if not values:
        return [], np.zeros((0, 0))
    no_number = [object_id for object_id, row in zip(ids, values, strict=True) if None in row]
    faults = [f"of {_some(no_number)} a probability is no number"] if no_number else []
    numbers = [[0.0 if value is None else value for value in row] for row in values]
    rows = np.array(numbers, np.float64).reshape(len(values), -1)
    whole = np.array([None not in row for row in values], bool)
    finite = np.isfinite(rows).all(1)
    inside = ((rows >= 0) & (rows <= 1 + SUM_TOLERANCE)).all(1)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = rows.sum(1)
    of = np.array([shown(object_id) for object_id in ids], dtype=object)
    checks = (
        (whole & ~finite, "a probability is not finite"),
        (finite & (rows < 0).any(1), "a probability is negative"),
        (
            finite & (rows > 1 + SUM_TOLERANCE).any(1),
            "a probability is above 1 (no per cent, no logits)",
        ),
    )
    faults += [f"of {_listed(of[bad])} {what}" for bad, what in checks if bad.any()]
    off = whole & finite & inside & ~(np.abs(sums - 1) <= SUM_TOLERANCE)
    if off.any():
        first = sums[int(off.argmax())]
        to = f"the first to {first:.6g}, must be within {SUM_TOLERANCE:g}: give more digits"
        faults.append(f"of {_listed(of[off])} the probabilities do not sum to 1 ({to})")
    return faults, rows


def _some(names: Iterable[Any]) -> str:
    return _listed([shown(name) for name in names])


def _listed(texts: Iterable[str]) -> str:
    """The first three, and how many more there are."""
    found = list(texts)
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
