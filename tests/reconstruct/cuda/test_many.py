"""What only CUDA can show: what repeats, what waits; and that there must be a GPU."""

import warnings

import numpy as np
import pytest
import torch

from gsbench.reconstruct import fit_many
from gsbench.reconstruct.cuda.batch import fit_batch
from gsbench.reconstruct.cuda.hull import prepare
from gsbench.reconstruct.cuda.optimize import activated, optimize, to_raw
from gsbench.render.splats.cuda import rasterize_tensors
from tests.render.splat_reference import FIELDS

from .conftest import RECIPE, SIZE


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_message_says_so(views, held_out):
    with pytest.raises(ValueError, match=r"device: 'cuda' needs an NVIDIA GPU .* use device 'cpu'"):
        fit_many([views], RECIPE, [0], [held_out], device="cuda")


@pytest.mark.gpu
def test_what_repeats_on_cuda_and_what_does_not(views, held_out):
    """The start, the targets and every image are the same bits; a fit is the same to some hundredths of a dB."""
    device = torch.device("cuda")
    once, again = (prepare(views, held_out, RECIPE, 0, device) for _ in range(2))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(once.start, name), getattr(again.start, name))
    assert all(torch.equal(*pair) for pair in zip(once.targets, again.targets, strict=True))
    raw, _ = to_raw([once.start], device)
    camera = [torch.from_numpy(array).to(device)[None] for array in (views.cameras.viewmats, views.cameras.Ks)]
    white = torch.ones(3, device=device)
    images = [rasterize_tensors(*activated(raw), *camera, SIZE, SIZE, white, False, 1) for _ in range(5)]
    assert all(torch.equal(image[0], images[0][0]) and torch.equal(image[1], images[0][1]) for image in images)
    scores = [fit_batch([once], RECIPE, rasterize_tensors)[0].psnr for _ in range(4)]
    assert max(scores) - min(scores) < 0.1


@pytest.mark.gpu
def test_batches_on_cuda_do_not_change_an_object(views, flat, held_out):
    prepared = {
        name: prepare(each, held_out, RECIPE, 0, torch.device("cuda")) for name, each in (("a", views), ("b", flat))
    }
    first = fit_batch([prepared["a"]], RECIPE, rasterize_tensors)[0]
    second = fit_batch([prepared[name] for name in "bab"], RECIPE, rasterize_tensors)[1]
    assert first.psnr == pytest.approx(second.psnr, abs=0.1)


@pytest.mark.gpu
def test_the_host_waits_once_a_step(views, held_out):
    """For gsplat's number of intersections, and for nothing of ours."""
    objects = [prepare(views, held_out, RECIPE, seed, torch.device("cuda")) for seed in (0, 1)]
    optimize(objects, RECIPE, rasterize_tensors)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            optimize(objects, RECIPE, rasterize_tensors)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = sum("synchronizing CUDA operation" in str(each.message) for each in told)
    assert waits >= RECIPE.iterations
    # Uploads at the beginning of each stage and downloads at the end come on top.
    assert waits <= RECIPE.iterations + 40


@pytest.mark.gpu
def test_fit_many_makes_batches_of_any_size(views, held_out):
    from gsbench.reconstruct.cuda.batch import fit_many as on_cuda

    fitted = [on_cuda([views] * 3, RECIPE, [0, 1, 2], [held_out] * 3, at_once) for at_once in (None, 1, 2)]
    for each in fitted[1:]:
        assert [one.psnr for one in each] == pytest.approx([one.psnr for one in fitted[0]], abs=0.1)
    with pytest.raises(ValueError, match="at_once: 0, it must be at least 1"):
        on_cuda([views], RECIPE, [0], [held_out], 0)
    with pytest.raises(ValueError, match="views: a batch on CUDA needs equal numbers and sizes"):
        fit_many([views, views[:5]], RECIPE, [0, 1], [held_out] * 2, device="cuda")
