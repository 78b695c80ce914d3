"""The task that makes one object, in whatever process an engine runs it."""

import errno
from pathlib import Path

from gsbench.build.objects import build_object
from gsbench.build.outcome import Outcome, keep_object, set_aside
from gsbench.build.preset import Preset
from gsbench.meshes.split import MeshFile

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def make_object(file: MeshFile, recipe: Preset, objects: Path) -> Outcome:
    """Makes an object and keeps its rows in `objects`, or sets it aside with the reason.

    What is wrong with the mesh is written down. A file that cannot be opened may be readable tomorrow: that reason is
    returned and not kept, so that a resumed build tries again.

    Raises:
        OSError: `objects` cannot be written or the disk is full.
        MemoryError: there is too little memory.
    """
    try:
        rows = build_object(file, recipe)
    except MemoryError:
        raise
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        return Outcome(reason=error.strerror or str(error))
    except ValueError as error:
        return set_aside(objects, file.object_id, _one_line(str(error).removeprefix(f"{file.path}: ")))
    except Exception as error:  # whatever a strange mesh brings to light must not end a build of many thousand
        return set_aside(objects, file.object_id, _one_line(f"{type(error).__name__}: {error}"))
    return keep_object(objects, file.object_id, rows)


def _one_line(text: str) -> str:
    return " ".join(text.split())
