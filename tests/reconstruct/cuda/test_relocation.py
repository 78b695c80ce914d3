"""Gaussians that hardly show move to where much shows, on the device as on CPU."""

import dataclasses

import numpy as np
import pytest
import torch

from gsbench.core.types import Gaussians
from gsbench.reconstruct.cuda.hull import prepare
from gsbench.reconstruct.cuda.optimize import activated, contributions, optimize, relocate, to_raw
from gsbench.reconstruct.hull import cpu
from gsbench.render.splats import cpu as splats_cpu
from gsbench.render.splats import layout
from tests.render.splat_reference import FIELDS, random_gaussians, rig

from .conftest import RECIPE


def shown_by(count: int, seed: int) -> np.ndarray:
    """Contributions of which every fourth is far below a tenth of the mean, all of them different."""
    shown = np.random.default_rng(seed).permutation(np.linspace(1, 2, count)).astype(np.float32)
    shown[::4] *= 0.01
    return shown


def on_cpu(gaussians: Gaussians, shown: np.ndarray) -> tuple[Gaussians, np.ndarray]:
    """The Gaussians as relocation on the CPU leaves them, scales and opacities activated, and their moments."""
    params = splats_cpu.pack(gaussians)
    raw, moments = params.copy(), np.broadcast_to(np.arange(params.shape[1], dtype=np.float32), params.shape).copy()
    raw[layout.SCALE : layout.OPACITY] = np.log(np.maximum(params[layout.SCALE : layout.OPACITY], 1e-9))
    raw[layout.OPACITY] = np.log(np.maximum(params[layout.OPACITY], 1e-9) / (1 - params[layout.OPACITY]))
    cpu.relocate(raw, params, [moments], shown, 0.1)
    return splats_cpu.unpack(params, len(gaussians)), moments[0, : len(gaussians)]


def test_same_as_on_cpu_in_a_batch_with_padding(device):
    many, few = random_gaussians(40, 1), random_gaussians(30, 1, seed=1)
    shown = [shown_by(40, 2), shown_by(30, 3)]
    raw, real = to_raw([many, few], device)
    raw = {name: tensor.detach() for name, tensor in raw.items()}
    before = {name: tensor.clone() for name, tensor in raw.items()}
    moments = {name: torch.zeros_like(tensor) for name, tensor in raw.items()}
    for tensor in moments.values():
        tensor += torch.arange(40, device=device).view(1, 40, *[1] * (tensor.dim() - 2))
    batch = torch.full((2, 40), 1e9, device=device)  # of padding, whose contributions must not matter
    for row, each in zip(batch, shown, strict=True):
        row[: len(each)] = torch.from_numpy(each).to(device)
    relocate(raw, [moments], real, batch, 0.1)
    for row, (gaussians, each) in enumerate(zip((many, few), shown, strict=True)):
        expected, sources = on_cpu(gaussians, each)
        assert (sources != np.arange(len(gaussians))).sum() == len(each[::4])
        found = dict(zip(FIELDS, (tensor[row, : len(gaussians)] for tensor in activated(raw)), strict=True))
        for name in FIELDS:
            np.testing.assert_allclose(found[name].cpu(), getattr(expected, name), rtol=1e-4, atol=1e-5, err_msg=name)
        for tensor in moments.values():
            taken = tensor[row, : len(gaussians)].reshape(len(gaussians), -1)
            assert (taken.cpu().numpy() == sources[:, None]).all()
    for name, tensor in raw.items():
        assert torch.equal(tensor[1, 30:], before[name][1, 30:]), name


def test_contributions_are_those_of_the_cpu(device, rasterize):
    gaussians, cameras = random_gaussians(30, 5), rig(3, 32, 32)
    expected = cpu.contributions(splats_cpu.pack(gaussians), 30, splats_cpu.camera_vectors(cameras), (32, 32), False)
    raw, _ = to_raw([gaussians], device)
    white = torch.ones(3, device=device)

    def draw(view: int):
        viewmats, Ks = (
            torch.from_numpy(array[view : view + 1]).to(device)[None] for array in (cameras.viewmats, cameras.Ks)
        )
        return lambda *scene: rasterize(*scene, viewmats, Ks, 32, 32, white, False, 0)

    found = contributions(activated(raw)[:4], map(draw, range(3)))
    assert not found.requires_grad
    np.testing.assert_allclose(found[0].cpu(), expected, rtol=2e-3, atol=1e-3 * expected.max())


def test_hidden_gaussians_come_out_during_the_fit(views, held_out, device, rasterize):
    """Some start at the center of a solid ball, where they are never seen and no gradient reaches them."""
    prepared = prepare(views, held_out, RECIPE, 0, device)
    means = prepared.start.means.copy()
    hidden = np.arange(len(means)) % 3 == 0
    means[hidden] *= 0.05
    start = Gaussians(means, *(getattr(prepared.start, name) for name in FIELDS if name != "means"))
    buried = dataclasses.replace(prepared, start=start)
    (without,) = optimize([buried], dataclasses.replace(RECIPE, relocate_at=()), rasterize)
    recipe = dataclasses.replace(RECIPE, relocate_below=0.5)
    together = optimize([prepared, buried], recipe, rasterize)
    inside = [np.linalg.norm(each.means, axis=1)[hidden] < 0.2 for each in (without, together[1])]
    assert inside[0].mean() > 0.8
    assert inside[1].mean() < 0.6
    if device.type == "cpu":
        (alone,) = optimize([buried], recipe, rasterize)
        np.testing.assert_allclose(together[1].means, alone.means, atol=2e-3)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_recipe_rejects(share):
    with pytest.raises(ValueError, match=rf"relocate_at is {share} \(allowed: above 0 to below 1\)"):
        dataclasses.replace(RECIPE, relocate_at=(0.5, share))
