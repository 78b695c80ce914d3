"""Whether a file is the one that a manifest lists: its kind, its size and its sha256, which is computed once.

A hash is remembered as long as the file's place, size, times and inode stay the same: that of any file within a
process, that of a large one beyond it, in $XDG_CACHE_HOME/gsbench. Where nothing can be written there it is computed by
each process. `gsbench verify` trusts none of it.
"""

import hashlib
import json
import os
import stat
import time
from pathlib import Path

from gsbench.core.files import write_atomic
from gsbench.core.parsing import InputError
from gsbench.store.manifest import MANIFEST, Shard
from gsbench.store.shards import file_sha256

HINT = "; run `gsbench verify`"
"""Ends the messages on shards that are not the manifest's."""

LARGE = 64_000_000
"""Bytes from which on a file's hash is remembered on disk: below it takes a tenth of a second at most."""

# A file that was changed just now may change again within the same tick of the file system's clock.
_SETTLED_SECONDS = 2.0

_Stamp = tuple[int, ...]
_known: dict[tuple[str, _Stamp], str] = {}


def check_size(path: Path, shard: Shard) -> None:
    """Raises an InputError unless `path` is a regular file, or a link to one, of the size that the manifest lists."""
    about = _stat(path)
    if about.st_size != shard.bytes:
        raise InputError(f"{path}: {about.st_size} bytes, {MANIFEST} says {shard.bytes}{HINT}")


def check_hash(path: Path, shard: Shard) -> None:
    """Raises an InputError unless the file's bytes are those that the manifest lists; reads them where it must."""
    check_size(path, shard)
    try:
        digest = _sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if digest != shard.sha256:
        raise InputError(
            f"{path}: shard is damaged or another (sha256 {digest[:12]}, {MANIFEST} says {shard.sha256[:12]}){HINT}"
        )


def _stat(path: Path) -> os.stat_result:
    try:
        about = path.stat()
    except OSError as error:  # a loop of links among them
        raise InputError(f"{path}: shard is missing ({error.strerror}){HINT}") from None
    if not stat.S_ISREG(about.st_mode):
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "a pipe or device"
        raise InputError(f"{path}: is {kind} (must be a file, a shard)")
    return about


def _sha256(path: Path) -> str:
    about = path.stat()
    place = os.path.realpath(path)
    stamp = (about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino, about.st_dev)
    large = about.st_size >= LARGE
    digest = _known.get((place, stamp)) or (_recall(place, stamp) if large else None)
    if digest is None:
        digest = file_sha256(path)
        if time.time() - max(about.st_mtime, about.st_ctime) < _SETTLED_SECONDS:
            return digest
        if large:
            _remember(place, stamp, digest)
    _known[place, stamp] = digest
    return digest


def _record(place: str) -> Path | None:
    """The file that remembers one shard's hash; None where the user has no home."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    try:
        cache = Path(chosen) if os.path.isabs(chosen) else Path.home() / ".cache"
    except RuntimeError:
        return None
    return cache / "gsbench" / "hashes" / f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}.json"


def _recall(place: str, stamp: _Stamp) -> str | None:
    record = _record(place)
    try:
        found = json.loads(record.read_bytes()) if record else None
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or (found.get("place"), found.get("stamp")) != (place, list(stamp)):
        return None
    return str(found.get("sha256"))


def _remember(place: str, stamp: _Stamp, digest: str) -> None:
    record = _record(place)
    if record is None:
        return
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(record, json.dumps({"place": place, "stamp": list(stamp), "sha256": digest}).encode())
    except (OSError, UnicodeError):
        pass  # it is computed again
