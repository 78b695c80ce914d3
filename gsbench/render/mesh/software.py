"""Meshes drawn without OpenGL: one process, one thread, no driver, the same bytes on every machine.

`triangle_kernels` finds what every sample sees, `resolve_kernels` turns samples into pixels; here are the matrices and
buffers that they work with. Buffers are as large as one image and one chunk of faces, whatever the mesh or the rig.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Cameras, Mesh
from gsbench.render.mesh import face_kernels, resolve_kernels, triangle_kernels
from gsbench.render.mesh import triangle_layout as at
from gsbench.render.mesh.setup import RenderSetup, shade_matrix, supersampling, waves
from gsbench.render.splats.cpu import aligned_empty

MAX_SIZE = 8192  # pixels of an image's side
_CHUNK = 131_072  # faces laid out for the kernels at a time
_DEPTH_BINS = 1024
_PLANES = 131_072  # triangles that own whole blocks of an image, before they are written out
# Depth differences within a pixel up to this many radians of the texture do not show: at most .1 gray levels.
_FLAT_PHASE = 0.25


@dataclass(frozen=True)
class _Pattern:
    """A block of 16 samples: how many pixels it is wide, and where its samples lie (in blocks)."""

    side: int
    samples: Float32[Array, "2 16"]

    @cached_property
    def layout(self) -> Float32[Array, "576"]:
        """x and y of the samples, of the blocks of a tile, and of all samples of a tile."""
        blocks = np.stack(np.divmod(np.arange(at.LANES, dtype=np.float32), at.TILE)[::-1])
        tile = blocks[:, :, None] + self.samples[:, None]
        layout = _aligned(2 * (2 * at.LANES + at.LANES**2))
        layout[:] = np.concatenate([self.samples.ravel(), blocks.ravel(), tile.ravel()])
        return layout

    @cached_property
    def margins(self) -> Float32[Array, "4"]:
        """The least and the largest x, then y, of a sample."""
        return np.array([f(axis) for axis in self.samples for f in (np.min, np.max)], np.float32)

    @cached_property
    def centers(self) -> Float32[Array, " q"]:
        """x, then y of the pixel centers of a tile, block by block (in blocks), 16 zeros behind each."""
        block, pixel = np.divmod(np.arange(at.LANES * self.side**2), self.side**2)
        x, y = (f(block, at.TILE) + (f(pixel, self.side) + 0.5) / self.side for f in (np.mod, np.floor_divide))
        return np.concatenate([np.pad(x, (0, at.LANES)), np.pad(y, (0, at.LANES))]).astype(np.float32)


def _sixteen_rooks() -> _Pattern:
    """One pixel of 16 samples: a rotated 4x4 grid, no two samples in a row or column of 16 x 16 cells."""
    row, column = np.divmod(np.arange(16), 4)
    return _Pattern(1, ((np.stack([4 * column + row, 4 * row + 3 - column]) + 0.5) / 16).astype(np.float32))


def _four_rooks() -> _Pattern:
    """2x2 pixels of four samples on a rotated grid; lane 4 s + p is sample s of pixel p (row by row)."""
    samples = np.array([[0.125, 0.625], [0.375, 0.125], [0.625, 0.875], [0.875, 0.375]])
    pixels = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    lanes = np.arange(16)
    return _Pattern(2, ((samples[lanes // 4] + pixels[lanes % 4]).T / 2).astype(np.float32))


def _centers() -> _Pattern:
    """4x4 pixels, sampled at their centers."""
    row, column = np.divmod(np.arange(16), 4)
    return _Pattern(4, ((np.stack([column, row]) + 0.5) / 4).astype(np.float32))


_PATTERNS = {1: _four_rooks(), 2: _sixteen_rooks()}
_DEPTH_PATTERN = _centers()


class _Scene:
    """A mesh scaled to a radius of about one, laid out for the kernels, and the samples of one image."""

    def __init__(self, mesh: Mesh, cameras: Cameras, pattern: _Pattern, shading: Float64[Array, "3 3"]) -> None:
        _check(mesh, cameras)
        self.mesh, self.cameras, self.pattern, self.shading = mesh, cameras, pattern, shading
        largest = max(-float(mesh.vertices.min()), float(mesh.vertices.max()))
        # A power of two, so that scaling rounds nothing; one that float32 holds.
        self.unit = 2.0 ** min(math.ceil(math.log2(largest)), 127) if largest > 0 else 1.0
        self.blocks_x, self.blocks_y = -(-cameras.width // pattern.side), -(-cameras.height // pattern.side)
        self.patches_x, patches_y = (-(-count // (at.TILE * at.PATCH)) for count in (self.blocks_x, self.blocks_y))
        self._guard = np.float32(at.GUARD * max(self.blocks_x, self.blocks_y))
        tiles = self.patches_x * patches_y * at.LANES
        blocks = tiles * at.LANES
        self.frame = (
            _aligned(blocks, at.EMPTY),
            _aligned(blocks),
            _aligned(blocks),
            aligned_empty(2 * at.LANES * blocks),
            np.empty(_PLANES * at.PLANE, np.float32),
            np.zeros(1, np.int64),
            _aligned(tiles),
        )
        faces = min(len(mesh.faces), _CHUNK)
        groups = -(-faces // at.LANES)
        self._corners = _aligned(groups * at.CORNERS * at.LANES)
        self._shades = _aligned(groups * at.LANES)
        self._table = np.empty(2 ** math.ceil(math.log2(2 * faces)), np.int32)
        self._scratch = (
            _aligned(at.CORNERS * at.LANES),
            _aligned(len(self._corners)),
            _aligned(at.CORNERS * at.LANES),
            _aligned(at.RECORD * at.LANES),
            np.zeros((2, 9, 3)),
            np.zeros(3),
            _aligned(len(self._shades)),
            np.zeros(len(self._shades), np.int32),
            np.zeros(len(self._shades), np.int32),
            np.zeros(_DEPTH_BINS + 1, np.int32),
        )
        self._laid_out, self._count = -1, 0
        self.matrices = self._matrices()

    def views(self) -> Iterator[tuple[int, np.ndarray]]:
        """Draws every view in turn; yields its number and the blocks touched (first and last x, first and last y)."""
        starts = range(0, len(self.mesh.faces), _CHUNK)
        for view in range(len(self.cameras)):
            box = np.array([self.blocks_x, -1, self.blocks_y, -1])
            matrix = self.matrices[view].astype(np.float32).ravel()
            for start in starts:
                self._draw(start, matrix, box)
            yield view, box

    def _matrices(self) -> Float64[Array, "v 3 4"]:
        """From the scaled world to (x z, y z, z) of every view: x and y in blocks, z scaled as the world is."""
        viewmats, Ks = self.cameras.viewmats.astype(np.float64), self.cameras.Ks.astype(np.float64)
        Ks[:, :2] /= self.pattern.side
        poses = np.concatenate([viewmats[:, :3, :3], viewmats[:, :3, 3:] / self.unit], axis=2)
        return _multiply(Ks, poses)

    def _draw(self, start: int, matrix: Float32[Array, "12"], box: np.ndarray) -> None:
        if self._laid_out != start:
            self._count = face_kernels.lay_out(
                *(self.mesh.vertices, self.mesh.faces[start : start + _CHUNK], 1 / self.unit, self.shading),
                *(self._table, self._corners, self._shades),
            )
            self._laid_out = start
        triangle_kernels.draw(
            *(self._corners, self._shades, self._count, matrix, self._guard, self.pattern.layout),
            *(self.pattern.margins, self.blocks_x, self.blocks_y, self._scratch, self.frame, box),
        )


def _aligned(size: int, value: float = 0.0) -> Float32[Array, " n"]:
    """An array that starts at a cache line, full of `value`."""
    array = aligned_empty(size)
    array[:] = value
    return array


def _multiply(a: Float64[Array, "v i j"], b: Float64[Array, "v j k"]) -> Float64[Array, "v i k"]:
    """Matrix products element by element: a BLAS rounds as its processor likes."""
    return (a[:, :, :, None] * b[:, None]).sum(2)


def _check(mesh: Mesh, cameras: Cameras) -> None:
    if not len(mesh.faces):
        raise InputError("the mesh has no faces to draw")
    low, high = int(mesh.faces.min()), int(mesh.faces.max())
    if low < 0 or high >= len(mesh.vertices):
        wrong = low if low < 0 else high
        raise InputError(f"a face of the mesh names vertex {wrong}, allowed are 0 to {len(mesh.vertices) - 1}")
    if not (np.isfinite(mesh.vertices.min()) and np.isfinite(mesh.vertices.max())):
        raise InputError(f"vertex {np.flatnonzero(~np.isfinite(mesh.vertices).all(1))[0]} of the mesh is not finite")
    if not 0 < max(cameras.width, cameras.height) <= MAX_SIZE:
        raise InputError(f"images of {cameras.width} x {cameras.height} pixels, allowed are 1 to {MAX_SIZE} a side")


def draw_views(mesh: Mesh, cameras: Cameras, setup: RenderSetup) -> UInt8[Array, "v h w 4"]:
    """RGBA of every view, straight alpha; see `gsbench.render.mesh.render_views`."""
    pattern = _PATTERNS[supersampling(setup, cameras.width, cameras.height)]
    scene = _Scene(mesh, cameras, pattern, shade_matrix(setup))
    pixels = pattern.side**2
    images = np.zeros((len(cameras), cameras.height, cameras.width), np.uint32)
    sums = np.zeros((4, at.LANES * pixels + at.LANES), np.float32)
    spare = np.zeros((at.TILE * pattern.side, at.TILE * pattern.side), np.uint32)
    dark, light = np.array(setup.dark_colour), np.array(setup.light_colour)
    colors = (255 * np.concatenate([dark, light - dark])).astype(np.float32)
    thickness = np.float32(_FLAT_PHASE / max(2 * np.pi * setup.frequency * scene.unit, 1e-6))
    on_images = _waves_on_images(scene, setup)
    for view, box in scene.views():
        resolve_kernels.resolve(
            *(scene.frame, box, scene.patches_x, pattern.layout, pattern.centers, pixels),
            *(on_images[view], colors, thickness, sums, spare, images[view]),
        )
    return images.view(np.uint8).reshape(*images.shape, 4)


def _waves_on_images(scene: _Scene, setup: RenderSetup) -> Float32[Array, "v 12"]:
    """(a, b, c, d) of each wave: its phase, in turns, at x, y (blocks) and scaled z is d + z (a x + b y + c)."""
    vectors, phases = waves(setup)
    x, y, z = np.moveaxis(scene.matrices[:, :, :3], 1, 0)
    volumes = np.stack([np.cross(y, z), np.cross(z, x), np.cross(x, y)], axis=2)  # the inverses, times x . (y x z)
    to_world = volumes / (x * volumes[:, :, 0]).sum(1)[:, None, None]
    along = _multiply(np.broadcast_to(vectors * scene.unit, to_world.shape), to_world)
    offsets = phases[:, None] - _multiply(along, scene.matrices[:, :, 3:])
    return (np.concatenate([along, offsets], axis=2) / (2 * np.pi)).astype(np.float32).reshape(-1, 12)


def draw_depth(mesh: Mesh, cameras: Cameras) -> Float32[Array, "v h w"]:
    """z of every pixel's center; see `gsbench.render.mesh.render_depth`."""
    scene = _Scene(mesh, cameras, _DEPTH_PATTERN, np.zeros((3, 3)))
    depth = np.zeros((len(cameras), cameras.height, cameras.width), np.float32)
    spare = np.zeros((4, 4), np.float32)
    for view, box in scene.views():
        resolve_kernels.resolve_depth(
            scene.frame, box, scene.patches_x, scene.pattern.layout, np.float32(scene.unit), spare, depth[view]
        )
    return depth
