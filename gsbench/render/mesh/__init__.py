"""Views and depth of meshes: the one entry to both renderers.

The software rasterizer draws by default. pyrender (extra `render`) draws the same picture by OpenGL, for who wants to
compare: `renderer = "pyrender"` of `RenderSetup`, whose module says what a surface looks like.
"""

from jaxtyping import Float32

from gsbench.core.types import Array, Cameras, Mesh, Views
from gsbench.render.mesh import software
from gsbench.render.mesh.setup import RenderSetup

__all__ = ["RenderSetup", "render_depth", "render_views"]


def render_views(mesh: Mesh, cameras: Cameras, setup: RenderSetup) -> Views:
    """Draws a mesh from every camera: RGBA over nothing, edges antialiased, both sides of every face.

    A view depends on the mesh, its camera and the set-up alone. By software its bytes are the same on every machine;
    what is nearer to a camera's plane than a millionth of the mesh's largest coordinate is not drawn.

    Args:
        mesh: in the frame of the cameras.
        cameras: none of them need see the object; one may be inside it.
        setup: texture, lights, sampling, renderer.

    Returns:
        The views, straight alpha; where alpha is 0 the color is 0.

    Raises:
        InputError: a mesh without faces, with a vertex that is not finite or a face that names no vertex, images of
            more than 8,192 pixels a side; by pyrender: no pyrender or no EGL (the message has the line that installs
            it).
    """
    if setup.renderer == "software":
        return Views(software.draw_views(mesh, cameras, setup), cameras)
    from gsbench.render.mesh.gl import draw_views  # here, since it loads OpenGL

    return Views(draw_views(mesh, cameras, setup), cameras)


def render_depth(mesh: Mesh, cameras: Cameras) -> Float32[Array, "v h w"]:
    """Depth of a mesh from every camera, by the software rasterizer.

    Args:
        mesh: in the frame of the cameras, both sides of every face.
        cameras: as for `render_views`.

    Returns:
        z in the camera's frame at the center of every pixel, in the mesh's units; 0 where nothing is.

    Raises:
        InputError: as `render_views` by software.
    """
    return software.draw_depth(mesh, cameras)
