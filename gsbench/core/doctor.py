"""What this machine has, and the exact line that mends whatever is missing."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

from gsbench.core.environment import available_cores, user_caches

HUB_SECONDS = 3.0
GB = 1024**3
NEEDED_DISK = 2 * GB

_APT = "apt-get update && apt-get install -y --no-install-recommends"
_BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")

# In a process of its own: a driver that crashes must not take the doctor along.
_DRAW_ONE_TRIANGLE = """
import numpy as np
from gsbench.render.mesh.gl import GL, draw
triangle = np.array([[[-1, -1, 0], [1, -1, 0], [0, 1, 0]]], np.float32)
images = draw(triangle, np.ones(1, np.float32), {}, np.eye(4)[None], np.eye(4)[None], 16, 16)
assert next(images)[8, 8, 3] == 255, "a context, but nothing is drawn"
print(GL.glGetString(GL.GL_RENDERER).decode())
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a machine has or lacks.

    Attributes:
        name: what `--fix-line` takes.
        ok: whether it is there and works.
        required: whether scoring a model needs it.
        found: what is there, or what is wrong.
        fix: the line to type where it is not ok; None where there is nothing to type.
    """

    name: str
    ok: bool
    required: bool
    found: str
    fix: str | None = None


def _python() -> Check:
    return Check("python", True, True, platform.python_version())


def _torch() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("torch", False, True, f"cannot be imported: {_one_line(error)}", "pip install 'torch>=2.6'")
    return Check("torch", True, True, torch.__version__)


def _cpu() -> Check:
    cores, built = available_cores(), os.cpu_count() or 1
    counted = f"{cores} cores" if cores == built else f"{cores} of {built} cores may be used"
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    bf16 = next((flag for flag in _BF16_FLAGS if flag in flags), None)
    vectors = "AVX-512" if "avx512f" in flags else "no AVX-512"
    multiplies = f"bf16 by {bf16}" if bf16 else "no native bf16"
    return Check("cpu", True, False, f"{counted}, {platform.machine()}, {vectors}, {multiplies}")


def _threads() -> Check:
    import numba

    waiting = f"OMP_WAIT_POLICY is {os.environ.get('OMP_WAIT_POLICY', 'not set')}"
    try:
        threads = numba.get_num_threads()  # which starts them
    except ValueError as error:
        chosen = os.environ.get("NUMBA_THREADING_LAYER", "not set")
        found = f"NUMBA_THREADING_LAYER is {chosen}: {_one_line(error)}"
        return Check("threads", False, True, found, "unset NUMBA_THREADING_LAYER")
    layer = numba.threading_layer()
    found = f"numba's layer is {layer}, {threads} thread{'s' * (threads > 1)}; {waiting}"
    if layer == "tbb" and threads > 1:
        found += "; TBB's threads and those of torch take the cores from each other"
        return Check("threads", False, False, found, "export NUMBA_THREADING_LAYER=omp")
    return Check("threads", True, False, found)


def _cuda() -> Check:
    try:
        import torch
    except (ImportError, OSError):
        return Check("cuda", False, False, "needs torch first", "pip install 'torch>=2.6'")
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / GB
        return Check("cuda", True, False, f"{torch.cuda.get_device_name(0)}, {memory:.0f} GB")
    if shutil.which("nvidia-smi") is None:
        return Check("cuda", False, False, "no NVIDIA driver; all runs on the CPU")
    built = torch.version.cuda
    found = "a driver, but torch is its CPU build" if built is None else f"torch's CUDA {built} finds no device"
    return Check("cuda", False, False, found, "pip install --force-reinstall torch")


def _gsplat() -> Check:
    if importlib.util.find_spec("gsplat") is None:
        fix = "pip install 'gsbench-3d[cuda]'" if shutil.which("nvidia-smi") else None
        return Check("gsplat", False, False, "not installed; the CPU rasterizer is used", fix)
    version = importlib.metadata.version("gsplat")
    if importlib.util.find_spec("gsplat.csrc") is not None or _compiled_by_torch("gsplat_cuda"):
        return Check("gsplat", True, False, f"{version}, extension built")
    if shutil.which("nvidia-smi") is None or shutil.which("nvcc") is None:
        missing = "NVIDIA driver" if shutil.which("nvidia-smi") is None else "nvcc"
        found = f"{version}, extension not built: no {missing}; the CPU rasterizer is used"
        return Check("gsplat", False, False, found)
    build = "python -c 'from gsplat.cuda._backend import _C'"
    return Check("gsplat", False, False, f"{version}, extension not built; the first use takes minutes", build)


def _compiled_by_torch(extension: str) -> bool:
    """Whether torch's cache of compiled extensions holds this one; importing it would start the compiler."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR") or user_caches() / "torch_extensions"
    return any(Path(root).glob(f"**/{extension}/{extension}.so"))


def _egl() -> Check:
    if importlib.util.find_spec("pyrender") is None:
        return Check("egl", False, False, "pyrender is not installed", "pip install 'gsbench-3d[render]'")
    try:
        done = subprocess.run(
            [sys.executable, "-c", _DRAW_ONE_TRIANGLE], capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        return Check("egl", False, False, "drawing a triangle takes more than a minute", _fix_gl())
    if done.returncode == 0:
        return Check("egl", True, False, f"draws with {done.stdout.strip()}")
    other = "; OSMesa is here, but the renderer needs EGL" if find_library("OSMesa") else ""
    reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return Check("egl", False, False, f"no headless OpenGL: {reason[:120]}{other}", _fix_gl())


def _fix_gl() -> str:
    return f"{_APT} libegl1 libgl1 libgl1-mesa-dri"


def _hub() -> Check:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Check("hub", False, False, "switched off by HF_HUB_OFFLINE", "unset HF_HUB_OFFLINE")
    answers = threading.Event()
    # A thread, since looking up an address can outlast the request's own time limit.
    threading.Thread(target=_ask, args=(constants.ENDPOINT, answers), daemon=True).start()
    if answers.wait(HUB_SECONDS):
        return Check("hub", True, False, f"{constants.ENDPOINT} answers")
    found = f"{constants.ENDPOINT} does not answer within {HUB_SECONDS:.0f} s; data on this machine needs no network"
    return Check("hub", False, False, found)


def _ask(endpoint: str, answers: threading.Event) -> None:
    import urllib.error
    import urllib.request

    try:
        urllib.request.urlopen(f"{endpoint}/api/datasets?limit=1", timeout=HUB_SECONDS).close()
    except OSError:
        return
    answers.set()


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    return Check("disk", free >= NEEDED_DISK, False, f"{free / GB:.1f} GB free here", "pip cache purge")


def _cache() -> Check:
    from huggingface_hub import constants

    return _first_writable("cache", [Path(constants.HF_HOME)], "export HF_HOME=$(mktemp -d)")


def _numba_cache() -> Check:
    # Where numba looks for a place for its machine code, in its own order.
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    own = [Path(__file__).parent / "__pycache__", user_caches() / "numba"]
    return _first_writable("numba-cache", [Path(chosen)] if chosen else own, "export NUMBA_CACHE_DIR=$(mktemp -d)")


def _first_writable(name: str, folders: list[Path], fix: str) -> Check:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return Check(name, True, False, f"{folder} is writable")
        except OSError:
            continue
    return Check(name, False, False, f"not writable: {', '.join(map(str, folders))}", fix)


def _git() -> Check:
    found = shutil.which("git")
    return Check("git", found is not None, False, found or "results cannot name their commit", f"{_APT} git")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]


CHECKS: dict[str, Callable[[], Check]] = {
    "python": _python,
    "torch": _torch,
    "cpu": _cpu,
    "threads": _threads,
    "cuda": _cuda,
    "gsplat": _gsplat,
    "egl": _egl,
    "hub": _hub,
    "disk": _disk,
    "cache": _cache,
    "numba-cache": _numba_cache,
    "git": _git,
}


def examine() -> list[Check]:
    """Runs every check; the slow ones (a Hub that does not answer, a first OpenGL context) at the same time."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_run, CHECKS.items()))


def _run(item: tuple[str, Callable[[], Check]]) -> Check:
    name, check = item
    try:
        return check()
    except OSError as error:  # the machine lets nobody look; what else it has is still told
        return Check(name, False, False, f"cannot be looked at: {_one_line(error)}")
