"""What is set before numba and torch are loaded: their threads, and a place for compiled code on any machine."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gsbench.core import environment
from gsbench.core.environment import prepare

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "/proc/nowhere"
"""A folder that nobody can make, not even root."""

THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "NUMBA_THREADING_LAYER_PRIORITY": "omp workqueue tbb"}


@pytest.fixture
def bare(monkeypatch, tmp_path) -> dict[str, str]:
    """The environment of a process that has loaded neither numba nor torch, in an empty folder."""
    variables = {"HOME": str(tmp_path)}
    monkeypatch.setattr(os, "environ", variables)
    for module in ("numba", "torch"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(environment, "available_cores", lambda: len(os.sched_getaffinity(0)))
    return variables


def wanted(variables: dict[str, str]) -> dict[str, str]:
    """What `prepare` sets, in its order."""
    prepare()
    return {name: value for name, value in variables.items() if name not in ("HOME", "PYTEST_CURRENT_TEST")}


def test_numba_runs_in_openmp_and_threads_that_wait_sleep(bare):
    assert wanted(bare) == THREADS


@pytest.mark.parametrize(
    ("name", "value", "left_out"),
    [
        ("OMP_WAIT_POLICY", "ACTIVE", ()),
        ("NUMBA_THREADING_LAYER_PRIORITY", "tbb omp workqueue", ()),
        ("NUMBA_THREADING_LAYER", "tbb", ("NUMBA_THREADING_LAYER_PRIORITY",)),
        ("NUMBA_CACHE_DIR", NOWHERE, ()),
    ],
)
def test_what_the_user_has_set_stays(bare, name, value, left_out):
    bare[name] = value
    if name == "NUMBA_CACHE_DIR":
        bare["HOME"] = NOWHERE
    rest = {key: value for key, value in THREADS.items() if key not in left_out}
    assert wanted(bare) == rest | {name: value}


def test_the_users_file_of_settings_stays(bare):
    Path(".numba_config.yaml").write_text("threading_layer: tbb\n")
    assert wanted(bare).keys() == {"OMP_WAIT_POLICY"}


@pytest.mark.parametrize(("loaded", "set_still"), [("numba", "OMP_WAIT_POLICY"), ("torch", "NUMBA_")])
def test_what_is_loaded_has_read_its_settings(bare, monkeypatch, loaded, set_still):
    monkeypatch.setitem(sys.modules, loaded, sys)
    assert list(wanted(bare)) == [name for name in THREADS if name.startswith(set_still)]


def test_a_quota_of_cores_limits_the_threads(bare, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(environment, "available_cores", lambda: 3)
    bare["OMP_NUM_THREADS"] = "5"
    prepare()
    assert (bare["OMP_NUM_THREADS"], bare["NUMBA_NUM_THREADS"]) == ("5", "3")
    del bare["OMP_NUM_THREADS"]
    prepare()
    assert bare["OMP_NUM_THREADS"] == "3"


def no_passwd_entry(number: int) -> None:
    raise KeyError(number)


@pytest.mark.parametrize("home", [NOWHERE, None, "", "~"])
def test_without_a_home_compiled_code_goes_where_nobody_else_writes(bare, monkeypatch, tmp_path, home):
    monkeypatch.setattr(pwd, "getpwuid", no_passwd_entry)
    del bare["HOME"]
    if home is not None:
        bare["HOME"] = home
    if home == "":
        bare["XDG_CACHE_HOME"] = ""
    prepare()
    private = tmp_path / "tmp" / f"gsbench-{os.getuid()}"
    assert bare["NUMBA_CACHE_DIR"] == str(private / "numba")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    if home is None:
        assert bare["XDG_CACHE_HOME"] == str(private), "else libraries make a folder called `~`"
    prepare()
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("squat", ["mode", "owner", "link", "file"])
def test_a_folder_that_others_can_write_to_is_not_used(bare, monkeypatch, tmp_path, squat):
    bare["HOME"] = NOWHERE
    private = tmp_path / "tmp" / f"gsbench-{os.getuid()}"
    private.mkdir(mode=0o700)
    if squat == "mode":
        private.chmod(0o770)
    elif squat == "owner":
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        private.rename(private.with_name("gsbench-12345"))
    elif squat == "link":
        private.rename(tmp_path / "elsewhere")
        private.symlink_to(tmp_path / "elsewhere")
    else:
        private.rmdir()
        private.write_text("")
    prepare()
    assert "NUMBA_CACHE_DIR" not in bare


@pytest.fixture(scope="module")
def read_only_package(tmp_path_factory) -> Path:
    """A copy of gsbench that takes no compiled code."""
    root = tmp_path_factory.mktemp("installed")
    for folder, name in (
        ("gsbench", "gsbench"),
        ("baselines", "gsbench_baselines"),
        ("datasets_cards", "gsbench_cards"),
    ):
        shutil.copytree(ROOT / folder, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for source in root.rglob("*.py"):
        (source.parent / "__pycache__").write_text("no folder, so that root cannot write to it either")
    return root


def run_in(package: Path, folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with the copy and without a home, with `folder` for temporary files and as working directory."""
    unset = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", *THREADS)
    variables = {name: value for name, value in os.environ.items() if name not in unset}
    variables |= {"PYTHONPATH": str(package), "HOME": NOWHERE, "TMPDIR": str(folder)}
    return subprocess.run([sys.executable, *argv], env=variables, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_a_read_only_package_of_a_user_without_a_home(read_only_package, tmp_path):
    code = (
        "import gsbench, numba; from gsbench.core.image_kernels import similarity;"
        "import gsbench.render.splats.blend_kernels;"
        "numba.get_num_threads(); print(similarity._cache.cache_path, numba.threading_layer(), gsbench.__file__)"
    )
    done = run_in(read_only_package, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    cache, layer, source = done.stdout.split()
    assert Path(cache).is_relative_to(tmp_path / f"gsbench-{os.getuid()}" / "numba")
    assert layer in ("omp", "workqueue")
    assert Path(source).is_relative_to(read_only_package)


@pytest.mark.slow
@pytest.mark.parametrize("argv", [("convert", "mini:chair_0025", "out.spz"), ("eval", "--model", "pointnet++:quick")])
def test_no_place_at_all_is_one_line_with_the_remedy(read_only_package, tmp_path, argv):
    (tmp_path / f"gsbench-{os.getuid()}").mkdir()
    (tmp_path / f"gsbench-{os.getuid()}").chmod(0o777)
    if argv[0] == "eval":
        argv = (*argv, "--data", "mini")
    done = run_in(read_only_package, tmp_path, "-m", "gsbench", *argv)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("gsbench: error: NUMBA_CACHE_DIR: numba finds no folder for its machine code")
    assert "export NUMBA_CACHE_DIR=$(mktemp -d)" in done.stderr
