"""Figures 1 and 2: an object beside its Gaussians, and two ways to choose some of them."""

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.spatial import cKDTree

from gsbench.core.geometry import camera_centers, spiral_rig
from gsbench.core.image_metrics import psnr_of_bytes
from gsbench.core.types import Array, Cameras, Gaussians
from gsbench.learn.data.clouds import uniform_draw
from gsbench.paper.figures.drawing import (
    camera_at,
    direction,
    draw_dots,
    drawn_box,
    enlarged,
    extent_of,
    faded,
    picture,
    project,
    shrunk,
)
from gsbench.paper.figures.sheet import TIMES, Sheet, to_pixels
from gsbench.paper.figures.subject import Shots, choose_subject, open_shots
from gsbench.render.splats import rasterize
from gsbench.store.folder import Folder

COLUMNS = 4
SHRINK = 0.38
INK = (0.10, 0.25, 0.48)
_FINE = 640
_VIEWPOINT = direction(-55, 24)


def draw_views(folder: Folder, object_id: str | None) -> Sheet:
    """Figure 1: stored views of an object, its Gaussians from the same cameras, and the same Gaussians shrunk.

    Raises:
        InputError: no such object, or no views or Gaussians in the folder.
    """
    subject = choose_subject(folder, object_id, "chair")
    shots = open_shots(folder, subject.object_id)
    count = min(COLUMNS, len(shots.images))
    chosen = [(2 * k + 1) * len(shots.images) // (2 * count) for k in range(count)]
    size, drawn = shots.cameras.width, _fitted_size(folder, shots.cameras.width)
    how = "at the same size" if drawn == size else f"at the {drawn} pixels of the fit, averaged to {size}"
    caption = (
        f"{subject.provenance} Top: the mesh, as stored, {size} pixels wide. Middle: all Gaussians from the same "
        f"cameras, drawn by our CPU rasterizer {how}; below them the PSNR of that image against the one above, over "
        "the whole image. These cameras took part in the fit. Bottom: the same Gaussians at "
        f"{SHRINK:g} of their size, drawn at {_FINE} pixels. All are cropped to the object."
    )
    cell, gap = 1.55, 0.12
    sheet = Sheet(0.45 + count * (cell + gap), 0.3 + 3 * cell + 0.45, caption)
    for column, view in enumerate(chosen):
        camera = shots.cameras[[view]]
        fine = enlarged(camera, _FINE)
        mesh, ours = shots.images[view], to_pixels(_averaged(picture(subject.gaussians, enlarged(camera, drawn)), size))
        detail = picture(shrunk(subject.gaussians, SHRINK), fine)
        box = drawn_box(picture(subject.gaussians, fine))
        coarse = tuple(slice(side.start * size // _FINE, -(-side.stop * size // _FINE)) for side in box)
        left = 0.4 + column * (cell + gap)
        sheet.image((left, 0.25, cell), mesh[coarse], f"view {shots.positions[view]}")
        note = f"{psnr_of_bytes(mesh, ours):.1f} dB"
        sheet.image((left, 0.3 + cell, cell), ours[coarse], note=note)
        sheet.image((left, 0.5 + 2 * cell, cell), to_pixels(detail[box]), smooth=True)
    for row, (words, top) in enumerate((("mesh", 0.25), ("Gaussians", 0.3), (f"Gaussians, {TIMES} {SHRINK:g}", 0.5))):
        sheet.text(0.22, top + (row + 0.5) * cell, words, rotation=90, ha="center", va="center", size=8.5)
    return sheet


def _fitted_size(folder: Folder, stored: int) -> int:
    """The size that Gaussians were fitted at, if stored views are a whole fraction of it, else theirs.

    Drawn smaller, Gaussians thicken: the low-pass of .3 pixels^2 is then wider than in the fit.
    """
    fitted = folder.manifest.recipe.get("rig", {}).get("size", stored)
    return int(fitted) if fitted % stored == 0 else stored


def _averaged(image: Float32[Array, "h w 3"], size: int) -> Float32[Array, "s s 3"]:
    """The image at a whole fraction of its size, each pixel the mean of those that it covers."""
    factor = len(image) // size
    return np.asarray(image.reshape(size, factor, size, factor, 3).mean(axis=(1, 3), dtype=np.float32))


def draw_sampling(folder: Folder, object_id: str | None) -> Sheet:
    """Figure 2: all Gaussians of an object beside as many chosen by furthest points, and uniformly.

    Raises:
        InputError: no such object, or no Gaussians in the folder.
    """
    subject = choose_subject(folder, object_id, "monitor")
    gaussians, total = subject.gaussians, len(subject.gaussians)
    count = max(1, min(1024, total // 4))
    samples = {
        f"all {total:,}": np.arange(total),
        f"furthest points, {count:,}": subject.order[:count],
        f"uniform, {count:,}": uniform_draw(subject.object_id, total, count),
    }
    reach = [_reach(gaussians.means, index) for index in samples.values()]
    caption = (
        f"{subject.provenance} Top: the chosen Gaussians as they are, drawn by our CPU rasterizer. Bottom: their "
        "centers as dots of one size, paler further away. A model without a limit on opacity sees these very choices. "
        f"The largest distance from a Gaussian to the nearest chosen one is {reach[1]:.3f} with furthest points and "
        f"{reach[2]:.3f} with a uniform draw, where the unit sphere holds the object."
    )
    cell, gap = 2.1, 0.12
    sheet = Sheet(0.45 + 3 * (cell + gap), 0.3 + 2 * cell + 0.1, caption)
    camera = camera_at(_VIEWPOINT, _FINE, extent=extent_of(gaussians))
    ink = faded(gaussians.means, _VIEWPOINT, INK)
    whole = picture(gaussians, camera)
    box = drawn_box(whole)
    for column, (title, index) in enumerate(samples.items()):
        left = 0.4 + column * (cell + gap)
        sheet.image((left, 0.25, cell), to_pixels(picture(gaussians[index], camera)[box]), title, smooth=True)
        draw_dots(sheet.axes(left, 0.33 + cell, cell, cell), gaussians.means[index], ink[index], 0.015, camera, box)
    for words, top in (("Gaussians", 0.25), ("centers", 0.33 + cell)):
        sheet.text(0.22, top + cell / 2, words, rotation=90, ha="center", va="center", size=8.5)
    return sheet


def _reach(means: Float[Array, "n 3"], index: Int[Array, " m"]) -> float:
    """The largest distance from any Gaussian's center to the nearest chosen one."""
    return float(cKDTree(means[index]).query(means)[0].max())


_BLUE = (0.05, 0.30, 0.75)
_SIZE = 720
_FAR = 14.0
_TOWARDS = direction(-50, 20)
_FINE_STEPS = 40
_LOOKS_DOWN_DEG = 25.0


def draw_path(folder: Folder, object_id: str | None) -> Sheet:
    """Figure 3: the cameras to scale around the object, one camera's picture of the Gaussians, and their centers on it.

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
        f"camera in red, view {shots.positions[marked]}, drawn by our CPU rasterizer. Right: the same with all "
        f"{len(subject.gaussians):,} centers as blue dots, paler further away; those of hidden Gaussians show through."
    )
    sheet = Sheet(7.6, 2.95, caption)
    _draw_cameras(sheet, subject.gaussians, shots, _fine_path(rig, eyes), marked)
    camera = enlarged(shots.cameras[[marked]], _SIZE)
    render = picture(subject.gaussians, camera)
    towards = eyes[marked] / np.linalg.norm(eyes[marked])
    box, means = drawn_box(render), subject.gaussians.means
    sheet.image((3.5, 0.25, 1.95), to_pixels(render[box]), "Gaussians", smooth=True)
    below = to_pixels(0.35 + 0.65 * render[box])
    axes = sheet.image((5.55, 0.25, 1.95), below, "and their centers", smooth=True)
    draw_dots(axes, means, faded(means, towards, _BLUE), 0.011, camera, box)
    return sheet


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
    """The overview: what is further away than the object's center, paler; then the object; then what is nearer."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize

    eyes = camera_centers(shots.cameras.viewmats)
    radius = float(np.linalg.norm(eyes, axis=1).max())
    middle = np.array([0, 0, (path[:, 2].min() + path[:, 2].max()) / 2])
    overview = camera_at(_TOWARDS, _SIZE, middle, 1.04 * radius, _FAR)
    axes = sheet.axes(0.05, 0.25, 2.75, 2.75, "cameras")
    colors = ScalarMappable(Normalize(0, max(int(shots.positions.max()), 1)), "viridis")
    pyramids = colors.to_rgba(shots.positions)
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
    sheet.color_bar((2.88, 0.6, 0.07, 2.0), colors, "view")
