"""Objects made by worker processes: the task that makes one, and the files that keep it until its shards are written.

<objects>/<object_id>.json            how it went
<objects>/<config>/<object_id>.arrow  its rows in that config
<objects>/fitted/<object_id>.npz      its Gaussians, where another process fits them, see `gsbench.produce.gpu`

numba's code is not the same in the process that compiles it and in one that loads it from numba's cache: a function
that is not inlined has two translations then, and in the one process the linker takes the other one, whose sums are
rounded elsewhere. So that objects do not depend on who compiled when, none is kept that was made in a process which
compiled anything: it is made again in a fresh one, which finds everything in the cache.
"""

import contextlib
import dataclasses
import errno
import json
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from numba.core.event import install_recorder

from gsbench.core.files import atomic_path, parse_json, write_atomic
from gsbench.core.parsing import InputError, parse
from gsbench.meshes.split import MeshFile
from gsbench.produce.engine import FreshProcessNeeded
from gsbench.produce.objects import Fit, ObjectRows, build_object, rows_of_object
from gsbench.produce.preset import Preset
from gsbench.reconstruct import fit
from gsbench.store.schema import CONFIGS, Schema
from gsbench.store.shards import save_rows

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Made:
    """How one object went: its scores, or the reason why it was set aside.

    Attributes:
        psnr: on the held-out views, dB.
        ssim: on the held-out views.
        file_bytes: config to the size of the file with its rows.
        row_bytes: config to the most that its rows take in a shard.
        reason: why it was set aside, in a line; then the others mean nothing.
        final: whether it would go the same way again; False for what is wrong with the machine, not with the mesh.
    """

    psnr: float = 0.0
    ssim: float = 0.0
    file_bytes: dict[str, int] = field(default_factory=dict)
    row_bytes: dict[str, int] = field(default_factory=dict)
    reason: str | None = None
    final: bool = True


def rows_path(objects: Path, config: str, object_id: str) -> Path:
    """The file with the rows of an object in one config, for `gsbench.store.shards.load_rows`."""
    return objects / config / f"{object_id}.arrow"


def fitted_path(objects: Path, object_id: str) -> Path:
    """The file with the Gaussians of an object that is not made yet."""
    return objects / "fitted" / f"{object_id}.npz"


def _made_path(objects: Path, object_id: str) -> Path:
    return objects / f"{object_id}.json"


def make_object(file: MeshFile, recipe: Preset, objects: Path, fit: Fit = fit) -> Made:
    """Makes an object and keeps its rows in `objects`, or sets it aside with the reason; `fit` as for `build_object`.

    What is wrong with the mesh is written down. Whatever else is raised is a fault of gsbench: the reason says so. A
    file that cannot be opened may be readable tomorrow: that reason is returned and not kept, so that a resumed build
    tries again.

    Raises:
        FreshProcessNeeded: something was compiled on the way.
        OSError: `objects` cannot be written or the disk is full.
        MemoryError: there is too little memory.
    """
    with nothing_compiled():
        rows = _build(file, recipe, fit)
        made = rows if isinstance(rows, Made) else _keep_rows(objects, file.object_id, rows, recipe)
    if made.final:
        keep_made(objects, file.object_id, made)
        fitted_path(objects, file.object_id).unlink(missing_ok=True)
    return made


@contextlib.contextmanager
def nothing_compiled() -> Iterator[None]:
    """Raises `FreshProcessNeeded` at the end of a block in which numba compiled something."""
    with install_recorder("numba:compile") as compiled:
        yield
    if compiled.buffer:
        raise FreshProcessNeeded("after compiling; NUMBA_CACHE_DIR must name a folder that can be written")


def _build(file: MeshFile, recipe: Preset, fit: Fit) -> ObjectRows | Made:
    """The rows, or why there are none."""
    try:
        return build_object(file, recipe, fit)
    except MemoryError:
        raise
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        return Made(reason=_one_line(error.strerror or str(error)), final=False)
    except InputError as error:
        return Made(reason=reason_of(error, file))
    except Exception as error:  # whatever a strange mesh brings to light must not end a build of many thousand
        frame = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{Path(frame.filename).name}:{frame.lineno}"
        return Made(reason=_one_line(f"a fault of gsbench, at {at}: {type(error).__name__}: {error}"))


def reason_of(error: InputError, file: MeshFile) -> str:
    """Why an object is set aside, in a line that does not name its file."""
    return _one_line(str(error).removeprefix(f"{file.path}: "))


def _one_line(text: str) -> str:
    """The text as a manifest takes it: in a line, with what cannot be printed escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))


def _keep_rows(objects: Path, object_id: str, rows: ObjectRows, recipe: Preset) -> Made:
    """Writes the files with an object's rows; OSError if the folder cannot be written or the disk is full."""
    file_bytes, row_bytes = {}, {}
    for config in CONFIGS:
        schema = Schema(config, (), (recipe.fit.sh_degree + 1) ** 2, recipe.store.float_type)
        path = rows_path(objects, config, object_id)
        with atomic_path(path) as temporary:
            row_bytes[config] = save_rows(temporary, schema, rows_of_object(object_id, rows, config))
        file_bytes[config] = path.stat().st_size
    return Made(rows.psnr, rows.ssim, file_bytes, row_bytes)


def keep_made(objects: Path, object_id: str, made: Made) -> None:
    """Writes down how an object went: if that is final, it is not made again. OSError if that fails."""
    write_atomic(_made_path(objects, object_id), json.dumps(dataclasses.asdict(made)).encode())


def load_made(objects: Path, object_ids: Iterable[str]) -> dict[str, Made]:
    """How those objects went that are finished for good; whether their rows are still there is another matter."""
    found = {}
    for object_id in object_ids:
        path = _made_path(objects, object_id)
        with contextlib.suppress(OSError, ValueError):
            made = parse(parse_json(path.read_bytes()), Made, str(path))
            if made.final:
                found[object_id] = made
    return found


def has_rows(objects: Path, config: str, object_id: str, made: Made) -> bool:
    """Whether the file with an object's rows in one config is there and whole."""
    try:
        return rows_path(objects, config, object_id).stat().st_size == made.file_bytes.get(config)
    except OSError:
        return False


def set_aside(objects: Path) -> set[str]:
    """Ids of the objects that were set aside, for good or not."""
    found = set()
    for path in objects.glob("[!.]*.json"):
        with contextlib.suppress(OSError, ValueError):
            if parse(json.loads(path.read_bytes()), Made, str(path)).reason:
                found.add(path.stem)
    return found


def forget(objects: Path, object_ids: Iterable[str]) -> None:
    """Removes what is kept of objects, so that they are made anew; OSError if that fails."""
    for object_id in object_ids:
        rows = (rows_path(objects, config, object_id) for config in CONFIGS)
        for path in (_made_path(objects, object_id), fitted_path(objects, object_id), *rows):
            path.unlink(missing_ok=True)
