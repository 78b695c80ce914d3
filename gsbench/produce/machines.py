"""What all machines of a build must have in common."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gsbench.core.parsing import InputError
from gsbench.produce.description import Description, code_sha256, find_programs
from gsbench.produce.engine import Engine, Task


@dataclass(frozen=True, slots=True)
class Machine:
    """What one machine has.

    Attributes:
        unseen: the folders that it cannot read.
        code: as in `Description`.
        programs: as in `Description`.
    """

    unseen: tuple[Path, ...]
    code: str
    programs: dict[str, str]


def inspect_machine(folders: Sequence[Path], renderer: str, device: str) -> Machine:
    """Looks at the machine that this process runs on."""
    unseen = tuple(folder for folder in folders if not os.access(folder, os.R_OK | os.X_OK))
    return Machine(unseen, code_sha256()[:12], find_programs(renderer, device))


def require_alike(engine: Engine, folders: Sequence[Path], description: Description) -> None:
    """Makes sure that every machine sees the folders and makes the same bytes as this one would.

    Raises:
        InputError: one does not; the message names it.
    """
    renderer, device = description.recipe["render"]["renderer"], description.programs["device"]
    for name, machine in engine.everywhere(Task("inspect", inspect_machine, (folders, renderer, device))).items():
        for folder in machine.unseen:
            raise InputError(f"{folder}: cannot be read on {name} (all machines must see it under this path)")
        theirs = {"gsbench code": machine.code, **machine.programs}
        for program, version in {"gsbench code": description.code, **description.programs}.items():
            if theirs[program] != version:
                raise InputError(f"{name}: {program} is {theirs[program]} there and {version} here (must be the same)")
