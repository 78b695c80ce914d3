"""The work folder of a build, `.<name>.building` beside its output: what makes a build that is killed go on.

lock          held by the process that builds, with its number; it dies with its owner
build.json    the description of the build
objects/      how each object went, and its rows until they are in a shard
shards/       what each shard holds
folder/       the data folder as far as it is written; its rename to the output is the last step
placed.json   written before that step, so that a build killed right after it is known to be done
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsbench.core.files import TEMPORARY_PREFIX, parse_json, write_atomic
from gsbench.core.parsing import InputError, parse
from gsbench.produce.description import FORMAT, Description, Source, first_difference, mended_meshes, without_meshes
from gsbench.produce.made import forget, set_aside
from gsbench.store.create import require_free, telling_of_failed_writes
from gsbench.store.manifest import MANIFEST

_LOCK, _DESCRIPTION, _PLACED = "lock", "build.json", "placed.json"


@dataclass(frozen=True, slots=True)
class Work:
    """An open work folder, locked by this process.

    Attributes:
        path: the folder.
        out: where the data folder will be.
        description: of the build.
        placed: whether `out` is already the finished data folder.
    """

    path: Path
    out: Path
    description: Description
    placed: bool

    @property
    def advice(self) -> str:
        """What to do after a failure that leaves finished objects."""
        return f"what is finished stays in {self.path}, and the same command goes on with it"

    @property
    def objects(self) -> Path:
        """The folder of the objects' files."""
        return self.path / "objects"

    @property
    def shards(self) -> Path:
        """The folder of the files that say what each shard holds."""
        return self.path / "shards"

    @property
    def folder(self) -> Path:
        """The data folder as far as it is written."""
        return self.path / "folder"

    def place(self) -> None:
        """Makes the finished `folder` the output, in one step."""
        placed = {"manifest": _sha256(self.folder / MANIFEST), "build": _sha256(self.path / _DESCRIPTION)}
        write_atomic(self.path / _PLACED, json.dumps(placed).encode())
        os.replace(self.folder, self.out)


def work_path(out: Path) -> Path:
    """The work folder of a build into `out`."""
    return out.parent / f".{out.name}.building"


@contextlib.contextmanager
def open_work(out: Path, describe: Callable[[Mapping[str, Source]], Description]) -> Iterator[Work]:
    """Makes the work folder of a build into `out`, or goes on with the one that a killed build left.

    Meshes that were set aside may have been mended, renamed or removed since.

    The folder is removed if the block succeeds, and if it fails before any object is finished.

    Args:
        out: the output; a new or an empty folder.
        describe: returns the description of this build, given the meshes that the work folder knows.

    Raises:
        InputError: another process builds into `out`; the work folder is of another build, the message says what
            differs; `out` is taken or cannot be written; or the disk is full.
    """
    path = work_path(out)
    if not path.exists():
        require_free(out)
    with telling_of_failed_writes(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path, out):
            work = _enter(path, out, describe)
            try:
                yield work
            except BaseException as error:
                if not any(work.objects.glob("*/[!.]*.arrow")) and not any(work.shards.glob("[!.]*.json")):
                    _remove(path)
                elif isinstance(error, OSError):
                    reason = error.strerror or error
                    raise InputError(f"{out}: cannot be written ({reason}); {work.advice}") from error
                elif isinstance(error, KeyboardInterrupt):
                    raise KeyboardInterrupt(work.advice) from None
                raise
            _remove(path)


def _enter(path: Path, out: Path, describe: Callable[[Mapping[str, Source]], Description]) -> Work:
    before = _load_description(path)
    try:
        description = describe(before.meshes if before else {})
        mended = mended_meshes(before, description, set_aside(path / "objects")) if before else set()
        if before and (difference := _difference(before, description, mended)):
            raise InputError(
                f"{path}: holds another build into {out.name}: {difference}; give the command of that build to go on "
                f"with it, or delete that folder to start anew"
            )
        placed = before is not None and _is_placed(path, out)
        if not placed:
            require_free(out)
    except InputError:
        if before is None:
            _remove(path)
        raise
    work = Work(path, out, description, placed)
    if not placed:
        (path / _PLACED).unlink(missing_ok=True)
        for folder in (path, work.objects, work.shards, work.folder):
            folder.mkdir(exist_ok=True)
            _remove_unfinished(folder)
        forget(work.objects, mended)
        if before is None or mended:
            write_atomic(path / _DESCRIPTION, json.dumps(dataclasses.asdict(description)).encode())
    return work


def _difference(before: Description, description: Description, mended: Collection[str]) -> str | None:
    if mended:  # then names and counts in the data set's words may differ as well
        before, description = without_meshes(before, mended), without_meshes(description, mended)
    return first_difference(before, description)


def _remove_unfinished(folder: Path) -> None:
    """Removes what processes were writing when they were killed."""
    for path in folder.rglob(f"{TEMPORARY_PREFIX}*"):
        path.unlink(missing_ok=True)


def _load_description(path: Path) -> Description | None:
    """The description in a work folder; None if it was killed before that was written."""
    try:
        table: Any = parse_json((path / _DESCRIPTION).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        table = None
    found = table.get("format") if isinstance(table, dict) else None
    if found != FORMAT:
        raise InputError(
            f"{path}: holds a build of format {found!r} (this version of gsbench goes on with {FORMAT}); go on with it "
            "where it was begun, or delete that folder to start anew"
        )
    return parse(table, Description, str(path / _DESCRIPTION))


def _is_placed(path: Path, out: Path) -> bool:
    """Whether the build was killed after its output had appeared."""
    try:
        placed = parse_json((path / _PLACED).read_bytes())
        return bool(placed == {"manifest": _sha256(out / MANIFEST), "build": _sha256(path / _DESCRIPTION)})
    except (OSError, ValueError):
        return False


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def _locked(path: Path, out: Path) -> Iterator[None]:
    """Holds the folder's lock, which the operating system takes back when this process ends, however it ends."""
    while True:
        path.mkdir(exist_ok=True)
        handle = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.read(handle, 100).decode(errors="replace").strip()
                raise InputError(f"{out}: is being built already ({owner}); wait for it or end it") from None
            if not _is_file(handle, path / _LOCK):
                continue  # its owner finished and removed the folder in between
            os.truncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {os.uname().nodename}".encode())
            yield
            return
        finally:
            os.close(handle)


def _is_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    """Removes a work folder; the last to go are the files that tell what it was."""
    for name in ("objects", "shards", "folder"):
        shutil.rmtree(path / name, ignore_errors=True)
    for name in (_DESCRIPTION, _PLACED, _LOCK):
        (path / name).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
