"""Views of meshes: one texture and one set of lights for all objects, drawn by pyrender.

How a surface looks, in sRGB values throughout:

    colour(p, n) = shade(n) * mix(dark_colour, light_colour, 1/2 + (sin w1.p + sin w2.p + sin w3.p) / 6)
    shade(n)     = ambient + sum_i intensity_i (n . l_i)^2

p is the position in the world frame, n the face's normal, l_i the directions of the lights. The texture is a soft 3-D
pattern without edges: a hard 3-D checker costs a fit of Gaussians 6 dB. The square makes a face look the same from
both sides, as it must when winding means nothing and walls have no thickness; no highlight moves with the viewer, so
views agree with each other and spherical harmonics have no gloss to learn.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from gsbench.types import Array, Cameras, Mesh, Views

# Directions of the three waves: orthonormal, none along an axis, so that no wall of a box-like object is plain.
_WAVES = np.array([[2, 2, 1], [-2, 1, 2], [1, -2, 2]]) / 3
_WAVE_PHASES = np.array([0.3, 1.7, 4.1])
_SUPERSAMPLED_UP_TO = 400


@dataclass(frozen=True, slots=True)
class RenderSetup:
    """Texture, lights and sampling of the views; the same for all objects of a data set.

    Attributes:
        light_colour: sRGB in 0..1, one end of the texture.
        dark_colour: sRGB in 0..1, the other end.
        frequency: waves of the texture per world unit (the object's radius).
        ambient: shade of a face that no light reaches.
        lights: direction (x, y, z; any length) and intensity of each light. No normal's shade may exceed 1, so that
            nothing saturates.
        supersample: pixels drawn per pixel and axis, on top of four samples each; 0 means 2 up to 400 pixels, 1 above.
    """

    light_colour: tuple[float, float, float] = (0.95, 0.90, 0.82)
    dark_colour: tuple[float, float, float] = (0.74, 0.79, 0.88)
    frequency: float = 1.25
    ambient: float = 0.45
    lights: tuple[tuple[float, float, float, float], ...] = (
        (0.15, 0.10, 0.98, 0.42),
        (0.95, -0.30, 0.10, 0.28),
        (-0.30, 0.80, 0.50, 0.05),
    )
    supersample: int = 0

    def __post_init__(self) -> None:
        for name in ("light_colour", "dark_colour"):
            if not all(0 <= value <= 1 for value in getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}, allowed are three values in 0..1")
        if not 0 <= self.frequency < math.inf:
            raise ValueError(f"frequency is {self.frequency}, it must be 0 or more")
        if not all(math.hypot(*light[:3]) > 0 for light in self.lights):
            raise ValueError("lights: a direction is zero, each light is (x, y, z, intensity)")
        if not min([self.ambient, *(light[3] for light in self.lights)]) >= 0:
            raise ValueError("ambient and the lights' intensities must be 0 or more")
        brightest = float(np.linalg.eigvalsh(_shade_matrix(self))[-1])
        if not brightest <= 1:
            raise ValueError(f"ambient and lights reach a shade of {brightest:.3f}, at most 1 is allowed")
        if self.supersample not in range(5):
            raise ValueError(f"supersample is {self.supersample}, allowed are 0 (automatic) to 4")


def render_views(mesh: Mesh, cameras: Cameras, setup: RenderSetup) -> Views:
    """Draws a mesh from every camera: RGBA over nothing, edges antialiased, both sides of every face.

    The GL context is made once a process and kept; call from one thread of a process at a time.

    Args:
        mesh: in the frame of the cameras.
        cameras: none of them need see the object.
        setup: texture, lights, sampling.

    Returns:
        The views, straight alpha; where alpha is 0 the colour is 0.

    Raises:
        ValueError: no pyrender or no EGL (the message has the line that installs it), or a mesh without faces.
    """
    from gsbench.render import gl  # here, since it loads OpenGL

    if not len(mesh.faces):
        raise ValueError("the mesh has no faces to draw")
    triangles = mesh.vertices[mesh.faces]
    factor = setup.supersample or (2 if max(cameras.width, cameras.height) <= _SUPERSAMPLED_UP_TO else 1)
    poses, projections = _to_opengl(cameras, float(np.linalg.norm(triangles, axis=-1).max()))
    rgba = np.empty((len(cameras), cameras.height, cameras.width, 4), np.uint8)
    images = gl.draw(
        triangles,
        _shade_faces(triangles, setup),
        _texture_uniforms(setup),
        poses,
        projections,
        factor * cameras.width,
        factor * cameras.height,
    )
    for view, image in enumerate(images):
        rgba[view] = _resolve(image, factor)
    return Views(rgba, cameras)


def _shade_faces(triangles: Float32[Array, "t 3 3"], setup: RenderSetup) -> Float32[Array, " t"]:
    a, b, c = np.moveaxis(triangles.astype(np.float64), 1, 0)
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals /= np.where(lengths > 0, lengths, 1)  # a face without area covers no pixel
    return np.einsum("ti,ij,tj->t", normals, _shade_matrix(setup), normals).astype(np.float32)


def _shade_matrix(setup: RenderSetup) -> Float64[Array, "3 3"]:
    """The shade of a unit normal n is n^T M n."""
    matrix = setup.ambient * np.eye(3)
    for *direction, intensity in setup.lights:
        unit = np.array(direction) / np.linalg.norm(direction)
        matrix += intensity * np.outer(unit, unit)
    return matrix


def _texture_uniforms(setup: RenderSetup) -> dict[str, Float64[Array, "..."]]:
    waves = np.zeros((4, 4))
    waves[:3, :3] = _WAVES * 2 * np.pi * setup.frequency
    waves[:3, 3] = _WAVE_PHASES
    return {
        "light_colour": np.array(setup.light_colour),
        "dark_colour": np.array(setup.dark_colour),
        "waves": waves,
    }


def _to_opengl(cameras: Cameras, radius: float) -> tuple[Float64[Array, "v 4 4"], Float64[Array, "v 4 4"]]:
    """Returns camera-to-world poses and projections with OpenGL's axes; `radius` bounds the object about the origin."""
    poses = np.linalg.inv(cameras.viewmats.astype(np.float64))
    distances = np.linalg.norm(poses[:, :3, 3], axis=1)
    poses[:, :, 1:3] *= -1  # OpenCV's y down and z forward become y up and z backward
    near = np.maximum(distances - 1.01 * radius, 0.01 * radius)
    far = distances + 1.01 * radius
    Ks = cameras.Ks.astype(np.float64)
    projections = np.zeros((len(cameras), 4, 4))
    projections[:, 0, 0] = 2 * Ks[:, 0, 0] / cameras.width
    projections[:, 0, 1] = -2 * Ks[:, 0, 1] / cameras.width
    projections[:, 0, 2] = 1 - 2 * Ks[:, 0, 2] / cameras.width
    projections[:, 1, 1] = 2 * Ks[:, 1, 1] / cameras.height
    projections[:, 1, 2] = 2 * Ks[:, 1, 2] / cameras.height - 1
    projections[:, 2, 2] = (far + near) / (near - far)
    projections[:, 2, 3] = 2 * far * near / (near - far)
    projections[:, 3, 2] = -1
    return poses, projections


def _resolve(image: UInt8[Array, "fh fw 4"], factor: int) -> UInt8[Array, "h w 4"]:
    """Averages `factor` x `factor` premultiplied pixels into one with straight alpha."""
    if factor > 1:
        rows = sum(image[i::factor].astype(np.uint16) for i in range(factor))
        total = sum(rows[:, i::factor] for i in range(factor))
        image = ((total + factor**2 // 2) // factor**2).astype(np.uint8)
    result = image.copy()
    edges = np.flatnonzero((image[..., 3] > 0) & (image[..., 3] < 255))
    pixels = result.reshape(-1, 4)
    alpha = pixels[edges, 3:].astype(np.float32)
    pixels[edges, :3] = np.minimum(pixels[edges, :3] / alpha * 255 + 0.5, 255)
    return result
