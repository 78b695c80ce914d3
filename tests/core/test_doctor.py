"""The doctor: every check runs here, and says what to type where something is missing."""

import dataclasses
import json
import os
import pwd
import sys
from pathlib import Path

import pytest

from gsbench.cli import main
from gsbench.core import doctor


@pytest.fixture
def nothing(monkeypatch, tmp_path):
    """A machine that lacks all that can be hidden from this process."""
    for module in ("torch", "gsplat", "pyrender"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "cache"))


def test_every_check_runs_on_this_machine():
    checks = doctor.examine()
    assert [check.name for check in checks] == list(doctor.CHECKS)
    by_name = {check.name: check for check in checks}
    assert by_name["torch"].ok
    assert by_name["python"].found == ".".join(map(str, sys.version_info[:3]))
    assert not by_name["hub"].ok, "the tests run with HF_HUB_OFFLINE"
    assert by_name["hub"].fix == "unset HF_HUB_OFFLINE"


@pytest.mark.parametrize(
    ("name", "found", "fix"),
    [
        ("torch", "cannot be imported", "pip install 'torch>=2.6'"),
        ("cuda", "needs torch first", "pip install 'torch>=2.6'"),
        ("gsplat", "not installed; the CPU rasterizer is used", None),
        ("egl", "pyrender is not installed", "pip install 'gsbench-3d[render]'"),
        ("numba-cache", "not writable", "export NUMBA_CACHE_DIR=$(mktemp -d)"),
        ("git", "cannot name their commit", "apt-get update && apt-get install -y --no-install-recommends git"),
    ],
)
def test_what_is_missing_is_said_with_its_line(nothing, name, found, fix):
    check = doctor.CHECKS[name]()
    assert not check.ok
    assert check.required == (name == "torch")
    assert found in check.found
    assert check.fix == fix


def test_a_machine_without_egl(monkeypatch):
    monkeypatch.setattr(doctor, "_DRAW_ONE_TRIANGLE", "raise ValueError('no EGL device')")
    check = doctor.CHECKS["egl"]()
    assert not check.ok
    assert "ValueError: no EGL device" in check.found
    assert check.fix.endswith("libegl1 libgl1 libgl1-mesa-dri")


def test_threads():
    check = doctor.CHECKS["threads"]()
    assert check.ok
    assert check.found.startswith("numba's layer is omp, 1 thread; OMP_WAIT_POLICY is PASSIVE")


def test_threads_of_tbb_beside_those_of_torch(monkeypatch):
    monkeypatch.setattr("numba.get_num_threads", lambda: 2)
    monkeypatch.setattr("numba.threading_layer", lambda: "tbb")
    check = doctor.CHECKS["threads"]()
    assert (check.ok, check.required, check.fix) == (False, False, "export NUMBA_THREADING_LAYER=omp")
    assert "numba's layer is tbb, 2 threads" in check.found


def test_a_threading_layer_that_is_not_there(monkeypatch):
    def launch() -> int:
        raise ValueError("No threading layer could be loaded.\nHINT:\nIntel TBB is required")

    monkeypatch.setattr("numba.get_num_threads", launch)
    monkeypatch.setenv("NUMBA_THREADING_LAYER", "tbb")
    check = doctor.CHECKS["threads"]()
    assert (check.ok, check.required, check.fix) == (False, True, "unset NUMBA_THREADING_LAYER")
    assert check.found.startswith("NUMBA_THREADING_LAYER is tbb: No threading layer could be loaded. HINT")


def test_cores_that_may_not_be_used(monkeypatch):
    monkeypatch.setattr(doctor, "available_cores", lambda: 3)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert doctor.CHECKS["cpu"]().found.startswith("3 of 8 cores may be used, ")


@pytest.mark.slow
def test_a_user_without_a_home(monkeypatch):
    def no_entry(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    assert [check.name for check in doctor.examine()] == list(doctor.CHECKS)


def test_a_check_that_may_not_look(monkeypatch):
    def forbidden() -> doctor.Check:
        raise PermissionError(13, "Permission denied", "/usr/bin/python")

    monkeypatch.setattr(doctor, "CHECKS", {"egl": forbidden})
    (check,) = doctor.examine()
    assert (check.name, check.ok, check.required) == ("egl", False, False)
    assert check.found == "cannot be looked at: [Errno 13] Permission denied: '/usr/bin/python'"


def test_a_full_disk(monkeypatch):
    usage = doctor.shutil.disk_usage(Path.cwd())._replace(free=10**9)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    assert not doctor.CHECKS["disk"]().ok


@pytest.mark.parametrize(("required", "status"), [(True, 1), (False, 0)])
def test_only_what_is_required_fails(monkeypatch, capsys, required, status):
    missing = doctor.Check("thing", False, required, "not there", "install thing")
    monkeypatch.setattr(doctor, "examine", lambda: [missing])
    assert main(["doctor"]) == status
    assert "mend it: install thing" in capsys.readouterr().out
    assert main(["doctor", "--json"]) == status
    assert json.loads(capsys.readouterr().out) == [dataclasses.asdict(missing)]


@pytest.mark.parametrize("ok", [True, False])
def test_fix_line_is_printed_only_where_it_is_needed(monkeypatch, capsys, ok):
    monkeypatch.setitem(doctor.CHECKS, "egl", lambda: doctor.Check("egl", ok, False, "", "the line"))
    assert main(["doctor", "--fix-line", "egl"]) == 0
    assert capsys.readouterr().out == ("" if ok else "the line\n")
