"""pyrender without a window: one EGL context a process, our own shading, and colors read back alone.

pyrender brings the context, the buffers and the draw calls. Its shaders are left out: they are physically based, so
what a surface looks like depends on the viewer, and they shade the two sides of a face differently. Here a fragment's
color is a function of its position and its face only. Import this module inside functions: it loads OpenGL.
"""

import functools
import os
import warnings
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Cameras, Mesh
from gsbench.render.mesh.setup import RenderSetup, shade_matrix, supersampling, waves

MISSING_EGL = "renderer 'pyrender' needs OpenGL (EGL), install it: apt-get install -y libegl1 libgl1 libgl1-mesa-dri"
MISSING_PYRENDER = "renderer 'pyrender' needs pyrender, install it: pip install 'gsbench-3d[render]'"

os.environ["PYOPENGL_PLATFORM"] = "egl"  # read once, when OpenGL is first imported
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyrender and its dependencies, not ours to mend
        import pyrender.renderer
        from OpenGL import GL
        from pyrender.platforms import egl
        from pyrender.shader_program import ShaderProgram
except ModuleNotFoundError:
    raise InputError(MISSING_PYRENDER) from None
except (ImportError, AttributeError, RuntimeError):
    raise InputError(MISSING_EGL) from None

_VERTEX_SHADER = """#version 330 core
layout(location = 0) in vec3 position;
layout(location = 1) in vec4 color_0;
uniform mat4 V;
uniform mat4 P;
out vec3 world;
flat out float shade;
void main() {
    gl_Position = P * V * vec4(position, 1.0);
    world = position;
    shade = color_0.r;
}
"""
_FRAGMENT_SHADER = """#version 330 core
in vec3 world;
flat in float shade;
uniform vec3 light_colour;
uniform vec3 dark_colour;
uniform mat4 waves;
out vec4 rgba;
void main() {
    vec4 s = sin(waves * vec4(world, 1.0));
    rgba = vec4(shade * mix(dark_colour, light_colour, 0.5 + (s.x + s.y + s.z) / 6.0), 1.0);
}
"""


class _Program(ShaderProgram):
    """pyrender's program wrapper over the sources above in place of files."""

    def __init__(self) -> None:
        super().__init__(vertex_shader=_VERTEX_SHADER, fragment_shader=_FRAGMENT_SHADER)

    def _load(self, shader_filename: str) -> str:
        return shader_filename


class _Renderer(pyrender.renderer.Renderer):
    """pyrender's renderer with one program, and without the read-back of depth, which costs more than drawing."""

    def __init__(self, size: int) -> None:
        super().__init__(size, size)
        self._program = _Program()
        self._program._add_to_context()
        self.texture: dict[str, Float64[Array, "..."]] = {}

    def _get_primitive_program(self, primitive: object, flags: int, program_flags: int) -> _Program:
        return self._program

    def _bind_lighting(self, scene: object, program: _Program, node: object, flags: int) -> None:
        for name, value in self.texture.items():
            program.set_uniform(name, value)

    def _read_main_framebuffer(self, scene: object, flags: int) -> UInt8[Array, "h w 4"]:
        width, height = self._main_fb_dims
        area = (0, 0, width, height)
        GL.glBindFramebuffer(GL.GL_READ_FRAMEBUFFER, self._main_fb_ms)
        GL.glBindFramebuffer(GL.GL_DRAW_FRAMEBUFFER, self._main_fb)
        GL.glBlitFramebuffer(*area, *area, GL.GL_COLOR_BUFFER_BIT, GL.GL_NEAREST)
        GL.glBindFramebuffer(GL.GL_READ_FRAMEBUFFER, self._main_fb)
        pixels = GL.glReadPixels(*area, GL.GL_RGBA, GL.GL_UNSIGNED_BYTE)
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 4)[::-1]


def draw(
    triangles: Float32[Array, "t 3 3"],
    shades: Float32[Array, " t"],
    texture: dict[str, Float64[Array, "..."]],
    poses: Float64[Array, "v 4 4"],
    projections: Float64[Array, "v 4 4"],
    width: int,
    height: int,
) -> Iterator[UInt8[Array, "h w 4"]]:
    """Draws triangles, both sides alike, from many cameras.

    Args:
        triangles: corners, world frame.
        shades: factor on the texture's color, 0..1, one a triangle.
        texture: the uniforms `light_colour`, `dark_colour` and `waves` of the fragment shader.
        poses: camera-to-world, OpenGL axes (x right, y up, z backward).
        projections: clip-space matrices, OpenGL convention.
        width: of the image, in pixels.
        height: of the image, in pixels.

    Yields:
        One image a camera, premultiplied RGBA, four samples a pixel.

    Raises:
        InputError: no EGL; the message has the line that installs it.
    """
    renderer = _open_renderer(os.getpid())
    renderer.viewport_width, renderer.viewport_height = width, height
    renderer.texture = texture
    colors = np.ones((3 * len(triangles), 4), np.float32)
    colors[:, :3] = np.repeat(shades, 3)[:, None]
    material = pyrender.MetallicRoughnessMaterial(doubleSided=True)
    primitive = pyrender.Primitive(positions=triangles.reshape(-1, 3), color_0=colors, material=material)
    scene = pyrender.Scene(bg_color=np.zeros(4))
    scene.add_node(pyrender.Node(mesh=pyrender.Mesh([primitive])))
    camera = _FixedCamera()
    node = pyrender.Node(camera=camera)
    scene.add_node(node)
    flags = pyrender.RenderFlags.OFFSCREEN | pyrender.RenderFlags.RGBA
    try:
        for pose, projection in zip(poses, projections, strict=True):
            camera.projection = projection
            scene.set_pose(node, pose)
            yield renderer.render(scene, flags)
    finally:
        renderer._update_context(pyrender.Scene(), flags)  # frees the object's buffers, keeps the context


class _FixedCamera(pyrender.Camera):
    """A camera whose projection is handed to it."""

    projection: Float64[Array, "4 4"]

    def get_projection_matrix(self, width: int | None = None, height: int | None = None) -> Float64[Array, "4 4"]:
        return self.projection


@functools.cache
def _open_renderer(process: int) -> _Renderer:
    """The renderer of this process (a context does not survive a fork) on the first EGL device that gives a context."""
    for device in egl.query_devices():
        platform = egl.EGLPlatform(64, 64, device=device)
        try:
            platform.init_context()
        except Exception:  # PyOpenGL raises its own errors here, AssertionErrors and ctypes' errors
            continue
        renderer = _Renderer(64)
        renderer.platform = platform  # the context lives as long as its renderer
        return renderer
    raise InputError(MISSING_EGL)


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
    images = draw(
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
