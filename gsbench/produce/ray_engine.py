"""The engine of a cluster: Ray places workers on the cores, or shares of the GPUs, of all its machines.

Workers write objects and shards themselves, so the folders must be on storage that all machines see under one path.
Retries are counted here and not by Ray, which would begin a task that runs out of memory again for ever.
"""

import contextlib
import io
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from gsbench.core.parsing import InputError
from gsbench.produce.engine import THREAD_VARIABLES, News, WorkerPool, WorkItem, run_here

_PATIENCE = 5.0
"""Seconds within which a cluster has to answer."""
# RFC 9113, section 3.4: the client's preface and an empty SETTINGS frame; the server's first frame is SETTINGS, too.
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HTTP2_SETTINGS = 4
_LOOK_AROUND = 5.0
"""Seconds after which it is asked whether the cluster has grown."""
_VERDICT_SECONDS = 60
"""After so long a process that Ray has lost sight of is given up."""
_STORE_BYTES = 100 << 20


class RayEngine:
    """Runs tasks on a Ray cluster, to which this process is connected."""

    def __init__(self, workers: int | None, gpu_share: float) -> None:
        self._workers, self._gpu_share = workers, gpu_share

    def everywhere(self, task: WorkItem) -> dict[str, Any]:
        """As `Engine.everywhere`, of all machines of the cluster."""
        ray = require_ray()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        remote = ray.remote(max_retries=0, num_cpus=0)(task.function)
        asked = {
            node["NodeManagerAddress"]: remote.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(*task.arguments)
            for node in ray.nodes()
            if node["Alive"]
        }
        try:
            return {machine: ray.get(answer) for machine, answer in asked.items()}
        except ray.exceptions.RayError as error:
            raise InputError(f"build: a machine of the Ray cluster cannot take part ({_one_line(error)})") from None

    def require_gpu(self) -> None:
        """Raises an InputError if no machine of the cluster has a GPU."""
        if not require_ray().cluster_resources().get("GPU"):
            raise InputError("device: 'cuda' needs a GPU, and no machine of the Ray cluster has one; use device 'cpu'")

    def run(self, tasks: Sequence[WorkItem]) -> Iterator[tuple[str, Any]]:
        """As `Engine.run`."""
        ray = require_ray()
        options = {
            "num_cpus": 1,
            "num_gpus": self._gpu_share if any(task.fits for task in tasks) else 0,
            "runtime_env": {"env_vars": dict.fromkeys(THREAD_VARIABLES, "1")},
        }

        def size() -> int:
            return self._workers or max(1, int(ray.cluster_resources().get("CPU", 1)))

        def wait(workers: Sequence[_Actor]) -> list[_Actor]:
            pending = [worker.pending for worker in workers if worker.pending is not None]
            done, _ = ray.wait(pending, timeout=_LOOK_AROUND)
            return [worker for worker in workers if worker.pending in done]

        return WorkerPool(lambda: _Actor(ray, options), size, wait).run(tasks)


class _Actor:
    """A worker process on any machine of the cluster, as seen from here; a `gsbench.produce.engine.Worker`.

    An actor, since Ray gives the process of a plain task to the next one, and a process that has compiled must end.
    """

    def __init__(self, ray: ModuleType, options: dict[str, Any]) -> None:
        self.task: WorkItem | None = None
        self.ready = False
        self._ray = ray
        self._handle = ray.remote(max_restarts=0, max_task_retries=0)(_Runner).options(**options).remote()
        self._node: str | None = None
        self.pending = self._handle.find_node.remote()

    def begin(self, task: WorkItem) -> None:
        self.task = task
        self.pending = self._handle.run.options(name=task.name).remote(task.function, task.arguments)

    def receive(self) -> tuple[News, Any]:
        pending, self.pending = self.pending, None
        try:
            answer = self._get(pending)
        except self._ray.exceptions.ActorDiedError:
            return ("died", "for a reason that Ray's logs tell") if self._is_node_alive() else ("gone", None)
        except self._ray.exceptions.OutOfMemoryError:
            return "died", "for want of memory"
        except self._ray.exceptions.ActorUnavailableError:
            return "gone", None
        if not self.ready:
            self.ready, self._node = True, answer
            return "ready", None
        return answer

    def _get(self, pending: Any) -> Any:
        """The answer to a call; an error of Ray's that `receive` understands, or an InputError for any other."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(pending)
        except errors.ActorUnavailableError:
            self._await_verdict()
            raise
        except (errors.ActorDiedError, errors.OutOfMemoryError):
            raise
        except errors.RayError as error:
            raise InputError(f"build: the Ray cluster fails ({_one_line(error)}); the same command goes on") from None

    def _await_verdict(self) -> None:
        """Waits until Ray knows what has become of a process that it lost sight of; raises its error if that died."""
        for _ in range(_VERDICT_SECONDS):
            time.sleep(1)
            with contextlib.suppress(self._ray.exceptions.ActorUnavailableError):
                self._ray.get(self._handle.find_node.remote())
                return

    def _is_node_alive(self) -> bool:
        return self._node is None or any(node["NodeID"] == self._node and node["Alive"] for node in self._ray.nodes())

    def kill(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._handle)


class _Runner:
    """The process itself."""

    def find_node(self) -> str:
        """The id of the machine that it is on."""
        return str(require_ray().get_runtime_context().get_node_id())

    def run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[News, Any]:
        """As `run_here`."""
        return run_here(function, arguments)


@contextlib.contextmanager
def connected(address: str | None, workers: int | None, gpu_share: float) -> Iterator[RayEngine]:
    """Connects this process to a cluster, for as long as the block lasts.

    Args:
        address: `HOST:PORT` of the cluster's head, for a process on one of its machines; `auto` for the cluster that
            runs on this machine; `ray://HOST:PORT` from outside; None starts one here and ends it again.
        workers: tasks at a time; None is all cores of the cluster.
        gpu_share: of a GPU, for each task that fits; 0 where that is done on cores.

    Raises:
        InputError: Ray is not installed, or no cluster answers at the address.
    """
    ray = require_ray()
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is not None:
        _require_listener(address)
    with contextlib.redirect_stdout(_WithoutRay(sys.stdout)):
        try:
            if address is None:
                ray.init("local", num_cpus=workers, include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet)
            else:
                ray.init(address, **quiet)
        except Exception as error:  # Ray's errors of connecting share no base class
            raise InputError(f"ray_address: {address or 'none'}: no Ray cluster ({_one_line(error)})") from None
        try:
            yield RayEngine(workers, gpu_share)
        finally:
            with contextlib.redirect_stdout(io.StringIO()):  # what its thread has held back
                ray.shutdown()


class _WithoutRay(io.TextIOBase):
    """Standard output without what a thread of Ray's prints there: deaths of workers, which this engine tells."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        rays = threading.current_thread().name.startswith("ray_")
        return len(text) if rays else int(self._stream.write(text))

    def flush(self) -> None:
        self._stream.flush()


def require_ray() -> ModuleType:
    """Ray; an InputError holds the line that installs it."""
    try:
        import ray
    except ImportError:
        raise InputError("engine: 'ray' needs Ray, install it: pip install 'gsbench-3d[ray]'") from None
    return ray


def _require_listener(address: str) -> None:
    if address == "auto":
        return
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not host or not port.isdecimal():
        raise InputError(f"ray_address: {address!r} (must be HOST:PORT, ray://HOST:PORT or auto)")
    try:
        with socket.create_connection((host, int(port)), timeout=_PATIENCE) as connection:
            speaks = "RAY_USE_TLS" in os.environ or _speaks_grpc(connection)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"ray_address: {address}: does not answer ({reason}); is the cluster up?") from None
    if not speaks:
        raise InputError(f"ray_address: {address}: what answers there is no Ray cluster")


def _speaks_grpc(connection: socket.socket) -> bool:
    """Whether a server greets as HTTP/2 has it, on which gRPC stands.

    Ray's own client says nothing for more than 100 seconds where another server, or none, is at the address (2.60).
    """
    connection.sendall(_HTTP2_GREETING)
    answer = b""
    while len(answer) < 4:
        received = connection.recv(64)
        if not received:
            return False
        answer += received
    return answer[3] == _HTTP2_SETTINGS


def _one_line(error: Exception) -> str:
    """The last line tells most of what Ray has to say: what was raised on the other machine."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[-1].strip()[:200]}"
