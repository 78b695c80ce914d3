"""Builds that fit on a GPU: with the CPU in its place, and on CUDA."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gsbench.cli import main
from gsbench.core.types import Views
from gsbench.meshes.split import list_meshes
from gsbench.produce import engines, gpu
from gsbench.produce.build import build
from gsbench.produce.gpu import TOO_LARGE, Drawn, fit_objects, fit_on_cuda, kept_fit
from gsbench.produce.local import LocalEngine
from gsbench.produce.made import make_object
from gsbench.produce.objects import seed_of
from gsbench.produce.verification import verify
from gsbench.produce.work import work_path
from gsbench.reconstruct import ClassicRecipe, FitRecipe, Fitted, Stage, fit
from gsbench.reconstruct.cuda.batch import fit_batch
from gsbench.reconstruct.cuda.hull import prepare
from gsbench.store.folder import open_folder
from tests.produce.test_build import TINY, Built, built, meshes, tiny_preset  # noqa: F401
from tests.reconstruct.test_fit import ball
from tests.render.splat_reference import FIELDS, dense

RECIPE = FitRecipe((Stage(16, 6),), num_gaussians=40, sh_degree=0, hull_resolution=16)
AT_ONCE = 2


class OnCpu:
    """Fits as a build on CPU does, one object after another; notes what it was given, and may refuse or fail."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.refused: set[str] = set()
        self.reason = "it is refused"
        self.fails_after: int | None = None

    def __call__(self, batch: Sequence[Drawn], recipe: FitRecipe | ClassicRecipe) -> list[Fitted | str]:
        if len(self.batches) == self.fails_after:
            raise KeyboardInterrupt
        self.batches.append([each.file.object_id for each in batch])
        return [self._fit(each, recipe) for each in batch]

    def _fit(self, each: Drawn, recipe: FitRecipe | ClassicRecipe) -> Fitted | str:
        assert each.views is not None
        assert each.held_out is not None
        if each.file.object_id in self.refused:
            return self.reason
        return fit(each.views, recipe, seed_of(each.file.object_id), each.held_out)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> OnCpu:
    """What takes the GPU's place."""
    stand_in = OnCpu()
    monkeypatch.setattr(engines, "require_gsplat", lambda: None)
    monkeypatch.setattr(gpu, "fit_on_cuda", stand_in)
    monkeypatch.setattr(gpu, "_objects_at_once", lambda *_: AT_ONCE)
    monkeypatch.setattr("gsbench.produce.build.fit", fit)
    return stand_in


def shards(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


@pytest.mark.slow
def test_a_build_is_that_of_its_fit(on_cpu: OnCpu, built: Built, meshes: Path, tmp_path: Path) -> None:  # noqa: F811
    told = []
    manifest = build(meshes, tmp_path / "gpu", TINY, 2, lambda *step: told.append(step), "cuda", max_set_aside=30)
    assert shards(tmp_path / "gpu") == shards(built[0])
    assert manifest.set_aside == built[1].set_aside
    assert manifest.created_by["device"] == "cuda"
    assert max(map(len, on_cpu.batches)) == AT_ONCE
    fitted = [done for stage, done, _, _ in told if stage == "fits"]
    assert fitted[0] == 0
    assert fitted[-1] == len(list_meshes(meshes))
    assert not work_path(tmp_path / "gpu").exists()


@pytest.mark.slow
def test_what_is_fitted_is_not_fitted_again(on_cpu: OnCpu, meshes: Path, tmp_path: Path) -> None:  # noqa: F811
    files, recipe, objects = list_meshes(meshes), tiny_preset(), tmp_path
    on_cpu.fails_after = 1
    with pytest.raises(KeyboardInterrupt):
        fit_objects(files, recipe, objects, LocalEngine(1), lambda *_: None)
    (first,) = on_cpu.batches
    on_cpu.fails_after = None
    fit_objects(files, recipe, objects, LocalEngine(1), lambda *_: None)
    later = [name for batch in on_cpu.batches[1:] for name in batch]
    assert later
    assert not set(first) & set(later)
    (file,) = (file for file in files if file.object_id == first[0])
    kept = kept_fit(objects, file)(ball(8, 16), recipe.fit, 0, ball(2, 16))
    assert kept.psnr > 10


def test_what_cannot_be_fitted_is_refused_when_the_object_is_made(on_cpu: OnCpu, meshes: Path, tmp_path: Path) -> None:  # noqa: F811
    (file,) = (file for file in list_meshes(meshes) if file.object_id == "chair_0001")
    on_cpu.refused = {file.object_id}
    fit_objects([file], tiny_preset(), tmp_path, LocalEngine(1), lambda *_: None)
    assert make_object(file, tiny_preset(), tmp_path, kept_fit(tmp_path, file)).reason == "it is refused"


def drawn(views: Views, count: int) -> list[Drawn]:
    files = [list_file(f"a_{number}") for number in range(count)]
    return [Drawn(file, views, views[:2]) for file in files]


def list_file(object_id: str):
    from gsbench.meshes.split import MeshFile

    return MeshFile(object_id, "a", "train", Path(f"{object_id}.off"))


def test_a_batch_is_the_fit_of_each_object() -> None:
    views = ball(8, 16)
    together = fit_on_cuda(drawn(views, 3), RECIPE, "cpu", dense)
    (alone,) = fit_batch([prepare(views, views[:2], RECIPE, seed_of("a_1"), torch.device("cpu"))], RECIPE, dense)
    assert isinstance(together[1], Fitted)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(together[1].gaussians, name), getattr(alone.gaussians, name), atol=1e-4)


def test_an_object_of_a_batch_that_is_refused_leaves_the_others() -> None:
    views = ball(8, 16)
    batch = drawn(views, 3)
    batch[1] = Drawn(batch[1].file, Views(np.zeros_like(views.rgba), views.cameras), views[:2])
    first, refused, last = fit_on_cuda(batch, RECIPE, "cpu", dense)
    assert isinstance(first, Fitted)
    assert isinstance(last, Fitted)
    assert "silhouettes have no point in common" in str(refused)


def crowded(means: torch.Tensor, *rest: object) -> tuple[torch.Tensor, torch.Tensor]:
    """`dense` on a device whose memory holds one object."""
    if len(means) > 1:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return dense(means, *rest)


def full(*_: object) -> tuple[torch.Tensor, torch.Tensor]:
    """On a device whose memory holds none."""
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_batch_beyond_memory_is_halved_and_said(caplog: pytest.LogCaptureFixture) -> None:
    assert all(isinstance(each, Fitted) for each in fit_on_cuda(drawn(ball(8, 16), 3), RECIPE, "cpu", crowded))
    assert "the GPU's memory does not hold 3 objects at once, going on with 1" in caplog.text


def test_an_object_beyond_memory_says_so() -> None:
    assert fit_on_cuda(drawn(ball(8, 16), 1), RECIPE, "cpu", full) == [TOO_LARGE]


def no_room_for_red(means: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """`dense` on a device whose memory does not hold a red object, however few there are."""
    red, green, _ = rest[3][:, :, 0].mean(1).unbind(-1)
    if (red > green + 1.5).any():
        raise torch.OutOfMemoryError("CUDA out of memory")
    return dense(means, *rest)


def test_an_object_beyond_memory_leaves_the_others_of_its_batch() -> None:
    views = ball(8, 16)
    rgba = views.rgba.copy()
    rgba[..., :3] = [255, 0, 0]
    batch = drawn(views, 4)
    batch[1] = Drawn(batch[1].file, Views(rgba, views.cameras), views[:2])
    first, large, *others = fit_on_cuda(batch, RECIPE, "cpu", no_room_for_red)
    assert large == TOO_LARGE
    assert all(isinstance(each, Fitted) for each in (first, *others))


def test_an_object_that_cannot_be_brought_to_the_device_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def full_for_one(views: Views, held_out: Views, recipe: FitRecipe, seed: int, device: torch.device) -> Any:
        if seed == seed_of("a_1"):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prepare(views, held_out, recipe, seed, device)

    monkeypatch.setattr("gsbench.reconstruct.cuda.hull.prepare", full_for_one)
    first, large, last = fit_on_cuda(drawn(ball(8, 16), 3), RECIPE, "cpu", dense)
    assert large == TOO_LARGE
    assert isinstance(first, Fitted)
    assert isinstance(last, Fitted)


@pytest.mark.slow
def test_what_the_memory_did_not_hold_is_tried_again(on_cpu: OnCpu, meshes: Path, tmp_path: Path) -> None:  # noqa: F811
    (file,) = (file for file in list_meshes(meshes) if file.object_id == "chair_0001")
    on_cpu.refused, on_cpu.reason = {file.object_id}, TOO_LARGE
    fit_objects([file], tiny_preset(), tmp_path, LocalEngine(1), lambda *_: None)
    made = make_object(file, tiny_preset(), tmp_path, kept_fit(tmp_path, file))
    assert (made.reason, made.final) == (TOO_LARGE, False)
    on_cpu.refused = set()
    fit_objects([file], tiny_preset(), tmp_path, LocalEngine(1), lambda *_: None)
    assert make_object(file, tiny_preset(), tmp_path, kept_fit(tmp_path, file)).reason is None


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


@pytest.mark.gpu
def test_a_build_on_cuda_goes_on_after_a_kill(meshes: Path, tmp_path: Path) -> None:  # noqa: F811
    """The command, killed once it has fitted an object, and again as it was."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "gsbench", "build", "--meshes", str(meshes), "--out", str(out)]
    command += ["--preset", TINY, "--device", "cuda", "--workers", "3", "--max-set-aside", "30"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as first:
        while first.poll() is None and not list(work_path(out).glob("objects/fitted/[!.]*.npz")):
            time.sleep(0.05)
        first.kill()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("set aside") == 3
    assert all("centers lie off the surface" in problem for problem in verify(out).problems)
    assert float(open_folder(out).manifest.quality["psnr"]) > 15
