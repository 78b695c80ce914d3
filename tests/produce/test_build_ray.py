"""The engine of a cluster: the same bytes as on one machine, also if its processes are killed."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gsbench.meshes.split import list_meshes
from gsbench.produce.build import build
from gsbench.produce.engine import ATTEMPTS, Lost, WorkItem
from gsbench.produce.engines import inspect_machine
from gsbench.produce.ray_engine import connected
from tests.engine_tasks import die, double, fail, wait_for, want_fresh_process
from tests.killing import PRESET, finished
from tests.produce.test_build import assert_same_bytes
from tests.produce.test_build_kills import put_shapes
from tests.produce.test_build_local import is_alive, wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines with a core each, as far as Ray can see."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'gsbench-3d[ray]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        machines = Cluster()
        try:
            for _ in range(2):
                machines.add_node(num_cpus=1, object_store_memory=100 << 20, include_dashboard=False)
            machines.wait_for_nodes()
            yield machines
        finally:
            machines.shutdown()


def workers(names: set[str]) -> dict[int, str]:
    """Processes of Ray that are at work on a task of that name."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes().rstrip(b"\0").decode()
        except (OSError, UnicodeDecodeError):
            continue
        if name.removeprefix("ray::") in names:
            found[int(folder.name)] = name
    return found


def kill_a_worker(out: Path, names: set[str], killed: list[str]) -> None:
    """Kills a process that makes an object, once some are made."""
    while not killed:
        if len(finished(out)) >= 3:
            for pid, name in workers(names).items():
                os.kill(pid, signal.SIGKILL)
                killed.append(name)
                return
        time.sleep(0.01)


@pytest.mark.slow
def test_a_build_on_a_cluster_loses_nothing_when_a_worker_is_killed(cluster: Any, tmp_path: Path) -> None:
    meshes = put_shapes(tmp_path / "meshes", 1, 1)
    names, killed = {mesh.object_id for mesh in list_meshes(meshes)}, []
    killer = threading.Thread(target=kill_a_worker, args=(tmp_path / "ray", names, killed), daemon=True)
    killer.start()
    told: list[tuple[object, ...]] = []
    manifest = build(
        meshes,
        tmp_path / "ray",
        PRESET,
        progress=lambda *step: told.append(step),
        engine="ray",
        ray_address=cluster.address,
    )
    killer.join(timeout=60)
    assert len(killed) == 1
    assert manifest.set_aside == {}
    assert [step[1] for step in told if step[0] == "objects"] == list(range(21))
    build(meshes, tmp_path / "local", PRESET, workers=2)
    assert_same_bytes(tmp_path / "ray", tmp_path / "local")


@pytest.mark.slow
def test_tasks_on_a_cluster(cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [WorkItem(f"double {n}", double, (n,)) for n in range(8)]
    tasks.insert(1, WorkItem("unlucky", die, (tmp_path / "unlucky", ATTEMPTS - 1, "kill")))
    tasks.insert(3, WorkItem("deadly", die, (tmp_path / "deadly", ATTEMPTS, "kill")))
    tasks.insert(5, WorkItem("wish", want_fresh_process, (tmp_path / "wish", 2)))
    with connected(cluster.address, None, 0.0) as engine:
        results = dict(engine.run(tasks))
        with pytest.raises(OSError, match="No space left") as caught:
            list(engine.run([WorkItem("fail", fail, (OSError, 28, "No space left")), *tasks]))
        machines = engine.everywhere(
            WorkItem("inspect", inspect_machine, ([tmp_path, Path("/nowhere")], "software", "cpu"))
        )
        with pytest.raises(ValueError, match="no machine of the Ray cluster has one"):
            engine.require_gpu()
    assert caught.value.errno == 28
    assert list(machines.values()) == [inspect_machine([Path("/nowhere")], "software", "cpu")]
    assert results.pop("unlucky") == f"attempt {ATTEMPTS}"
    lost = results.pop("deadly")
    assert isinstance(lost, Lost)
    assert lost.reason == f"its worker process died {ATTEMPTS} times, at last for a reason that Ray's logs tell"
    assert results.pop("wish") == 3
    assert results == {f"double {n}": 2 * n for n in range(8)}
    assert capsys.readouterr().out == "", "results go there"


@pytest.mark.slow
def test_a_machine_that_goes_is_no_tasks_fault(cluster: Any, tmp_path: Path) -> None:
    third = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    cluster.wait_for_nodes()
    names = [f"slow {n}" for n in range(3)]
    with connected(cluster.address, 3, 0.0) as engine:
        run = engine.run([WorkItem(name, wait_for, (tmp_path / "gone", tmp_path / name)) for name in names])
        first: list[Any] = []
        taking = threading.Thread(target=lambda: first.extend(run))
        taking.start()
        wait_until(lambda: all((tmp_path / name).exists() for name in names))
        cluster.remove_node(third, allow_graceful=False)
        wait_until(lambda: not all(is_alive(int((tmp_path / name).read_text())) for name in names))
        (tmp_path / "gone").write_text("")
        taking.join(timeout=120)
    assert sorted(name for name, _ in first) == names
    begun = [result for _, result in first]
    assert sorted(begun) == [1, 1, 2], "one was on the machine that is gone"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_what_speaks_another_language_is_told() -> None:
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(64)

        threading.Thread(target=greet, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ValueError, match="what answers there is no Ray cluster"), connected(address, 1, 0):
            pass


def unused_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("somewhere", "ray_address: 'somewhere' .must be HOST:PORT, ray://HOST:PORT or auto"),
        ("host:port", "ray_address: 'host:port' .must be"),
        ("127.0.0.1:99999", "ray_address: 127.0.0.1:99999: does not answer"),
        (unused_port(), "does not answer .Connection refused.; is the cluster up"),
        (f"ray://{unused_port()}", "does not answer .Connection refused"),
    ],
    ids=["no port", "no number", "no such port", "nobody there", "nobody there, by the client"],
)
def test_a_cluster_that_is_not_there_is_told_at_once(tmp_path: Path, address: str, told: str) -> None:
    pytest.importorskip("ray")
    meshes = put_shapes(tmp_path / "meshes", 1, 1)
    with pytest.raises(ValueError, match=told):
        build(meshes, tmp_path / "out", PRESET, engine="ray", ray_address=address)
    assert [path.name for path in tmp_path.iterdir()] == ["meshes"]


def test_what_is_silent_is_told_within_seconds(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr("gsbench.produce.ray_engine._PATIENCE", 0.2)
    with pytest.raises(ValueError, match=f"{silent}: does not answer .timed out"), connected(silent, 1, 0):
        pass


def test_without_ray_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'gsbench-3d\[ray\]'"), connected(None, 1, 0):
        pass
