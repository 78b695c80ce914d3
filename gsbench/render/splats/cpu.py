"""The rasterizer on CPU: a workspace that projects, composites and differentiates one view at a time, single-threaded.

The kernels work on structures of arrays (see `projection_kernels`); `pack` and `unpack` translate from and to
`Gaussians`. A workspace owns every buffer and reuses it, view after view, to spare the page faults of fresh memory.
"""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from gsbench.core.geometry import camera_centers, sh_degree_of
from gsbench.core.types import Array, Cameras, Gaussians
from gsbench.render.simd16_kernels import WIDTH
from gsbench.render.splats import binning_kernels, blend_kernels, layout, projection_kernels, record_kernels

LOW_PASS = 0.3
"""Variance in pixels^2 that every Gaussian gains in the image (Kerbl 2023)."""


def pack(gaussians: Gaussians) -> Float32[Array, "p n"]:
    """The Gaussians as `[11 + 3 k, n]`, n padded to an odd multiple of 16 with Gaussians of opacity 0.

    Odd, since rows that stood a power of two apart would share few lines of the processor's caches.
    """
    count, coefficients = len(gaussians), gaussians.sh.shape[1]
    params = np.zeros((layout.SH + 3 * coefficients, padded(count + WIDTH, 2 * WIDTH) - WIDTH), np.float32)
    columns = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities[:, None])
    params[: layout.SH, :count] = np.concatenate(columns, axis=1).T
    params[layout.SH :, :count] = gaussians.sh.reshape(count, -1).T
    return params


def unpack(params: Float32[Array, "p n"], count: int) -> Gaussians:
    """The first `count` columns of `[11 + 3 k, n]` as Gaussians; so `unpack` of a gradient is the gradient by field."""
    columns = np.ascontiguousarray(params[:, :count].T)
    return Gaussians(
        columns[:, 0:3],
        columns[:, 3:7],
        columns[:, 7:10],
        columns[:, 10],
        columns[:, layout.SH :].reshape(count, -1, 3),
    )


def camera_vectors(cameras: Cameras, low_pass: float = LOW_PASS) -> Float32[Array, "v 25"]:
    """Each camera as the kernels take it: rotation, translation, center, intrinsics, limits of x/z, y/z, low-pass."""
    rotations, translations = cameras.viewmats[:, :3, :3].reshape(-1, 9), cameras.viewmats[:, :3, 3]
    fx, fy, cx, cy = (cameras.Ks[:, i, j] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    # The Jacobian is not trusted beyond .15 of the image's size outside it (gsplat and INRIA: 1.3 tan(fov / 2)).
    margin_x, margin_y = 0.15 * cameras.width / fx, 0.15 * cameras.height / fy
    limits_x = (-cx / fx - margin_x, (cameras.width - cx) / fx + margin_x)
    limits_y = (-cy / fy - margin_y, (cameras.height - cy) / fy + margin_y)
    scalars = np.stack([fx, fy, cx, cy, *limits_x, *limits_y], axis=1)
    filters = np.tile([low_pass, low_pass**2], (len(cameras), 1))
    parts = (rotations, translations, camera_centers(cameras.viewmats), scalars, filters)
    return np.ascontiguousarray(np.concatenate(parts, axis=1), np.float32)


def padded(size: int, unit: int = layout.TILE) -> int:
    """The size rounded up to whole units; in pixels to whole tiles."""
    return -(-size // unit) * unit


def aligned_empty(*shape: int) -> Float32[Array, "..."]:
    """An uninitialised float32 array that starts at a cache line, so that no vector lies across two."""
    size = math.prod(shape)
    memory = np.empty(size + WIDTH, np.float32)
    start = -memory.ctypes.data // memory.itemsize % WIDTH
    return memory[start : start + size].reshape(shape)


class Workspace:
    """Buffers and state to rasterize `params` `[11 + 3 k, n]` from one camera after another.

    `project` comes first; it holds for the `composite`, `backward` and `fit` calls that follow it.
    """

    def __init__(self, params_shape: tuple[int, ...], width: int, height: int):
        rows, n = params_shape
        self.width, self.height = width, height
        self.tiles_x, self.tiles_y = padded(width) // layout.TILE, padded(height) // layout.TILE
        self.max_degree = sh_degree_of((rows - layout.SH) // 3)
        self._projected = aligned_empty(layout.PROJECTED_ROWS, n)
        self._gradients = aligned_empty(2, n)
        self._order, self._spare = np.empty(n, np.int32), np.empty(n, np.int32)
        self._records = aligned_empty(n, layout.RECORD)
        self._moments = aligned_empty(n, layout.RECORD)
        self._starts = np.zeros(self.tiles_x * self.tiles_y + 1, np.int64)
        self._ends = np.empty_like(self._starts)
        self._members = np.empty(0, np.int32)
        self._pixels = aligned_empty(layout.BLOCKS * layout.PLANES * WIDTH)
        self._d_pixels = aligned_empty(*self._pixels.shape)
        self._sh_degree, self._antialiased, self._count = 0, False, 0
        self._reserve_tile(64)

    def project(
        self, params: Float32[Array, "p n"], camera: Float32[Array, "25"], sh_degree: int, antialiased: bool
    ) -> None:
        """Projects the Gaussians, sorts those in view by depth and lists them by tile."""
        self._camera, self._sh_degree, self._antialiased = camera, sh_degree, antialiased
        projection_kernels.project(params, camera, sh_degree, antialiased, self._projected)
        self._count = record_kernels.make_records(self._projected, self.width, self.height, self._records, self._order)
        binning_kernels.sort_by_depth(self._projected, self._order, self._spare, self._count)
        listed = (self._records, self._order, self._count, self.tiles_x)
        longest = binning_kernels.count_tiles(*listed, self.tiles_y, self._starts)
        if self._starts[-1] > len(self._members):
            self._members = np.empty(int(1.5 * self._starts[-1]), np.int32)
        if longest > self._capacity:
            self._reserve_tile(int(1.5 * longest))
        binning_kernels.list_tiles(*listed, self._starts, self._ends, self._members)

    def composite(self, background: Float32[Array, "3"], planes: Float32[Array, "5 h w"]) -> None:
        """Fills `planes` (padded to whole tiles): color over the background, alpha, sum of weight x depth."""
        blend_kernels.render_tiles(
            self._records, self._members, self._starts, self.width, self.height, background, self._scratch, planes
        )

    def backward(
        self,
        params: Float32[Array, "p n"],
        background: Float32[Array, "3"],
        d_planes: Float32[Array, "5 h w"],
        with_depth: bool,
        d_params: Float32[Array, "p n"],
    ) -> None:
        """Adds to `d_params` the derivatives of a loss with derivatives `d_planes` by the planes (0 in padding)."""
        self._moments[:] = 0
        blend_kernels.backward_tiles(
            *(self._records, self._members, self._starts, self.width, self.height, background, self._scratch),
            *(d_planes, with_depth, self._moments),
        )
        self._to_params(params, d_params)

    def fit(
        self,
        params: Float32[Array, "p n"],
        background: Float32[Array, "3"],
        target: UInt8[Array, "4 h w"],
        huber: float,
        alpha_weight: float,
        d_params: Float32[Array, "p n"],
    ) -> None:
        """Adds to `d_params` the derivatives of the fit's loss against `target`, all in one pass a tile.

        `target` (padded to whole tiles) holds the color over the background, and alpha. The loss is the sum over
        pixels of Huber(color difference, `huber`) / `huber` and `alpha_weight` |alpha difference|; tiles that no
        Gaussian reaches have no gradient and are skipped.
        """
        self._moments[:] = 0
        blend_kernels.fit_tiles(
            *(self._records, self._members, self._starts, self.width, self.height, background, self._scratch),
            *(target, huber, alpha_weight, self._moments),
        )
        self._to_params(params, d_params)

    @property
    def visible(self) -> Int32[Array, " m"]:
        """Which Gaussians the last `project` found in the image, near to far; the next call overwrites it."""
        return self._order[: self._count]

    @property
    def image_gradients(self) -> Float32[Array, "2 n"]:
        """The last `backward` or `fit`: derivatives by the image positions, in pixels; the next call overwrites it."""
        return self._gradients

    def _to_params(self, params: Float32[Array, "p n"], d_params: Float32[Array, "p n"]) -> None:
        projection_kernels.project_backward(
            *(params, self._camera, self._sh_degree, self._antialiased),
            *(self._projected, self._moments, self._gradients, d_params),
        )

    def _reserve_tile(self, capacity: int) -> None:
        """Room for `capacity` Gaussians in one tile; what is what, `blend_kernels` says."""
        self._capacity = padded(capacity, layout.WORD)
        self._scratch = (
            aligned_empty(self._capacity * layout.RECORD),
            np.empty(self._capacity, np.int32),
            np.empty(self._capacity, np.int32),
            np.empty(layout.BLOCKS * self._capacity // layout.WORD, np.int64),
            aligned_empty(layout.BLOCKS),
            aligned_empty(self._capacity * layout.BLOCKS * 2 * WIDTH),
            self._pixels,
            self._d_pixels,
        )


def image_planes(
    gaussians: Gaussians, cameras: Cameras, background: Float32[Array, "3"], antialiased: bool, sh_degree: int
) -> Iterator[Float32[Array, "5 h w"]]:
    """Color over the background, alpha and sum of weight x depth, view after view in the same memory."""
    params = pack(gaussians)
    workspace = Workspace(params.shape, cameras.width, cameras.height)
    planes = np.empty((layout.PLANES, padded(cameras.height), padded(cameras.width)), np.float32)
    for camera in camera_vectors(cameras):
        workspace.project(params, camera, sh_degree, antialiased)
        workspace.composite(background, planes)
        yield planes[:, : cameras.height, : cameras.width]


def rasterize(
    gaussians: Gaussians, cameras: Cameras, background: Float32[Array, "3"], antialiased: bool, sh_degree: int
) -> tuple[Float32[Array, "v h w 3"], Float32[Array, "v h w"], Float32[Array, "v h w"]]:
    """Color over the background, alpha and expected depth (0 where nothing is) of every view."""
    size = (len(cameras), cameras.height, cameras.width)
    rgb, alpha, depth = (np.empty((*size, *tail), np.float32) for tail in ((3,), (), ()))
    for view, planes in enumerate(image_planes(gaussians, cameras, background, antialiased, sh_degree)):
        rgb[view] = np.moveaxis(planes[:3], 0, -1)
        alpha[view] = planes[3]
        np.divide(planes[4], np.maximum(planes[3], np.float32(1e-10)), out=depth[view])
    return rgb, alpha, depth
