"""The project's data types, and with them every convention: frame, units, activation, axis and quaternion order.

World frame: z up as in ModelNet, the object centered at the origin and inside the unit sphere, normalized by the
vertices that faces use. Host data (`Mesh`, `Cameras`, `Views`, `Gaussians`) is numpy; a `Batch` holds torch tensors.
The annotations accept any array with the stated shape and dtype, so that this module imports neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float, Float32, Int, UInt8

Array = Any


@dataclass(frozen=True, slots=True)
class Mesh:
    """A triangle mesh, drawn from both sides (ModelNet's winding is inconsistent).

    Attributes:
        vertices: `[v 3]` float32, world frame once normalized, the file's own units before.
        faces: `[f 3]` int32 indices into `vertices`.
    """

    vertices: Float32[Array, "v 3"]
    faces: Int[Array, "f 3"]


@dataclass(frozen=True, slots=True)
class Cameras:
    """Pinhole cameras with OpenCV axes: x right, y down, z forward.

    Attributes:
        viewmats: `[v 4 4]` float32, world-to-camera.
        Ks: `[v 3 3]` float32 intrinsics in pixels; the center of the first pixel is at (.5, .5).
        width: image width in pixels.
        height: image height in pixels.
    """

    viewmats: Float32[Array, "v 4 4"]
    Ks: Float32[Array, "v 3 3"]
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.viewmats)

    def __getitem__(self, index: slice | Sequence[int] | Int[Array, " k"]) -> "Cameras":
        """The cameras at `index` (a slice or a list of positions), as `Cameras`."""
        return Cameras(self.viewmats[index], self.Ks[index], self.width, self.height)


@dataclass(frozen=True, slots=True)
class Views:
    """Images of one object with the cameras that took them.

    Attributes:
        rgba: `[v h w 4]` uint8, sRGB with straight (not premultiplied) alpha; alpha 0 is background.
        cameras: the `v` cameras, of the images' width and height.
    """

    rgba: UInt8[Array, "v h w 4"]
    cameras: Cameras

    def __len__(self) -> int:
        return len(self.rgba)

    def __getitem__(self, index: slice | Sequence[int] | Int[Array, " k"]) -> "Views":
        """The views at `index` (a slice or a list of positions), as `Views`."""
        return Views(self.rgba[index], self.cameras[index])


@dataclass(frozen=True, slots=True)
class Gaussians:
    """3D Gaussians of one object in the world frame, always ACTIVATED: no log-scales, no logits.

    Attributes:
        means: `[n 3]` float32, centers.
        quats: `[n 4]` float32 unit quaternions, wxyz.
        scales: `[n 3]` float32 standard deviations along the rotated axes, linear, > 0.
        opacities: `[n]` float32 in 0..1.
        sh: `[n k 3]` float32 real spherical-harmonic coefficients, k = 1, 4, 9 or 16; coefficient 0 is the DC
            color: rgb = .28209479 * sh[:, 0] + .5.
    """

    means: Float32[Array, "n 3"]
    quats: Float32[Array, "n 4"]
    scales: Float32[Array, "n 3"]
    opacities: Float32[Array, " n"]
    sh: Float32[Array, "n k 3"]

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, index: slice | Sequence[int] | Int[Array, " k"] | Bool[Array, " n"]) -> "Gaussians":
        """The Gaussians at `index` (a slice, positions or a mask), as `Gaussians`."""
        return Gaussians(
            self.means[index], self.quats[index], self.scales[index], self.opacities[index], self.sh[index]
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of objects as torch tensors on one device; a modality that the task does not use is None.

    Attributes:
        ids: `b` object ids.
        labels: `[b]` int64 class indices.
        points: `[b n c]` float32, surface points or Gaussians; the first three channels are positions. For Gaussians
            the channels accumulate: xyz (3), + log-scales (3) and unit quaternions (4), + SH (3 k).
        mask: `[b n]` bool, False on padding.
        images: `[b v 3 h w]` uint8, sRGB over white.
    """

    ids: tuple[str, ...]
    labels: Int[Array, " b"]
    points: Float[Array, "b n c"] | None = None
    mask: Bool[Array, "b n"] | None = None
    images: UInt8[Array, "b v 3 h w"] | None = None
