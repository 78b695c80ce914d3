"""Meshes drawn without OpenGL: one process, one thread, no driver, the same bytes on every machine.

`triangle_kernels` finds what every sample sees, `resolve_kernels` turns samples into pixels; here are the matrices and
buffers that they work with. Buffers are as large as one image and one chunk of faces, whatever the mesh or the rig.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from gsbench.render import resolve_kernels, triangle_kernels
from gsbench.render.setup import RenderSetup, shade_matrix, supersampling, waves
from gsbench.types import Array, Cameras, Mesh

MAX_SIZE = 8192  # pixels of an image's side
_CHUNK = 65536  # faces laid out for the kernels at a time
_NEAR = 1e-3  # nothing nearer to a camera is drawn, in radii of the object about the origin
_SAMPLES = 16
# Depth differences within a pixel up to this many radians of the texture do not show: at most .1 grey levels.
_FLAT_PHASE = 0.25


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A block of 16 samples: how many pixels it is wide, and where its samples and pixel centres lie (in blocks)."""

    side: int
    samples: Float32[Array, "2 16"]
    centres: Float32[Array, "2 16"]

    @property
    def margins(self) -> Float32[Array, "4"]:
        """The least and the largest x, then y, of a sample."""
        return np.array([f(axis) for axis in self.samples for f in (np.min, np.max)], np.float32)


def _sixteen_rooks() -> _Pattern:
    """One pixel of 16 samples, no two in a row or column of its 16 x 16 cells (Hammersley's points)."""
    lanes = np.arange(16)
    reversed_bits = sum(((lanes >> bit) & 1) << (3 - bit) for bit in range(4))
    centres = np.stack([lanes + 0.5, np.full(16, 0.5)])
    return _Pattern(1, ((np.stack([lanes, reversed_bits]) + 0.5) / 16).astype(np.float32), centres.astype(np.float32))


def _four_rooks() -> _Pattern:
    """2x2 pixels of four samples on a rotated grid; lane 4 s + p is sample s of pixel p (row by row)."""
    samples = np.array([[0.125, 0.625], [0.375, 0.125], [0.625, 0.875], [0.875, 0.375]])
    pixels = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    lanes = np.arange(16)
    positions = (samples[lanes // 4] + pixels[lanes % 4]).T / 2
    centres = np.stack([lanes // 4 + pixels[lanes % 4, 0] / 2 + 0.25, pixels[lanes % 4, 1] / 2 + 0.25])
    return _Pattern(2, positions.astype(np.float32), centres.astype(np.float32))


def _centres() -> _Pattern:
    """4x4 pixels, sampled at their centres."""
    lanes = np.arange(16)
    positions = ((np.stack([lanes % 4, lanes // 4]) + 0.5) / 4).astype(np.float32)
    return _Pattern(4, positions, positions)


_PATTERNS = {1: _four_rooks(), 2: _sixteen_rooks()}
_DEPTH_PATTERN = _centres()


class _Scene:
    """A mesh scaled to a radius of about one, laid out for the kernels, and the samples of one image."""

    def __init__(self, mesh: Mesh, cameras: Cameras, pattern: _Pattern, shading: Float64[Array, "3 3"]) -> None:
        _check(mesh, cameras)
        self.mesh, self.cameras, self.pattern, self.shading = mesh, cameras, pattern, shading
        largest = float(np.abs(mesh.vertices).max(initial=0))
        # A power of two, so that scaling rounds nothing.
        self.unit = 2.0 ** math.ceil(math.log2(largest)) if largest > 0 else 1.0
        self.near = np.float32(_NEAR * (largest / self.unit if largest > 0 else 1.0))
        self.blocks_x, self.blocks_y = -(-cameras.width // pattern.side), -(-cameras.height // pattern.side)
        self.frame = np.zeros(self.blocks_x * self.blocks_y * 2 * _SAMPLES, np.float32)
        groups = -(-min(len(mesh.faces), _CHUNK) // _SAMPLES)
        self._corners = np.zeros((groups, 9, _SAMPLES), np.float32)
        self._shades = np.zeros((groups, _SAMPLES), np.float32)
        self._scratch = (
            np.zeros(9 * _SAMPLES, np.float32),
            np.zeros(9 * _SAMPLES, np.float32),
            np.zeros(triangle_kernels.RECORD * _SAMPLES, np.float32),
            np.zeros((2, 9, 3)),
        )
        self._laid_out = -1

    def views(self) -> Iterator[tuple[int, np.ndarray]]:
        """Draws every view in turn; yields its number and the blocks touched (first and last x, first and last y)."""
        starts = range(0, len(self.mesh.faces), _CHUNK)
        for view in range(len(self.cameras)):
            box = np.array([self.blocks_x, -1, self.blocks_y, -1])
            matrix = self.projection(view).astype(np.float32).ravel()
            for start in starts:
                self._draw(start, matrix, box)
            yield view, box

    def projection(self, view: int) -> Float64[Array, "3 4"]:
        """From the scaled world to (x z, y z, z): x and y in blocks, z scaled as the world is."""
        viewmat, K = (array[view].astype(np.float64) for array in (self.cameras.viewmats, self.cameras.Ks))
        to_blocks = np.diag([1 / self.pattern.side, 1 / self.pattern.side, 1]) @ K
        return to_blocks @ np.concatenate([viewmat[:3, :3], viewmat[:3, 3:] / self.unit], axis=1)

    def _draw(self, start: int, matrix: Float32[Array, "12"], box: np.ndarray) -> None:
        faces = self.mesh.faces[start : start + _CHUNK]
        if self._laid_out != start:
            triangle_kernels.gather(self.mesh.vertices, faces, 1 / self.unit, self.shading, self._corners, self._shades)
            self._laid_out = start
        triangle_kernels.draw(
            *(self._corners.reshape(-1), self._shades, len(faces), matrix, self.near, self.pattern.samples.ravel()),
            *(self.pattern.margins, self.blocks_x, self.blocks_y, self._scratch, self.frame, box),
        )


def _check(mesh: Mesh, cameras: Cameras) -> None:
    if not len(mesh.faces):
        raise ValueError("the mesh has no faces to draw")
    if not np.isfinite(mesh.vertices).all():
        raise ValueError(f"vertex {np.flatnonzero(~np.isfinite(mesh.vertices).all(1))[0]} of the mesh is not finite")
    low, high = int(mesh.faces.min()), int(mesh.faces.max())
    if low < 0 or high >= len(mesh.vertices):
        wrong = low if low < 0 else high
        raise ValueError(f"a face of the mesh names vertex {wrong}, allowed are 0 to {len(mesh.vertices) - 1}")
    if not 0 < max(cameras.width, cameras.height) <= MAX_SIZE:
        raise ValueError(f"images of {cameras.width} x {cameras.height} pixels, allowed are 1 to {MAX_SIZE} a side")


def draw_views(mesh: Mesh, cameras: Cameras, setup: RenderSetup) -> UInt8[Array, "v h w 4"]:
    """RGBA of every view, straight alpha; see `gsbench.render.meshes.render_views`."""
    pattern = _PATTERNS[supersampling(setup, cameras.width, cameras.height)]
    scene = _Scene(mesh, cameras, pattern, shade_matrix(setup))
    pixels = pattern.side**2
    images = np.zeros((len(cameras), cameras.height, cameras.width), np.uint32)
    row = scene.blocks_x * pixels + 2 * _SAMPLES
    sums, packed = np.zeros((4, row), np.float32), np.zeros(row, np.uint32)
    dark, light = np.array(setup.dark_colour), np.array(setup.light_colour)
    colours = (255 * np.concatenate([dark, light - dark])).astype(np.float32)
    thickness = np.float32(_FLAT_PHASE / max(2 * np.pi * setup.frequency * scene.unit, 1e-6))
    for view, box in scene.views():
        resolve_kernels.resolve(
            *(scene.frame, box, scene.blocks_x, pattern.samples.ravel(), pattern.centres.ravel(), pixels),
            *(_waves_on_image(scene, view, setup), colours, thickness, sums, packed, images[view]),
        )
    return images.view(np.uint8).reshape(*images.shape, 4)


def _waves_on_image(scene: _Scene, view: int, setup: RenderSetup) -> Float32[Array, "12"]:
    """(a, b, c, d) of each wave: its phase, in turns, at x, y (blocks) and scaled z is d + z (a x + b y + c)."""
    vectors, phases = waves(setup)
    matrix = scene.projection(view)
    to_world = np.linalg.inv(matrix[:, :3])
    along = vectors * scene.unit @ to_world
    offsets = phases - along @ matrix[:, 3]
    return (np.concatenate([along, offsets[:, None]], axis=1) / (2 * np.pi)).astype(np.float32).ravel()


def draw_depth(mesh: Mesh, cameras: Cameras) -> Float32[Array, "v h w"]:
    """z of every pixel's centre; see `gsbench.render.meshes.render_depth`."""
    scene = _Scene(mesh, cameras, _DEPTH_PATTERN, np.zeros((3, 3)))
    depth = np.zeros((len(cameras), cameras.height, cameras.width), np.float32)
    for view, box in scene.views():
        resolve_kernels.resolve_depth(scene.frame, box, scene.blocks_x, scene.unit, depth[view])
    return depth
