"""The process that owns the GPU, and builds that use it: on a CPU in the GPU's place, and on CUDA."""

import dataclasses
import functools
import subprocess
import sys
import threading
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsbench.cli import main
from gsbench.core.types import Views
from gsbench.produce import engines, gpu, gpu_client, gpu_service
from gsbench.produce.build import build
from gsbench.produce.engine import Task
from gsbench.produce.gpu import default_workers, gpu_fit, serving
from gsbench.produce.gpu_client import GpuLost, RemoteFit
from gsbench.produce.gpu_service import Setup
from gsbench.produce.local import LocalEngine
from gsbench.produce.verification import verify
from gsbench.reconstruct import FitRecipe, Fitted, Stage
from gsbench.reconstruct.cuda.batch import fit_batch
from gsbench.reconstruct.cuda.prepared import Prepared, prepare
from gsbench.store.folder import open_folder, read_table
from tests.gpu_stand_ins import crowded, fragile, noting
from tests.gpu_tasks import fit_one
from tests.produce.test_build import TINY, meshes, tiny_preset  # noqa: F401
from tests.reconstruct.test_fit import ball
from tests.render.splat_reference import FIELDS, dense

RECIPE = FitRecipe((Stage(16, 6),), num_gaussians=40, sh_degree=0, hull_resolution=16)
SIZE = 16


@pytest.fixture(scope="module")
def views() -> Views:
    return ball(8, SIZE)


def setup(rasterise=dense, at_once: int | None = None) -> Setup:
    return Setup(RECIPE, at_once, "cpu", rasterise)


@pytest.fixture(scope="module")
def service():
    with serving(setup()) as fit:
        yield fit


def equal(a: Fitted, b: Fitted) -> bool:
    same = all(np.array_equal(getattr(a.gaussians, name), getattr(b.gaussians, name)) for name in FIELDS)
    return same and (a.psnr, a.ssim) == (b.psnr, b.ssim)


def test_a_fit_elsewhere_is_that_fit(service: RemoteFit, views: Views) -> None:
    (here,) = fit_batch([prepare(views, views[:2], RECIPE, 3, torch.device("cpu"))], RECIPE, dense)
    there = service(views, RECIPE, 3, views[:2])
    for name in FIELDS:
        np.testing.assert_allclose(getattr(there.gaussians, name), getattr(here.gaussians, name), atol=1e-4)
    assert there.psnr == pytest.approx(here.psnr, abs=1e-3)
    assert not np.array_equal(service(views, RECIPE, 4, views[:2]).gaussians.means, there.gaussians.means)


def test_what_the_fit_refuses_is_refused_and_the_next_one_fitted(service: RemoteFit, views: Views) -> None:
    with pytest.raises(ValueError, match="silhouettes have no point in common"):
        service(Views(np.zeros_like(views.rgba), views.cameras), RECIPE, 0, views[:2])
    with pytest.raises(ValueError, match="recipe: the GPU process follows another one"):
        service(views, dataclasses.replace(RECIPE, num_gaussians=41), 0, views[:2])
    with pytest.raises(ValueError, match=r"views: .* all objects before had"):
        service(views[:5], RECIPE, 0, views[:2])
    assert len(service(views, RECIPE, 0, views[:2]).gaussians) == 40


def test_strangers_are_turned_away(service: RemoteFit, views: Views) -> None:
    with pytest.raises(AuthenticationError):
        Client(service.address, "AF_UNIX", authkey=b"guess")
    assert len(service(views, RECIPE, 0, views[:2]).gaussians) == 40


def test_an_object_waits_for_room_on_a_full_device(
    views: Views, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In this process: the first attempts to bring an object to the device find it full, and later all do."""
    full = [2]

    def preparing(*arguments: Any) -> Prepared:
        if full[0]:
            full[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prepare(*arguments)

    monkeypatch.setattr(gpu_service, "prepare", preparing)
    service = gpu_service.Service(setup(), "\0gsbench-test-room", b"key")
    threading.Thread(target=service.run, daemon=True).start()
    fit = RemoteFit("\0gsbench-test-room", b"key", RECIPE)
    with pytest.raises(ValueError, match="the GPU's memory does not hold this object, even alone"):
        fit(views, RECIPE, 0, views[:2])
    full[0] = 1
    assert isinstance(fit(views, RECIPE, 0, views[:2]), Fitted)
    assert [record.getMessage() for record in caplog.records] == [
        "the GPU's memory is full, waiting for the objects on it"
    ] * 2


def run(fit: RemoteFit, jobs: dict[str, Views], workers: int = 3) -> dict[str, Fitted | str]:
    """Fits in worker processes; a job's seed is its place."""
    tasks = [Task(name, fit_one, (fit, each, seed)) for seed, (name, each) in enumerate(jobs.items())]
    return dict(LocalEngine(workers).run(tasks))


@pytest.mark.slow
def test_objects_of_several_workers_are_fitted_in_batches(views: Views, tmp_path: Path) -> None:
    jobs = dict.fromkeys("abcdefgh", views)
    with serving(setup(functools.partial(noting, tmp_path / "sizes"), at_once=3)) as fit:
        fitted = run(fit, jobs)
    # The first is the test drawing; a fit draws at every step, and to score.
    sizes = [int(line) for line in (tmp_path / "sizes").read_text().splitlines()][1:]
    assert max(sizes) in (2, 3)
    assert sum(sizes) == 8 * (RECIPE.iterations + 1)
    alone = fit_batch([prepare(views, views[:2], RECIPE, 5, torch.device("cpu"))], RECIPE, dense)[0]
    assert fitted["f"].psnr == pytest.approx(alone.psnr, abs=1e-3)


@pytest.mark.slow
def test_a_batch_beyond_memory_is_halved_and_said(views: Views, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(setup(crowded)) as fit:
        fitted = run(fit, dict.fromkeys("abcd", views))
    assert all(isinstance(each, Fitted) for each in fitted.values())
    lines = capfd.readouterr().err.splitlines()
    assert all(line.startswith("gsbench: NOTE: the GPU's memory does not hold") for line in lines)
    assert lines


@pytest.mark.slow
def test_the_gpu_process_may_end_at_any_time(views: Views, tmp_path: Path) -> None:
    with serving(setup(functools.partial(fragile, tmp_path / "ends"))) as fit:
        (tmp_path / "ends").write_text("1\n2")
        fitted = run(fit, dict.fromkeys("abcde", views), workers=2)
    assert not (tmp_path / "ends").read_text()
    assert sorted(fitted) == list("abcde")
    assert all(isinstance(each, Fitted) for each in fitted.values())


@pytest.mark.slow
def test_an_object_that_ends_the_gpu_process_every_time_is_refused(views: Views, tmp_path: Path) -> None:
    rgba = views.rgba.copy()
    rgba[..., :3] = [255, 0, 0]
    jobs = {"a": views, "red": Views(rgba, views.cameras), "b": views, "c": views}
    with serving(setup(functools.partial(fragile, tmp_path / "ends"))) as fit:
        fitted = run(fit, jobs, workers=2)
    assert fitted["red"] == "the process that owns the GPU ended 3 times while it worked on this object"
    assert all(isinstance(fitted[name], Fitted) for name in "abc")


@pytest.mark.slow
def test_a_gpu_process_that_does_not_come_back_ends_the_build(
    views: Views, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "_ENDS", 0)
    monkeypatch.setattr(gpu_client, "_PATIENCE", 0.5)
    with serving(setup(functools.partial(fragile, tmp_path / "ends"))) as fit:
        (tmp_path / "ends").write_text("1")
        with pytest.raises(GpuLost, match="has ended and did not come back"):
            fit(views, RECIPE, 0, views[:2])


def test_a_gpu_process_that_cannot_begin_says_why() -> None:
    with (
        pytest.raises(ValueError, match=r"device: 'cuda' cannot be used: RuntimeError: .*device"),
        serving(Setup(RECIPE, None, "meta:x", dense)),
    ):
        pass


@pytest.mark.slow
def test_it_ends_with_its_build() -> None:
    """Also with one that is killed."""
    code = (
        "from tests.produce.test_build_gpu import setup, serving; import time, multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    with serving(setup()) as fit:\n"
        "        print(multiprocessing.active_children()[0].pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout
        child = int(builder.stdout.readline())
        builder.kill()
    until = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA is what `dense` does on the CPU."""
    monkeypatch.setattr(engines, "require_gsplat", lambda: None)
    monkeypatch.setattr(engines, "gpu_fit", lambda recipe: serving(Setup(recipe, None, "cpu", dense)))


def sound(folder: Path) -> bool:
    """All is well, but that Gaussians fitted at 32 pixels do not lie on the surface."""
    return all("centres lie off the surface" in problem for problem in verify(folder).problems)


@pytest.mark.slow
@pytest.mark.usefixtures("pretended")
def test_a_build_with_one_gpu_process(meshes: Path, tmp_path: Path) -> None:  # noqa: F811
    on_cuda = build(meshes, tmp_path / "cuda", TINY, workers=3, device="cuda", max_set_aside=30)
    on_cpu = build(meshes, tmp_path / "cpu", TINY, workers=2, max_set_aside=30)
    assert sound(tmp_path / "cuda")
    assert on_cuda.counts == on_cpu.counts
    assert on_cuda.set_aside == on_cpu.set_aside
    assert on_cuda.quality["psnr"] == pytest.approx(on_cpu.quality["psnr"], abs=0.5)
    points = [read_table(open_folder(tmp_path / name), "points", "train") for name in ("cuda", "cpu")]
    assert points[0].equals(points[1])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_begun(
    meshes: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert main(["build", "--meshes", str(meshes), "--out", str(out), "--device", "cuda", "--preset", "mini"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("gsbench: error: device: 'cuda' needs an NVIDIA GPU")
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"at_once: 0 .must be at least 1"), gpu_fit(RECIPE, 0):
        pass


def test_more_workers_wait_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = default_workers(tiny_preset(), "cpu")
    for free, waiting in ((None, 48), (10**12, 48), (10**10, 11), (10**8, 0)):
        monkeypatch.setattr("gsbench.produce.gpu.free_memory", lambda free=free: free)
        assert default_workers(tiny_preset(), "cuda") - cores == waiting


@pytest.mark.gpu
def test_a_build_on_cuda_goes_on_after_a_kill(meshes: Path, tmp_path: Path) -> None:  # noqa: F811
    """The command, killed once it has finished an object, and again as it was."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "gsbench", "build", "--meshes", str(meshes), "--out", str(out)]
    command += ["--preset", TINY, "--device", "cuda", "--workers", "3", "--max-set-aside", "30"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as first:
        while first.poll() is None and not list(tmp_path.glob(".out.building/objects/*.npz")):
            time.sleep(0.05)
        first.kill()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob(".out.building/objects/*.npz")}
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("set aside") == 3
    assert kept
    assert sound(out)
    assert float(open_folder(out).manifest.quality["psnr"]) > 15
