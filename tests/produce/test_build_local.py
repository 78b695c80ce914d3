"""The engine of one machine: what becomes of tasks whose processes die, and of processes whose parent dies."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gsbench.produce.engine import ATTEMPTS, FRESH_PROCESSES, OUT_OF_MEMORY, Lost, WorkItem, run_here
from gsbench.produce.local import LocalEngine, describe_exit
from tests.engine_tasks import die, double, fail, process, sleep_for_ever, want_fresh_process

ROOT = Path(__file__).resolve().parents[2]


class Odd(Exception):
    """An exception that pickle cannot make again."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"sum {one + two}")


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never comes true"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def test_every_task_is_run_once_in_single_threaded_processes() -> None:
    tasks = [WorkItem(f"double {n}", double, (n,)) for n in range(20)]
    tasks += [WorkItem(f"process {n}", process, ()) for n in range(20)]
    finished = list(LocalEngine(2).run(tasks))
    results = dict(finished)
    assert len(finished) == len(results) == 40
    assert all(results[f"double {n}"] == 2 * n for n in range(20))
    pids = {results[f"process {n}"][0] for n in range(20)}
    assert len(pids) <= 2
    assert os.getpid() not in pids
    assert results["process 0"][1] == {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    assert not any(is_alive(pid) for pid in pids)


def test_no_tasks_need_no_process() -> None:
    assert list(LocalEngine(2).run([])) == []


def test_a_task_whose_process_dies_is_begun_again_and_in_the_end_given_up(tmp_path: Path) -> None:
    tasks = [WorkItem(f"double {n}", double, (n,)) for n in range(6)]
    tasks.insert(1, WorkItem("unlucky", die, (tmp_path / "unlucky", ATTEMPTS - 1, "kill")))
    tasks.insert(3, WorkItem("deadly", die, (tmp_path / "deadly", ATTEMPTS, "kill")))
    tasks.insert(4, WorkItem("large", die, (tmp_path / "large", 1, "memory")))
    results = dict(LocalEngine(2).run(tasks))
    assert results.pop("unlucky") == f"attempt {ATTEMPTS}"
    assert results.pop("large") == "attempt 2"
    told = f"its worker process died {ATTEMPTS} times, at last killed by signal 9 (SIGKILL, as for want of memory)"
    assert results.pop("deadly") == Lost(told)
    assert len((tmp_path / "deadly").read_text().split()) == ATTEMPTS
    assert results == {f"double {n}": 2 * n for n in range(6)}


@pytest.mark.parametrize(
    ("code", "told"),
    [(7, "with exit status 7"), (OUT_OF_MEMORY, "out of memory"), (-11, "killed by signal 11 (SIGSEGV)")],
)
def test_how_a_process_ended_is_told(code: int, told: str) -> None:
    assert describe_exit(code) == told


def test_a_task_gets_the_fresh_process_that_it_asks_for(tmp_path: Path) -> None:
    wish = WorkItem("wish", want_fresh_process, (tmp_path / "trace", ATTEMPTS))
    assert dict(LocalEngine(1).run([wish, WorkItem("one", double, (1,))])) == {"wish": ATTEMPTS + 1, "one": 2}


def test_a_task_that_is_never_content_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"wish asked for {FRESH_PROCESSES} fresh processes in vain: in a test"):
        list(LocalEngine(1).run([WorkItem("wish", want_fresh_process, (tmp_path / "trace", 1000))]))


def test_an_exception_ends_the_run_and_its_processes(tmp_path: Path) -> None:
    tasks = [
        WorkItem("sleep", sleep_for_ever, (tmp_path / "pid",)),
        WorkItem("fail", fail, (OSError, 28, "No space left")),
    ]
    with pytest.raises(OSError, match="No space left") as caught:
        list(LocalEngine(2).run(tasks))
    assert caught.value.errno == 28
    assert "engine_tasks.py" in caught.value.__notes__[0], "where it was raised"
    assert not any(is_alive(int(pid)) for pid in (tmp_path / "pid").read_text().split())


def test_an_exception_that_cannot_be_sent_is_told_in_words() -> None:
    news, error = run_here(fail, (Odd, 1, 2))
    assert (news, type(error), str(error)) == ("failed", RuntimeError, "Odd: sum 3")


def test_a_run_that_is_left_ends_its_processes(tmp_path: Path) -> None:
    run = LocalEngine(2).run([WorkItem("sleep", sleep_for_ever, (tmp_path / "pid",)), WorkItem("one", double, (1,))])
    assert next(run) == ("one", 2)
    wait_until((tmp_path / "pid").exists)
    run.close()
    assert not is_alive(int((tmp_path / "pid").read_text()))


RUN = """
import pathlib, signal, sys
from gsbench.produce.engine import WorkItem
from gsbench.produce.local import LocalEngine, describe_exit
from tests.engine_tasks import sleep_for_ever
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
    list(LocalEngine(2).run([WorkItem(name, sleep_for_ever, (pathlib.Path(sys.argv[1]),)) for name in "ab"]))
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent_however_it_ends(tmp_path: Path, sent: signal.Signals) -> None:
    (tmp_path / "run.py").write_text(RUN)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "run.py", tmp_path / "pids"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2)
    workers = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    parent.send_signal(sent)
    parent.wait(timeout=60)
    wait_until(lambda: not any(is_alive(pid) for pid in workers), seconds=20)


NO_GUARD = """
from gsbench.produce.engine import WorkItem
from gsbench.produce.local import LocalEngine, describe_exit
from tests.engine_tasks import double
list(LocalEngine(1).run([WorkItem("one", double, (1,))]))
"""


def test_processes_that_cannot_begin_are_told(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(NO_GUARD)
    done = subprocess.run(
        [sys.executable, tmp_path / "run.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = f"{ATTEMPTS} workers, one after the other, died before they began (with exit status 1)"
    assert done.stderr.rstrip().endswith(f"InputError: build: {told}")
