"""Which engine runs a build, and what all its machines must have in common."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gsbench.core.environment import available_cores
from gsbench.core.parsing import InputError
from gsbench.produce.description import Description, code_sha256, find_programs
from gsbench.produce.engine import Engine, WorkItem
from gsbench.produce.local import LocalEngine
from gsbench.produce.ray_engine import connected
from gsbench.render.splats.cuda import require_gsplat

ENGINES = ("local", "ray")
DEVICES = ("cpu", "cuda", "auto")


def choose_fit_device(device: str, engine: str) -> str:
    """`cpu` or `cuda`; `auto` is `cuda` where this machine has it.

    Raises:
        InputError: another device, or no CUDA on this machine, if that is to fit.
    """
    if device not in DEVICES:
        raise InputError(f"device: {device!r} (allowed: {', '.join(DEVICES)})")
    if device == "cuda" and engine == "local":
        require_gsplat()
    if device != "auto":
        return device
    try:
        require_gsplat()
    except ValueError:
        return "cpu"
    return "cuda"


@contextlib.contextmanager
def start_engine(
    engine: str, device: str, workers: int | None, ray_address: str | None, gpu_share: float
) -> Iterator[Engine]:
    """The engine of that name, ready to run tasks for as long as the block lasts.

    Raises:
        InputError: no such engine, a value out of range, or a cluster that cannot be used.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers: {workers} (must be at least 1)")
    if engine == "local":
        if ray_address is not None:
            raise InputError(f"ray_address: {ray_address} (only the engine ray has one)")
        yield LocalEngine(workers or available_cores())
    elif engine == "ray":
        if not 0 < gpu_share <= 1:
            raise InputError(f"gpu_share: {gpu_share} (must be above 0, up to 1)")
        with connected(ray_address, workers, gpu_share if device == "cuda" else 0.0) as cluster:
            if device == "cuda":
                cluster.require_gpu()
            yield cluster
    else:
        raise InputError(f"engine: {engine!r} (allowed: {', '.join(ENGINES)})")


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
    for name, machine in engine.everywhere(WorkItem("inspect", inspect_machine, (folders, renderer, device))).items():
        for folder in machine.unseen:
            raise InputError(f"{folder}: cannot be read on {name} (all machines must see it under this path)")
        theirs = {"gsbench code": machine.code, **machine.programs}
        for program, version in {"gsbench code": description.code, **description.programs}.items():
            if theirs[program] != version:
                raise InputError(f"{name}: {program} is {theirs[program]} there and {version} here (must be the same)")
