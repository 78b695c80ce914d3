"""The published loss on CPU against autograd, and the one for torch against the score."""

import numpy as np
import pytest
import torch

from gsbench.core.image_metrics import ssim
from gsbench.reconstruct.classic import cuda
from gsbench.reconstruct.classic.cpu import ImageLoss
from gsbench.render.splats import cpu as splats_cpu


def colors(target: np.ndarray) -> torch.Tensor:
    """The color planes of bytes as one view in 0..1."""
    return torch.from_numpy(np.moveaxis(target[:3], 0, -1)[None] / 255)


@pytest.mark.parametrize(("height", "width"), [(45, 50), (32, 48), (9, 7)])
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_loss_gradient_is_that_of_autograd(height, width, weight):
    rng = np.random.default_rng(height)
    shape = (splats_cpu.padded(height), splats_cpu.padded(width))
    planes = rng.uniform(-0.1, 1.2, (5, *shape)).astype(np.float32)
    target = rng.integers(0, 256, (4, *shape)).astype(np.uint8)
    target[:3, :8] = 255  # flat areas, some reached and some not
    planes[:3, :4] = 1
    loss = ImageLoss(width, height)
    loss.gradient(planes[::-1].copy(), target, weight)  # buffers that are used again start afresh
    ours = loss.gradient(planes, target, weight)
    image = torch.from_numpy(np.moveaxis(planes[:3, :height, :width], 0, -1)[None].astype(np.float64)).requires_grad_()
    cuda.loss(image, colors(target[:, :height, :width]), weight).backward()
    expected = np.moveaxis(image.grad[0].numpy(), -1, 0)
    # Where a color is reached, |x| has no derivative: 0 is ours and torch's.
    assert np.abs(ours[:3, :height, :width] - expected).max() < 1e-5 * np.abs(expected).max()
    assert not ours[3:].any()
    assert not ours[:, height:].any()
    assert not ours[:, :, width:].any()


def test_loss_holds_the_usual_ssim():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 24, 30, 3)), rng.random((2, 24, 30, 3))
    images = [torch.from_numpy(image) for image in (a, b)]
    assert cuda.loss(*images, 1.0).item() == pytest.approx(1 - ssim(a, b), abs=1e-6)
    assert cuda.loss(*images, 0.0).item() == pytest.approx(np.abs(a - b).mean())
