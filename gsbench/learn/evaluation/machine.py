"""What a run took and on what: the `run` of a Result."""

import platform
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch

import gsbench
from gsbench.core.environment import give_back_memory
from gsbench.core.parsing import InputError
from gsbench.core.provenance import RunInfo
from gsbench.learn.train import Trained


def choose_device(name: str) -> torch.device:
    """The device that `--device` means: `auto` is CUDA where there is a GPU; an InputError where there is none."""
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device is '{name}' (allowed: auto, cpu, cuda)")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device is 'cuda', and torch finds no GPU (allowed here: auto, cpu)")
    return torch.device(name)


class PeakMemory:
    """The most memory in use since this was made: of the GPU where one is used, else of the process, with its code."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif not _forget_peak():
            self._before = _process_peak()

    def megabytes(self) -> float | None:
        """That peak; None where an earlier one was higher, and the machine cannot forget it."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 1e6
        peak = _process_peak()
        return peak / 1e6 if peak > self._before else None


def _forget_peak() -> bool:
    """Begins the process's peak anew, where Linux lets it, without what it kept of what earlier trainings freed."""
    give_back_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _process_peak() -> int:
    """The most bytes that the process had in memory at once, since its start or since that was forgotten."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def run_info(
    seed: int,
    device: torch.device,
    trained: Trained,
    train_objects: int,
    eval_seconds: float,
    peak_memory_mb: float | None,
) -> RunInfo:
    """The `run` of a Result.

    Args:
        seed: of the training.
        device: where it ran.
        trained: what training by labels took.
        train_objects: labeled objects.
        eval_seconds: that scoring took.
        peak_memory_mb: of this run alone; None where that is unknown.
    """
    commit, dirty = _source_state()
    return RunInfo(
        seed=seed,
        device=_device_name(device),
        selection="last",
        epochs=trained.epochs,
        train_objects=train_objects,
        train_seconds=round(trained.seconds, 3),
        eval_seconds=round(eval_seconds, 3),
        peak_memory_mb=None if peak_memory_mb is None else round(peak_memory_mb, 1),
        precision=trained.precision,
        versions={
            "gsbench": gsbench.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": version("numpy"),
        },
        commit=commit,
        dirty=dirty,
    )


def _device_name(device: torch.device) -> str:
    """Kind and model of what the model ran on, such as `cpu: AMD EPYC, 2 threads`."""
    if device.type == "cuda":
        return f"cuda: {_as_text(torch.cuda.get_device_name(device))}"
    return f"cpu: {_as_text(_processor())}, {torch.get_num_threads()} threads"


def _as_text(name: str) -> str:
    """A name that a machine gives itself, as a Result can hold it: who trained for hours must not lose the score."""
    printable = "".join(character if character.isprintable() else " " for character in name)
    return " ".join(printable.split())[:150] or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _source_state() -> tuple[str | None, bool | None]:
    """Commit of the checkout that gsbench runs from and whether it was changed; None if it is not a checkout."""
    source = Path(gsbench.__file__).resolve().parent
    try:
        commit = _git(source, "rev-parse", "HEAD")
        tracked = _git(source, "ls-files", "--", "__init__.py")
        changes = _git(source, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None, None
    return (commit, bool(changes)) if tracked else (None, None)


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
