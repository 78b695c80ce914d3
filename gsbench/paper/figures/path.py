"""Figure 3: the cameras around an object, and its Gaussians as points over their render."""

import numpy as np
from jaxtyping import Float, Float32

from gsbench.core.geometry import camera_centers, spiral_rig
from gsbench.core.types import Array, Cameras, Gaussians
from gsbench.paper.figures.drawing import camera_at, direction, dots, drawn_box, enlarged, faded, picture, project
from gsbench.paper.figures.sheet import Sheet, to_pixels
from gsbench.paper.figures.subject import Shots, choose_subject, open_shots
from gsbench.render.splats import rasterize
from gsbench.store.folder import Folder

_BLUE = (0.05, 0.30, 0.75)
_SIZE = 720
_FAR = 14.0
_TOWARDS = direction(-50, 20)
_FINE_STEPS = 40
_LOOKS_DOWN_DEG = 25.0


def draw_path(folder: Folder, object_id: str | None) -> Sheet:
    """Figure 3: the cameras to scale around the object, one camera's picture of the Gaussians, and their centres on it.

    Raises:
        InputError: no such object, or no views or Gaussians in the folder.
    """
    subject = choose_subject(folder, object_id, "bathtub")
    shots = open_shots(folder, subject.object_id)
    eyes = camera_centers(shots.cameras.viewmats)
    marked = _well_seen(eyes)
    rig = folder.manifest.recipe.get("rig", {})
    caption = (
        f"{subject.provenance} Left: the cameras of its stored views{_of_the_rig(rig, len(eyes))}, "
        "to scale around the object; the part of the path behind the object is paler. Middle: the Gaussians from the "
        f"camera in red, view {shots.positions[marked]}, drawn by our CPU rasteriser. Right: the same with all "
        f"{len(subject.gaussians):,} centres as blue dots, paler further away; those of hidden Gaussians show through."
    )
    sheet = Sheet(7.6, 2.95, caption)
    _draw_cameras(sheet, subject.gaussians, shots, _fine_path(rig, eyes), marked)
    camera = enlarged(shots.cameras[[marked]], _SIZE)
    render = picture(subject.gaussians, camera)
    towards = eyes[marked] / np.linalg.norm(eyes[marked])
    centres = dots(subject.gaussians.means, faded(subject.gaussians.means, towards, _BLUE), 0.012)
    over = _over(centres, camera, 0.35 + 0.65 * render)
    box = drawn_box(render, picture(centres, camera))
    for left, title, image in ((3.5, "Gaussians", render), (5.55, "and their centres", over)):
        sheet.image((left, 0.55, 1.95), to_pixels(image[box]), title, smooth=True)
    return sheet


def _over(gaussians: Gaussians, camera: Cameras, below: Float32[Array, "h w 3"]) -> Float32[Array, "h w 3"]:
    """What the camera sees of the Gaussians, over an image in place of white."""
    seen = rasterize(gaussians, camera)
    alpha = seen.alpha[0, :, :, None]
    return np.asarray(seen.rgb[0] - (1 - alpha) + (1 - alpha) * below)


def _well_seen(eyes: Float[Array, "v 3"]) -> int:
    """Of the cameras in front of the object the one that looks down on it most nearly at a fixed angle."""
    elevations = np.degrees(np.arcsin(eyes[:, 2] / np.linalg.norm(eyes, axis=1)))
    behind = eyes @ _TOWARDS < 0
    return int(np.argmin(np.abs(elevations - _LOOKS_DOWN_DEG) + 360 * behind))


def _of_the_rig(rig: dict[str, float], kept: int) -> str:
    """What the rest of the rig is, in words, where the manifest says it."""
    if not rig:
        return ""
    of = f", {kept} of {rig['views']}" if rig["views"] != kept else ""
    return (
        f"{of} on a spiral of {rig['turns']:g} turns from {rig['elevation_min_deg']:g}° to "
        f"{rig['elevation_max_deg']:g}° elevation, {rig['radius']:g} radii of the unit sphere away"
    )


def _fine_path(rig: dict[str, float], eyes: Float[Array, "v 3"]) -> Float[Array, "s 3"]:
    """The spiral in small steps; where the manifest has no rig, the cameras in their order."""
    if not rig:
        return eyes
    steps = (int(rig["views"]) - 1) * _FINE_STEPS + 1
    elevations = (rig["elevation_min_deg"], rig["elevation_max_deg"])
    return camera_centers(spiral_rig(steps, rig["radius"], rig["fov_deg"], rig["turns"], *elevations, 8, 8).viewmats)


def _frusta(cameras: Cameras, length: float) -> Float[Array, "v 10 3"]:
    """Each camera's pyramid as one line of ten points, which takes two of its edges twice."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64) * (cameras.width, cameras.height)
    rays = np.concatenate([corners, np.ones((4, 1))], axis=1)
    eyes = camera_centers(cameras.viewmats)
    lines = []
    for viewmat, K, eye in zip(cameras.viewmats, cameras.Ks, eyes, strict=True):
        base = eye + length * (rays @ np.linalg.inv(K).T) @ viewmat[:3, :3]
        lines.append(np.stack([*base, base[0], eye, base[1], base[2], eye, base[3]]))
    return np.stack(lines)


def _draw_cameras(sheet: Sheet, gaussians: Gaussians, shots: Shots, path: Float[Array, "s 3"], marked: int) -> None:
    """The overview: what is further away than the object's centre, paler; then the object; then what is nearer."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize

    eyes = camera_centers(shots.cameras.viewmats)
    radius = float(np.linalg.norm(eyes, axis=1).max())
    middle = np.array([0, 0, (path[:, 2].min() + path[:, 2].max()) / 2])
    overview = camera_at(_TOWARDS, _SIZE, middle, 1.04 * radius, _FAR)
    axes = sheet.axes(0.05, 0.25, 2.75, 2.75, "cameras")
    colours = ScalarMappable(Normalize(0, max(int(shots.positions.max()), 1)), "viridis")
    pyramids = colours.to_rgba(shots.positions)
    pyramids[marked] = (0.85, 0.1, 0.1, 1)
    steps = np.stack([path[:-1], path[1:]], axis=1)
    for lines, ink, width in (
        (steps, np.full((len(steps), 4), (0.45, 0.45, 0.45, 1)), 0.7),
        (_frusta(shots.cameras, 0.12 * radius), pyramids, 0.8),
    ):
        seen = project(lines, overview)
        behind = lines.mean(axis=1) @ _TOWARDS < 0
        for part, order, strength in ((behind, 1, 0.35), (~behind, 3, 1.0)):
            pale = ink[part] * (1, 1, 1, strength)
            axes.add_collection(LineCollection(list(seen[part, :, :2]), colors=pale, linewidths=width, zorder=order))
    rendered = rasterize(gaussians, overview)
    axes.imshow(np.dstack([rendered.rgb[0].clip(0, 1), rendered.alpha[0].clip(0, 1)]), zorder=2)
    axes.set_axis_off()
    sheet.colour_bar((2.88, 0.6, 0.07, 2.0), colours, "view")
