"""One mesh file to everything that is kept of it, and the file that keeps it until the shards are written."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int, Int32, UInt8
from PIL import Image

from gsbench.build.preset import Preset, Store
from gsbench.fit import fit
from gsbench.meshes import load_mesh
from gsbench.meshes.normalise import normalise
from gsbench.meshes.sampling import fps_order, sample_surface
from gsbench.meshes.split import MeshFile
from gsbench.render.meshes import render_views
from gsbench.store.arrays import Row, round_floats
from gsbench.store.schema import MAX_FPS_ORDER
from gsbench.types import Array, Gaussians, Mesh, Views

_FIELDS = ("means", "quats", "scales", "opacities", "sh")


@dataclass(frozen=True, slots=True)
class ObjectRows:
    """All that is kept of one object.

    Attributes:
        gaussians: as fitted, rounded.
        fps_order: furthest-point order of their means.
        psnr: on the held-out views, dB.
        ssim: on the held-out views.
        points: `[p 3]` surface points in furthest-point order.
        normals: `[p 3]` their unit normals.
        view_numbers: `[v]` positions of the kept views on the rig.
        views: the kept views.
    """

    gaussians: Gaussians
    fps_order: Int32[Array, " m"]
    psnr: float
    ssim: float
    points: Float32[Array, "p 3"]
    normals: Float32[Array, "p 3"]
    view_numbers: Int[Array, " v"]
    views: Views


def build_object(file: MeshFile, recipe: Preset) -> ObjectRows:
    """Makes one object: a function of the mesh file, its object id and the recipe, whatever else is built.

    Raises:
        ValueError: the mesh cannot be read, has no surface, or cannot be drawn or fitted.
        OSError: the mesh file cannot be opened.
    """
    mesh = normalise(load_mesh(file.path))
    seed = int.from_bytes(hashlib.sha256(file.object_id.encode()).digest()[:4])
    points, normals = _sample_points(mesh, recipe.store, seed)
    between = np.linspace(0, recipe.rig.views - 2, recipe.rig.held_out).round().astype(np.int64)
    views = render_views(mesh, recipe.rig.cameras(recipe.rig.size), recipe.render)
    held_out = render_views(mesh, recipe.rig.cameras(recipe.rig.size, phase=0.5)[between], recipe.render)
    fitted = fit(views, recipe.fit, seed, held_out=held_out)
    gaussians = _round(fitted.gaussians, recipe.store.gaussian_bits)
    numbers = np.linspace(0, recipe.rig.views - 1, recipe.store.views).round().astype(np.int64)
    if recipe.store.view_size == recipe.rig.size:
        kept = views[numbers]
    else:
        kept = render_views(mesh, recipe.rig.cameras(recipe.store.view_size)[numbers], recipe.render)
    order = fps_order(gaussians.means, MAX_FPS_ORDER)
    return ObjectRows(gaussians, order, fitted.psnr, fitted.ssim, points, normals, numbers, kept)


def _sample_points(mesh: Mesh, store: Store, seed: int) -> tuple[Float32[Array, "p 3"], Float32[Array, "p 3"]]:
    """Surface points and normals, rounded first and ordered then, so that the order is that of what is stored."""
    points, normals = sample_surface(mesh, store.points, seed)
    points, normals = round_floats(points, store.point_bits), round_floats(normals, store.point_bits)
    order = fps_order(points, store.points)
    return points[order], normals[order]


def _round(gaussians: Gaussians, bits: int) -> Gaussians:
    return Gaussians(*(round_floats(getattr(gaussians, name), bits) for name in _FIELDS))


def save_object(rows: ObjectRows, path: Path) -> None:
    """Writes an object to an uncompressed .npz file, its images encoded; OSError if that fails."""
    images = [_encode(image) for image in rows.views.rgba]
    gaussians = {name: getattr(rows.gaussians, name) for name in _FIELDS}
    np.savez(
        path,
        **gaussians,
        fps_order=rows.fps_order,
        psnr=np.float32(rows.psnr),
        ssim=np.float32(rows.ssim),
        points=rows.points,
        normals=rows.normals,
        view=rows.view_numbers,
        viewmat=rows.views.cameras.viewmats,
        K=rows.views.cameras.Ks,
        images=np.frombuffer(b"".join(images), np.uint8),
        image_ends=np.cumsum([len(image) for image in images]),
    )


def _encode(rgba: UInt8[Array, "h w 4"]) -> bytes:
    """Lossless WebP: 28 % (64 px) to 43 % (800 px) smaller than PNG at its best, in the same time."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(rgba)).save(buffer, "WEBP", lossless=True, exact=True, quality=50, method=4)
    return buffer.getvalue()


def load_rows(path: Path, config: str) -> Iterator[Row]:
    """The rows of one config that `save_object` kept in `path`; object_id is the file's name."""
    object_id = path.stem
    with np.load(path) as kept:
        if config == "gaussians":
            arrays = {name: kept[name] for name in (*_FIELDS, "fps_order")}
            scores = {name: kept[name].item() for name in ("psnr", "ssim")}
            yield {"object_id": object_id, "num_gaussians": len(arrays["means"]), **arrays, **scores}
        elif config == "points":
            yield {"object_id": object_id, "points": kept["points"], "normals": kept["normals"]}
        else:
            images = np.split(kept["images"], kept["image_ends"][:-1])
            for view, viewmat, K, image in zip(kept["view"], kept["viewmat"], kept["K"], images, strict=True):
                yield {"object_id": object_id, "view": view, "image": image.tobytes(), "viewmat": viewmat, "K": K}
