"""The published optimization on CUDA: with a dense rasterizer in gsplat's place everywhere, with gsplat on a GPU."""

import dataclasses
from typing import Any

import gsplat
import numpy as np
import pytest
import torch
from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci, _spherical_harmonics

from gsbench.core.types import Views
from gsbench.reconstruct import ClassicRecipe, fit
from gsbench.reconstruct.classic import cpu, cuda

from .test_fit_classic import RECIPE, ball

TINY = dataclasses.replace(
    RECIPE, iterations=31, init_points=60, densify_from=5, densify_until=40, densify_every=10, max_gaussians=90
)


def dense(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **options: Any):
    """`gsplat.rasterization` of one view, every Gaussian at every pixel."""
    assert options["packed"] is False
    covariances, _ = _quat_scale_to_covar_preci(quats, scales, compute_preci=False)
    radii, centers, depths, conics, _ = _fully_fused_projection(means, covariances, viewmats, Ks, width, height)
    centers.retain_grad() if centers.requires_grad else None
    eye = torch.linalg.inv(viewmats)[0, :3, 3]
    colors = (_spherical_harmonics(options["sh_degree"], means - eye, colors) + 0.5).clamp(min=0)
    order = torch.argsort(depths[0])
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    dx, dy = x - centers[0, order, 0, None, None], y - centers[0, order, 1, None, None]
    a, b, c = conics[0, order, :, None, None].unbind(1)
    alpha = opacities[order, None, None] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    alpha = torch.where(alpha < 1 / 255, 0, alpha.clamp(max=0.999))
    before = torch.cat([torch.ones_like(alpha[:1]), torch.cumprod(1 - alpha, dim=0)[:-1]])
    weights = alpha * before
    image = torch.einsum("nhw,nc->hwc", weights, colors[order])
    image = image + (1 - weights.sum(0))[..., None] * options["backgrounds"][0]
    info = {"means2d": centers, "radii": radii, "width": width, "height": height, "n_cameras": 1, "gaussian_ids": None}
    return image[None], weights.sum(0)[None, ..., None], info


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gsplat, "rasterization", dense)
    monkeypatch.setattr(cuda, "require_gsplat", lambda: gsplat)


@pytest.fixture(scope="module")
def views() -> Views:
    return ball(12, size=16)


def start(module, views: Views, recipe: ClassicRecipe, seed: int = 0):
    device = {"device": "cpu"} if module is cuda else {}
    return module.optimize(views, recipe, np.random.default_rng(seed), **device)


@pytest.mark.usefixtures("without_gpu")
class TestStandIn:
    """gsplat's own strategy and optimizers, driven by our loop."""

    def test_few_steps_equal_the_cpu(self, views):
        """The same random start, views, losses and steps of Adam, before any Gaussian comes or goes."""
        # Balls have no rotation: the derivative by it is rounding, of which Adam makes whole steps.
        recipe = dataclasses.replace(TINY, iterations=10, densify_from=100, sh_every=5, lr_quats=0.0)
        ours, theirs = (start(module, views, recipe) for module in (cpu, cuda))
        before = start(cpu, views, dataclasses.replace(recipe, iterations=1))
        for name in ("means", "scales", "opacities", "sh"):
            moved, apart = (np.abs(getattr(ours, name) - getattr(other, name)).ravel() for other in (before, theirs))
            assert np.percentile(apart, 90) < 0.02 * np.percentile(moved, 90), name

    def test_number_grows_to_the_limit_and_not_beyond(self, views):
        recipe = dataclasses.replace(TINY, densify_gradient=1e-9, prune_opacity=0.0)
        assert len(start(cuda, views, recipe).means) == 90
        none = dataclasses.replace(recipe, densify_gradient=1e3)
        assert len(start(cuda, views, none).means) == 60

    def test_first_densification_chooses_as_the_cpu(self, views):
        recipe = dataclasses.replace(TINY, iterations=10, max_gaussians=1000, reset_first=False)
        counts = []
        for threshold in (1e-3, 3e-3, 1e-2, 3e-2):
            some = dataclasses.replace(recipe, densify_gradient=threshold)
            counts.append([len(start(module, views, some).means) for module in (cpu, cuda)])
        ours, theirs = np.array(counts).T
        assert np.abs(ours - theirs).max() <= 2
        assert ours[0] > ours[-1] + 10

    def test_opacities_are_reset(self, views):
        recipe = dataclasses.replace(TINY, iterations=30, reset_every=30, reset_first=False)
        assert start(cuda, views, recipe).opacities.max() == pytest.approx(0.01, rel=1e-4)
        never = dataclasses.replace(recipe, reset_every=1000)
        assert start(cuda, views, never).opacities.max() > 0.05

    def test_pruning_everything_is_an_error(self, views):
        with pytest.raises(ValueError, match="views: pruning left no Gaussian"):
            start(cuda, views, dataclasses.replace(TINY, prune_opacity=0.999))

    def test_seed_decides(self, views):
        one, again, other = (start(cuda, views, TINY, seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(one.means, again.means)
        assert not np.array_equal(one.means[:50], other.means[:50])

    def test_a_split_that_gsplat_does_not_have_is_refused(self, views):
        with pytest.raises(ValueError, match=r"split_shrink: 2.0, on 'cuda' only 1.6 is allowed"):
            start(cuda, views, dataclasses.replace(TINY, split_shrink=2.0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_without_a_gpu_it_says_so(views):
    with pytest.raises(ValueError, match="needs an NVIDIA GPU"):
        fit(views, TINY, 0, views[:2], device="cuda")


@pytest.mark.gpu
def test_cuda_agrees_with_cpu():
    views, held_out = ball(20), ball(20, phase=0.5)[[4, 11, 17]]
    on_cpu, on_cuda = (fit(views, RECIPE, 0, held_out, device) for device in ("cpu", "cuda"))
    assert on_cuda.psnr == pytest.approx(on_cpu.psnr, abs=1.0)
    assert len(on_cuda.gaussians) == pytest.approx(len(on_cpu.gaussians), rel=0.1)


@pytest.mark.gpu
def test_limit_and_reset_on_cuda():
    views, held_out = ball(20), ball(20, phase=0.5)[[4, 11, 17]]
    recipe = dataclasses.replace(RECIPE, max_gaussians=550, iterations=170)
    assert 500 < len(fit(views, recipe, 0, held_out, "cuda").gaussians) <= 550
    recipe = dataclasses.replace(RECIPE, iterations=40, reset_every=40, reset_first=False)
    assert fit(views, recipe, 0, held_out, "cuda").gaussians.opacities.max() == pytest.approx(0.01, rel=1e-4)
