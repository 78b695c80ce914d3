"""Gaussians that faded start anew where others are."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from gsbench.fit import fit
from gsbench.fit.cuda.optimise import optimise
from gsbench.fit.cuda.prepared import prepare
from gsbench.fit.cuda.relocation import choose, relocate, share
from gsbench.fit.schedule import relocates_after
from gsbench.types import Gaussians
from tests.render.splat_reference import FIELDS

from .conftest import RECIPE


def scene(device: torch.device, objects: int = 3, count: int = 40) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Raw parameters of some Gaussians, the last ten of object 1 padding, every fourth faded."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"means": (3,), "quats": (4,), "scales": (3,), "opacities": (), "dc": (1, 3), "sh": (3, 3)}
    raw = {name: torch.randn(objects, count, *shape, generator=generator) for name, shape in shapes.items()}
    raw["opacities"][:, ::4] = -9.0
    real = torch.ones(objects, count, dtype=torch.bool)
    real[1, -10:] = False
    raw["opacities"][1, -10:] = -50.0
    return {name: tensor.to(device) for name, tensor in raw.items()}, real.to(device)


def moved(device: torch.device, raw: dict[str, torch.Tensor], real: torch.Tensor) -> tuple[dict, dict]:
    """What relocation makes of a scene and of moments that are all one."""
    after = {name: tensor.clone() for name, tensor in raw.items()}
    moments = {name: torch.ones_like(tensor) for name, tensor in raw.items()}
    draws = np.stack([np.random.default_rng(row).random(real.shape[1]) for row in range(len(real))])
    relocate(after, [moments], real, 0.005, torch.from_numpy(draws).to(device))
    return after, moments


def test_faded_gaussians_move_onto_living_ones(device):
    raw, real = scene(device)
    after, moments = moved(device, raw, real)
    dead = real & (raw["opacities"].sigmoid() < 0.005)
    assert dead.sum(1).tolist() == [10, 8, 10]
    same = (after["means"][:, :, None] == raw["means"][:, None]).all(-1)
    living = real & ~dead
    for row in range(3):
        sources = same[row].int().argmax(1)
        chosen = sources[dead[row]]
        assert living[row][chosen].all()
        counts = torch.bincount(chosen, minlength=40)
        for place in torch.cat([chosen, dead[row].nonzero()[:, 0]]).tolist():
            source = int(sources[place])
            opacity, factor = by_the_book(float(raw["opacities"][row, source].sigmoid()), int(counts[source]) + 1)
            assert float(after["opacities"][row, place].sigmoid()) == pytest.approx(max(opacity, 0.005), abs=1e-5)
            expected = raw["scales"][row, source] + math.log(factor)
            torch.testing.assert_close(after["scales"][row, place], expected, atol=1e-5, rtol=0)
            for name in ("quats", "dc", "sh"):
                assert torch.equal(after[name][row, place], raw[name][row, source])
        untouched = ~dead[row] & (counts == 0)
        for name, tensor in raw.items():
            assert torch.equal(after[name][row][untouched], tensor[row][untouched])
            assert moments[name][row][untouched].all()
            assert not moments[name][row][~untouched].any()


def by_the_book(opacity: float, count: int) -> tuple[float, float]:
    """Kheradmand 2024, equation 9, as it is written."""
    shared = 1 - (1 - opacity) ** (1 / count)
    total = sum(
        math.comb(i - 1, k) * (-1) ** k / math.sqrt(k + 1) * shared ** (k + 1)
        for i in range(1, count + 1)
        for k in range(i)
    )
    return shared, opacity / total


@pytest.mark.parametrize("count", [1, 2, 3, 20, 51])
def test_shares_are_those_of_the_paper(device, count):
    opacities = torch.tensor([[0.006, 0.3, 0.9, 0.999]], device=device)
    shared, factor = share(opacities, torch.full((1, 4), count, device=device))
    expected = [by_the_book(each, count) for each in opacities[0].tolist()]
    np.testing.assert_allclose(torch.stack([shared, factor], -1)[0].cpu().numpy(), expected, rtol=1e-4)
    more, _ = share(opacities, torch.full((1, 4), 1000, device=device))
    assert torch.equal(more, share(opacities, torch.full((1, 4), 51, device=device))[0])


def test_many_share_the_light_of_one(device):
    """Drawn over each other, the Gaussians that share one's place look like it: that is what equation 9 is for."""
    offsets = torch.linspace(-9, 9, 2001, dtype=torch.float64, device=device)
    for opacity, count in ((0.5, 3), (0.9, 5)):
        shared, factor = share(torch.tensor([[opacity]], device=device), torch.tensor([[count]], device=device))
        alone = opacity * torch.exp(-offsets.square() / 2)
        each = shared.double() * torch.exp(-(offsets / factor.double()).square() / 2)
        together = 1 - (1 - each[0]) ** count
        assert (together - alone).abs().max() < 0.08
        assert together.sum().item() == pytest.approx(alone.sum().item(), rel=1e-4)


def test_choice_follows_the_weights(device):
    weights = torch.tensor([[0.0, 1.0, 3.0, 0.0], [0.0, 0.0, 0.0, 2.0]], device=device)
    draws = torch.linspace(0, 1, 4001, dtype=torch.float64, device=device).expand(2, -1).contiguous()
    counts = torch.stack([torch.bincount(row, minlength=4) for row in choose(weights, draws)])
    np.testing.assert_allclose(counts.cpu().numpy() / 4001, [[0, 0.25, 0.75, 0], [0, 0, 0, 1]], atol=1e-3)


def test_an_object_without_living_gaussians_keeps_them(device):
    raw, real = scene(device)
    raw["opacities"][2] = -9.0
    after, moments = moved(device, raw, real)
    for name, tensor in raw.items():
        assert torch.equal(after[name][2], tensor[2])
        assert moments[name][2].all()
        assert not torch.equal(after[name][0], tensor[0])


def test_faded_gaussians_come_back_during_the_fit(views, held_out, device, rasterise):
    recipe = dataclasses.replace(RECIPE, relocate_every=6)
    prepared = prepare(views, held_out, recipe, 0, device)
    opacities = prepared.start.opacities.copy()
    opacities[::3] = 1e-4
    start = Gaussians(*(getattr(prepared.start, name) for name in FIELDS if name not in ("opacities", "sh")), opacities,
                      prepared.start.sh)  # fmt: skip
    faded = dataclasses.replace(prepared, start=start)
    (without,) = optimise([faded], dataclasses.replace(recipe, relocate_every=0), rasterise)
    together = optimise([prepared, faded], recipe, rasterise)
    assert np.sum(without.opacities < 0.005) >= 50
    assert np.sum(together[1].opacities < 0.005) < 10
    if device.type == "cpu":
        (alone,) = optimise([faded], recipe, rasterise)
        np.testing.assert_allclose(together[1].means, alone.means, atol=2e-3)


def test_times_of_relocation():
    recipe = dataclasses.replace(RECIPE, relocate_every=10)
    assert [steps for steps in range(30) if relocates_after(recipe, steps)] == [0, 10]
    assert not any(relocates_after(RECIPE, steps) for steps in range(30))


def test_the_cpu_refuses_to_relocate(views, held_out):
    with pytest.raises(ValueError, match="relocate_every: 10, on 'cpu' only 0 is allowed"):
        fit(views, dataclasses.replace(RECIPE, relocate_every=10), 0, held_out)
