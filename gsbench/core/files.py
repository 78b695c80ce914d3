"""Files: written as a whole or not at all; TOML and JSON that people and programs hand in, read within limits.

Whatever reading may raise becomes an InputError, and what would fail later is refused here: a file that is no regular
one or too large, nesting without end, keys given twice, numbers beyond 64 bits, strings that no file can hold.
"""

import contextlib
import errno
import functools
import json
import os
import re
import secrets
import shutil
import stat
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gsbench.core.parsing import InputError, shown

TEMPORARY_PREFIX = ".unfinished-"
"""Begins the name of a file that is being written; what a killed process leaves can be told by it and removed."""
_RANDOM_DIGITS = 16
ABANDONED_SECONDS = 3600
"""Nothing takes so long to write: what is older was left by a process that was killed."""

MAX_JSON_BYTES, MAX_TOML_BYTES = 32_000_000, 1_000_000
"""Largest files that are parsed: JSON made for it takes 50 times its size of memory, TOML a second a megabyte."""

_MAX_DEPTH = 64  # of tables and lists within each other
_INT64 = range(-(1 << 63), 1 << 63)
_NESTED = (dict, list)
_TOO_DEEP = f"tables and lists stand more than {_MAX_DEPTH} deep in each other"
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
# tomllib takes a time that grows with the square of a dotted key's length.
_LONG_KEY = re.compile(rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{_MAX_DEPTH}}}""")


def write_atomic(path: Path, data: bytes) -> None:
    """Writes `data` to `path` as `atomic_path` does.

    Raises:
        OSError: the folder cannot be made or written, or the disk is full; `path` is then as it was.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary file in the folder of `path`, with its suffix, that takes its place once it is safe on the disk.

    A link stays one: the file that it leads to is replaced. A file that is replaced keeps its permissions and, where
    that is allowed, its owner; a new one has those of any new file.

    Raises:
        OSError: the folder cannot be made or written, `path` is read-only or no regular file, or the disk is full; it
            names `path`. Whatever fails, `path` is as it was.
    """
    target = Path(os.path.realpath(path))
    temporary = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(_RANDOM_DIGITS // 2)}{target.suffix}"
    try:
        before = _replaceable(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent)
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666 if before is None else 0o600)
        with os.fdopen(handle, "rb") as file:
            yield temporary
            os.fsync(file.fileno())
        if before is not None:
            _take_after(temporary, before)
        temporary.replace(target)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename in (None, str(temporary), str(target)):
            error.filename, error.filename2 = str(path), None
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _replaceable(path: Path) -> os.stat_result | None:
    """What a file is that is to be replaced, None where there is none; an OSError where it must not be."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EINVAL, "is no regular file (must be one, or a new one)")
    # By the mode too: root may write to every file, and this one was protected on purpose.
    if not found.st_mode & 0o222 or not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "is read-only (make it writable, or name another file)")
    return found


def _take_after(path: Path, other: os.stat_result) -> None:
    """Gives a file the permissions of another and, where that is allowed, its owner."""
    own = path.stat()
    if (own.st_uid, own.st_gid) != (other.st_uid, other.st_gid):
        with contextlib.suppress(PermissionError):
            os.chown(path, other.st_uid, other.st_gid)
    path.chmod(stat.S_IMODE(other.st_mode) & 0o777)


def temporary_folder(parent: Path) -> Path:
    """A new folder in `parent`, to be filled and renamed; a killed process's is removed as its files are.

    Raises:
        OSError: `parent` cannot be written.
    """
    remove_leftovers(parent)
    folder = parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(_RANDOM_DIGITS // 2)}"
    folder.mkdir(mode=0o700)
    return folder


@functools.cache
def remove_leftovers(folder: Path) -> None:
    """Removes temporary files and folders of killed processes: those that nobody has written to for an hour."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}{'[0-9a-f]' * _RANDOM_DIGITS}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime <= ABANDONED_SECONDS:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


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
