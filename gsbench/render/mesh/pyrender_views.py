"""Views of meshes by pyrender: four samples a pixel by OpenGL, `supersample` x `supersample` pixels drawn for each.

The referee of the software rasterizer. Import this module inside functions: it loads OpenGL.
"""

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Cameras, Mesh
from gsbench.render.mesh import gl
from gsbench.render.mesh.setup import RenderSetup, shade_matrix, supersampling, waves


def draw_views(mesh: Mesh, cameras: Cameras, setup: RenderSetup) -> UInt8[Array, "v h w 4"]:
    """RGBA of every view, straight alpha; see `gsbench.render.mesh.render_views`.

    The GL context is made once a process and kept; call from one thread of a process at a time.
    """
    if not len(mesh.faces):
        raise InputError("the mesh has no faces to draw")
    triangles = mesh.vertices[mesh.faces]
    factor = supersampling(setup, cameras.width, cameras.height)
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
    return rgba


def _shade_faces(triangles: Float32[Array, "t 3 3"], setup: RenderSetup) -> Float32[Array, " t"]:
    a, b, c = np.moveaxis(triangles.astype(np.float64), 1, 0)
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals /= np.where(lengths > 0, lengths, 1)  # a face without area covers no pixel
    return np.einsum("ti,ij,tj->t", normals, shade_matrix(setup), normals).astype(np.float32)


def _texture_uniforms(setup: RenderSetup) -> dict[str, Float64[Array, "..."]]:
    matrix = np.zeros((4, 4))
    matrix[:3, :3], matrix[:3, 3] = waves(setup)
    return {
        "light_colour": np.array(setup.light_colour),
        "dark_colour": np.array(setup.dark_colour),
        "waves": matrix,
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
