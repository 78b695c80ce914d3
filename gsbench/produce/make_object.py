"""The task that makes one object, in whatever process an engine runs it.

numba's code is not the same in the process that compiles it and in one that loads it from numba's cache: a function
that is not inlined has two translations then, and in the one process the linker takes the other one, whose sums are
rounded elsewhere. So that objects do not depend on who compiled when, none is kept that was made in a process which
compiled anything: it is made again in a fresh one, which finds everything in the cache.
"""

import errno
import traceback
from pathlib import Path

from numba.core.event import install_recorder

from gsbench.core.parsing import InputError
from gsbench.meshes.split import MeshFile
from gsbench.produce.engine import FreshProcessNeeded
from gsbench.produce.gpu_client import GpuLost
from gsbench.produce.objects import Fit, ObjectRows, build_object
from gsbench.produce.outcome import Outcome, keep_outcome, keep_rows
from gsbench.produce.preset import Preset
from gsbench.reconstruct import fit

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def make_object(file: MeshFile, recipe: Preset, objects: Path, fit: Fit = fit) -> Outcome:
    """Makes an object and keeps its rows in `objects`, or sets it aside with the reason; `fit` as for `build_object`.

    What is wrong with the mesh is written down. Whatever else is raised is a fault of gsbench: the reason says so. A
    file that cannot be opened may be readable tomorrow: that reason is returned and not kept, so that a resumed build
    tries again.

    Raises:
        FreshProcessNeeded: something was compiled on the way.
        OSError: `objects` cannot be written or the disk is full.
        MemoryError: there is too little memory.
        GpuLost: the process that owns the GPU is gone.
    """
    with install_recorder("numba:compile") as compiled:
        rows = _build(file, recipe, fit)
        outcome = rows if isinstance(rows, Outcome) else keep_rows(objects, file.object_id, rows)
    if compiled.buffer:
        raise FreshProcessNeeded("after compiling; NUMBA_CACHE_DIR must name a folder that can be written")
    if outcome.final:
        keep_outcome(objects, file.object_id, outcome)
    return outcome


def _build(file: MeshFile, recipe: Preset, fit: Fit) -> ObjectRows | Outcome:
    """The rows, or why there are none."""
    try:
        return build_object(file, recipe, fit)
    except (MemoryError, GpuLost):
        raise
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        return Outcome(reason=_one_line(error.strerror or str(error)), final=False)
    except InputError as error:
        return Outcome(reason=_one_line(str(error).removeprefix(f"{file.path}: ")))
    except Exception as error:  # whatever a strange mesh brings to light must not end a build of many thousand
        frame = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{Path(frame.filename).name}:{frame.lineno}"
        return Outcome(reason=_one_line(f"a fault of gsbench, at {at}: {type(error).__name__}: {error}"))


def _one_line(text: str) -> str:
    """The text as a manifest takes it: in a line, with what cannot be printed escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))
