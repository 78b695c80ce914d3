"""What a fit returns."""

from dataclasses import dataclass

from gsbench.types import Gaussians


@dataclass(frozen=True, slots=True)
class Fitted:
    """The Gaussians of one object and how well they show it.

    Attributes:
        gaussians: in the views' world frame.
        psnr: dB on the held-out views, over white, whole images, the mean over views.
        ssim: the same way.
    """

    gaussians: Gaussians
    psnr: float
    ssim: float
