"""What the stored Gaussians look like from the cameras of views, and how close that is to them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from gsbench.core.image_metrics import psnr_of_error, ssim
from gsbench.core.types import Array, Gaussians, Views
from gsbench.produce.compare_kernels import quantize
from gsbench.render.splats import color_planes


@dataclass(frozen=True, slots=True)
class Compared:
    """Renders of Gaussians beside the views of a mesh from the same cameras, both over white.

    Attributes:
        images: `[v h w 3]` uint8 sRGB, the Gaussians.
        expected: `[v h w 3]` uint8 sRGB, the mesh.
        psnr: `[v]` dB of each image; identical ones count as if one channel of one pixel were a gray level off.
    """

    images: UInt8[Array, "v h w 3"]
    expected: UInt8[Array, "v h w 3"]
    psnr: Float32[Array, " v"]

    def __getitem__(self, index: Array) -> "Compared":
        """The comparisons at `index` (positions), as `Compared`."""
        return Compared(self.images[index], self.expected[index], self.psnr[index])

    def __add__(self, other: "Compared") -> "Compared":
        """Both, one after the other."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("images", "expected", "psnr"))
        return Compared(*map(np.concatenate, pairs))

    def ssim(self) -> float:
        """The mean structural similarity of the images."""
        scale = np.float32(1 / 255)
        pairs = zip(self.images, self.expected, strict=True)
        return float(np.mean([ssim(image * scale, expected * scale) for image, expected in pairs]))


def compare(gaussians: Gaussians, views: Views, antialiased: bool, device: str) -> Compared:
    """Renders the Gaussians from the views' cameras, as an image file holds it: clipped and rounded to 8 bits.

    Raises:
        InputError: an unknown device, or CUDA where there is none.
    """
    images, expected = (np.empty((*views.rgba.shape[:3], 3), np.uint8) for _ in range(2))
    samples = 3 * views.cameras.width * views.cameras.height
    psnr = np.empty(len(views), np.float32)
    for view, planes in enumerate(color_planes(gaussians, views.cameras, antialiased, device)):
        error = quantize(planes, views.rgba[view], images[view], expected[view])
        psnr[view] = psnr_of_error(error, samples)
    return Compared(images, expected, psnr)
