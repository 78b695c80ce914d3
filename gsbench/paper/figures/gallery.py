"""Figures 1 and 2: an object beside its Gaussians, and two ways to choose some of them."""

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.spatial import cKDTree

from gsbench.core.image_metrics import psnr_of_bytes
from gsbench.core.types import Array
from gsbench.learn.data.clouds import uniform_draw
from gsbench.paper.figures.drawing import (
    camera_at,
    direction,
    dots,
    drawn_box,
    enlarged,
    extent_of,
    faded,
    picture,
    shrunk,
)
from gsbench.paper.figures.sheet import TIMES, Sheet, to_pixels
from gsbench.paper.figures.subject import choose_subject, open_shots
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
        f"cameras, drawn by our CPU rasteriser {how}; below them the PSNR of that image against the one above, over "
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
        f"{subject.provenance} Top: the chosen Gaussians as they are, drawn by our CPU rasteriser. Bottom: their "
        "centres as dots of one size, paler further away. A model without a limit on opacity sees these very choices. "
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
        centres = picture(dots(gaussians.means[index], ink[index], 0.016), camera)
        sheet.image((left, 0.25, cell), to_pixels(picture(gaussians[index], camera)[box]), title, smooth=True)
        sheet.image((left, 0.33 + cell, cell), to_pixels(centres[box]), smooth=True)
    for words, top in (("Gaussians", 0.25), ("centres", 0.33 + cell)):
        sheet.text(0.22, top + cell / 2, words, rotation=90, ha="center", va="center", size=8.5)
    return sheet


def _reach(means: Float[Array, "n 3"], index: Int[Array, " m"]) -> float:
    """The largest distance from any Gaussian's centre to the nearest chosen one."""
    return float(cKDTree(means[index]).query(means)[0].max())
