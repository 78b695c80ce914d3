"""The doctor: every check runs here, and says what to type where something is missing."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from gsbench import doctor
from gsbench.cli import main


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
        ("gsplat", "not installed; the CPU rasteriser is used", None),
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
