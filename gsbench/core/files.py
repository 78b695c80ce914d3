"""Files written as a whole or not at all."""

import contextlib
import errno
import functools
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_PREFIX = ".unfinished-"
"""Begins the name of a file that is being written; what a killed process leaves can be told by it and removed."""
_RANDOM_DIGITS = 16
ABANDONED_SECONDS = 3600
"""Nothing takes so long to write: what is older was left by a process that was killed."""


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
