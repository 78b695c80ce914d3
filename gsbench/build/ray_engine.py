"""The engine of a cluster: Ray places each task on a core, or a share of a GPU, of any of its machines.

Workers write objects and shards themselves, so the folders must be on storage that all machines see under one path.
Retries are counted here and not by Ray, which would begin a task that runs out of memory again for ever.
"""

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from gsbench.build.engine import OUT_OF_MEMORY, THREAD_VARIABLES, FreshProcessNeeded, Task, Trials

_PATIENCE = 5.0
"""Seconds within which a cluster has to answer."""
# RFC 9113, section 3.4: the client's preface and an empty SETTINGS frame; the server's first frame is SETTINGS, too.
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HTTP2_SETTINGS = 4
_AHEAD = 2
"""Tasks that are handed to Ray for each that can run at once, so that no core waits for this process."""
_GOODBYE = 1.0
"""Seconds from a process's last answer to its end, in which the answer is on its way."""
_STORE_BYTES = 100 << 20


class RayEngine:
    """Runs tasks on a Ray cluster, to which this process is connected."""

    def __init__(self, workers: int | None, gpu_share: float) -> None:
        self._workers, self._gpu_share = workers, gpu_share

    def require_folders(self, folders: Sequence[Path]) -> None:
        """As `Engine.require_folders`."""
        ray = require_ray()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        seen = ray.remote(max_retries=0, num_cpus=0)(_first_unseen)
        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        asked = {
            node: seen.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(folders)
            for node in nodes
        }
        for node, answer in asked.items():
            if folder := ray.get(answer):
                raise ValueError(
                    f"{folder}: cannot be read on {nodes[node]}, a machine of the Ray cluster (all of them must see it "
                    "under this path)"
                )

    def require_gpu(self) -> None:
        """Raises a ValueError if no machine of the cluster has a GPU."""
        if not require_ray().cluster_resources().get("GPU"):
            raise ValueError("device: 'cuda' needs a GPU, and no machine of the Ray cluster has one; use device 'cpu'")

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[str, Any]]:
        """As `Engine.run`."""
        ray = require_ray()
        waiting, trials = deque(tasks), Trials()
        running: dict[Any, Task] = {}
        at_once = self._workers or _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    task = waiting.popleft()
                    running[self._begin(ray, task)] = task
                for reference in ray.wait(list(running))[0]:
                    task = running.pop(reference)
                    kind, value = _answer(ray, reference)
                    if kind == "failed":
                        raise value
                    if kind == "died" and (lost := trials.after_death(task, value)):
                        kind, value = "done", lost
                    if kind == "fresh":
                        trials.after_request(task, value)
                    if kind == "done":
                        yield task.name, value
                    else:
                        waiting.append(task)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def _begin(self, ray: ModuleType, task: Task) -> Any:
        remote = ray.remote(max_retries=0, num_cpus=1, num_gpus=self._gpu_share if task.fits else 0)(_run)
        environment = {"env_vars": dict.fromkeys(THREAD_VARIABLES, "1")}
        return remote.options(name=task.name, runtime_env=environment).remote(task.function, task.arguments)


@contextlib.contextmanager
def connected(address: str | None, workers: int | None, gpu_share: float) -> Iterator[RayEngine]:
    """Connects this process to a cluster, for as long as the block lasts.

    Args:
        address: `HOST:PORT` of the cluster's head, for a process on one of its machines; `auto` for the cluster that
            runs on this machine; `ray://HOST:PORT` from outside; None starts one here and ends it again.
        workers: tasks at a time; None is all cores of the cluster.
        gpu_share: of a GPU, for each task that fits; 0 where that is done on cores.

    Raises:
        ValueError: Ray is not installed, or no cluster answers at the address.
    """
    ray = require_ray()
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is not None:
        _require_listener(address)
    # Ray prints what befalls its machines on stdout, where results go.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            if address is None:
                ray.init("local", num_cpus=workers, include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet)
            else:
                ray.init(address, **quiet)
        except Exception as error:  # Ray's errors of connecting share no base class
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"ray_address: {address or 'none'}: no Ray cluster ({reason})") from None
        try:
            yield RayEngine(workers, gpu_share)
        finally:
            ray.shutdown()


def require_ray() -> ModuleType:
    """Ray; a ValueError holds the line that installs it."""
    try:
        import ray
    except ImportError:
        raise ValueError("engine: 'ray' needs Ray, install it: pip install 'gsbench-3d[ray]'") from None
    return ray


def _require_listener(address: str) -> None:
    if address == "auto":
        return
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not host or not port.isdecimal():
        raise ValueError(f"ray_address: {address!r} (must be HOST:PORT, ray://HOST:PORT or auto)")
    try:
        with socket.create_connection((host, int(port)), timeout=_PATIENCE) as connection:
            speaks = "RAY_USE_TLS" in os.environ or _speaks_grpc(connection)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"ray_address: {address}: does not answer ({reason}); is the cluster up?") from None
    if not speaks:
        raise ValueError(f"ray_address: {address}: what answers there is no Ray cluster")


def _speaks_grpc(connection: socket.socket) -> bool:
    """Whether a server greets as HTTP/2 has it, on which gRPC stands: Ray would wait a minute for one that does not."""
    connection.sendall(_HTTP2_GREETING)
    answer = b""
    while len(answer) < 4:
        received = connection.recv(64)
        if not received:
            return False
        answer += received
    return answer[3] == _HTTP2_SETTINGS


def _answer(ray: ModuleType, reference: Any) -> tuple[str, Any]:
    """What `_run` returned; `died` and how; `again` where the task is not to blame.

    Raises:
        ValueError: the cluster is gone.
    """
    errors = ray.exceptions
    try:
        kind, value = ray.get(reference)
    except (errors.WorkerCrashedError, errors.OutOfMemoryError) as error:
        return "died", " ".join(f"{type(error).__name__}: {error}".split())[:200]
    except errors.NodeDiedError:
        return "again", None
    except errors.RayError as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(f"build: the Ray cluster fails ({reason}); the same command goes on") from None
    return kind, value


_stale = threading.Event()


def _run(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """A task, in a process of Ray's: `done` and its result, `failed` and its exception, `fresh`, or `again`."""
    if _stale.is_set():
        time.sleep(0.1)
        return "again", None
    try:
        return "done", function(*arguments)
    except FreshProcessNeeded as request:
        # Ray gives a process the next task, if it does not end.
        _stale.set()
        threading.Timer(_GOODBYE, os._exit, (0,)).start()
        return "fresh", request
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Exception as error:
        return "failed", error


def _first_unseen(folders: Sequence[Path]) -> Path | None:
    return next((folder for folder in folders if not os.access(folder, os.R_OK)), None)
