"""How far apart Gaussians look: nothing where they are equal, and what it should be where they are not."""

from dataclasses import replace

import numpy as np
import pytest

from gsbench.core.types import Gaussians
from gsbench.render.splats import PSNR_VIEWS, render_psnr
from tests.formats.samples import random_gaussians


def opaque_ball(color: float) -> Gaussians:
    """One Gaussian that fills every view, of one gray."""
    return Gaussians(
        np.zeros((1, 3), np.float32),
        np.array([[1, 0, 0, 0]], np.float32),
        np.full((1, 3), 0.3, np.float32),
        np.array([0.999], np.float32),
        np.full((1, 1, 3), (color - 0.5) / 0.28209479, np.float32),
    )


def test_equal_gaussians_look_equal() -> None:
    gaussians = random_gaussians(100, 2)
    assert render_psnr(gaussians, gaussians) == np.inf
    assert render_psnr(gaussians, gaussians[::-1]) > 60  # another order, for what is composited by depth


def test_ten_times_the_error_is_twenty_decibels() -> None:
    ball = opaque_ball(0.5)
    coarse, fine = (render_psnr(ball, opaque_ball(0.5 + step)) for step in (0.1, 0.01))
    assert fine - coarse == pytest.approx(20, abs=0.01)
    assert 20 < coarse < 40


def test_it_depends_neither_on_the_place_nor_on_the_size_nor_on_strays() -> None:
    gaussians, other = random_gaussians(400, 0), random_gaussians(400, 0)
    other.sh[:] *= 0.9
    expected = render_psnr(gaussians, other)
    moved = [replace(g, means=g.means * 64 + 100, scales=g.scales * 64) for g in (gaussians, other)]
    assert render_psnr(*moved) == pytest.approx(expected, abs=0.02)
    for g in (gaussians, other):
        g.means[:4] = 1e4
    assert render_psnr(gaussians, other) == pytest.approx(expected, abs=1)


def test_progress_counts_the_views() -> None:
    steps: list[tuple[int, int]] = []
    render_psnr(opaque_ball(0.5), opaque_ball(0.4), lambda done, total: steps.append((done, total)))
    assert steps == [(view, PSNR_VIEWS) for view in range(1, PSNR_VIEWS + 1)]
