"""One mesh file to everything that is kept of it: points, views, Gaussians, and renders of these."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from gsbench.core.types import Array, Cameras, Gaussians, Mesh, Views
from gsbench.meshes.load import load_mesh
from gsbench.meshes.split import MeshFile
from gsbench.meshes.surface import fps_order, normalize, sample_surface
from gsbench.produce.compare import Compared, compare
from gsbench.produce.preset import Preset, Store, evenly_spaced
from gsbench.reconstruct import ClassicRecipe, FitRecipe, Fitted, fit
from gsbench.render.mesh import render_views
from gsbench.store.arrays import Row, round_floats, round_gaussians
from gsbench.store.schema import GAUSSIAN_COLUMNS, MAX_FPS_ORDER
from gsbench.store.webp import encode_webp

Fit = Callable[[Views, FitRecipe | ClassicRecipe, int, Views], Fitted]
"""Fits one object: its views, the recipe, a seed, and views to score it on."""


@dataclass(frozen=True, slots=True)
class DrawnObject:
    """One object, ready for the fit.

    Attributes:
        seed: of the fit, from the object id.
        points: `[p 3]` surface points in furthest-point order.
        normals: `[p 3]` their unit normals.
        views: from all cameras of the rig.
        midway: from the cameras half a step further, at the preset's `midway`.
        kept: the views that are kept, at the size at which they are.
        novel: those of `midway` that the Gaussians are rendered from to be kept, at that size.
    """

    seed: int
    points: Float32[Array, "p 3"]
    normals: Float32[Array, "p 3"]
    views: Views
    midway: Views
    kept: Views
    novel: Views


@dataclass(frozen=True, slots=True)
class Reconstructions:
    """The Gaussians as they are stored, rendered over white.

    Attributes:
        view_numbers: `[r]` positions on the rig; novel ones are counted on behind its last.
        is_novel: `[r]` whether the camera is between two of the rig; False first.
        cameras: `r` of them.
        compared: the renders and their PSNR.
    """

    view_numbers: Int64[Array, " r"]
    is_novel: Bool[Array, " r"]
    cameras: Cameras
    compared: Compared


@dataclass(frozen=True, slots=True)
class ObjectRows:
    """All that is kept of one object.

    Attributes:
        gaussians: as fitted, rounded.
        fps_order: furthest-point order of their means.
        psnr: of the rounded Gaussians on the held-out views, dB.
        ssim: of the rounded Gaussians on the held-out views.
        points: `[p 3]` surface points in furthest-point order.
        normals: `[p 3]` their unit normals.
        view_numbers: `[v]` positions of the kept views on the rig.
        views: the kept views.
        reconstructions: the Gaussians' own.
        webp_method: the effort to encode images with.
    """

    gaussians: Gaussians
    fps_order: Int32[Array, " m"]
    psnr: float
    ssim: float
    points: Float32[Array, "p 3"]
    normals: Float32[Array, "p 3"]
    view_numbers: Int64[Array, " v"]
    views: Views
    reconstructions: Reconstructions
    webp_method: int


def build_object(file: MeshFile, recipe: Preset, fit: Fit = fit) -> ObjectRows:
    """Makes one object: a function of the mesh file, its object id and the recipe, whatever else is built.

    Frozen: a change changes every fingerprint.

    Args:
        file: the mesh.
        recipe: the preset.
        fit: takes the views, the fit's recipe, a seed and held-out views, as `gsbench.reconstruct.fit` does on CPU.

    Raises:
        InputError: the mesh cannot be read, has no surface, or cannot be drawn or fitted.
        OSError: the mesh file cannot be opened.
    """
    prepared = prepare(file, recipe)
    # The fit's own score is of Gaussians that are not rounded yet, and of no use here: one view is enough of it.
    fitted = fit(prepared.views, recipe.fit, prepared.seed, prepared.midway[:1])
    return finish(prepared, fitted.gaussians, recipe)


def seed_of(object_id: str) -> int:
    """The seed of everything random about an object."""
    return int.from_bytes(hashlib.sha256(object_id.encode()).digest()[:4])


def prepare(file: MeshFile, recipe: Preset) -> DrawnObject:
    """Reads a mesh, samples its surface and draws its views; errors as `build_object`."""
    mesh = normalize(load_mesh(file.path))
    seed = seed_of(file.object_id)
    points, normals = _sample_points(mesh, recipe.store, seed)
    rig, store = recipe.rig, recipe.store
    numbers, novel = evenly_spaced(rig.views, store.views), evenly_spaced(len(recipe.midway), store.novel)
    views, between = _draw(mesh, recipe)
    if store.view_size == rig.size:
        kept, kept_novel = views if store.views == rig.views else views[numbers], between[novel]
    else:
        kept = render_views(mesh, rig.cameras(store.view_size)[numbers], recipe.render)
        cameras = rig.cameras(store.view_size, phase=0.5)[recipe.midway[novel]]
        kept_novel = render_views(mesh, cameras, recipe.render)
    return DrawnObject(seed, points, normals, views, between, kept, kept_novel)


def draw_fit_views(file: MeshFile, recipe: Preset) -> tuple[Views, Views]:
    """The views that an object is fitted to, and those from between them, as in `DrawnObject`; raises as `prepare`."""
    return _draw(normalize(load_mesh(file.path)), recipe)


def _draw(mesh: Mesh, recipe: Preset) -> tuple[Views, Views]:
    rig = recipe.rig
    views = render_views(mesh, rig.cameras(rig.size), recipe.render)
    return views, render_views(mesh, rig.cameras(rig.size, phase=0.5)[recipe.midway], recipe.render)


def _sample_points(mesh: Mesh, store: Store, seed: int) -> tuple[Float32[Array, "p 3"], Float32[Array, "p 3"]]:
    """Surface points and normals, rounded first and ordered then, so that the order is that of what is stored."""
    points, normals = sample_surface(mesh, store.points, seed)
    points, normals = round_floats(points, store.point_bits), round_floats(normals, store.point_bits)
    order = fps_order(points, store.points)
    return points[order], normals[order]


def finish(prepared: DrawnObject, gaussians: Gaussians, recipe: Preset, device: str = "cpu") -> ObjectRows:
    """Rounds fitted Gaussians, and scores and renders what is left of them; `device` is the renderer's."""
    rig, store = recipe.rig, recipe.store
    stored = round_gaussians(gaussians, store.gaussian_bits, store.float_type)
    antialiased = recipe.fit.antialiased
    between = compare(stored, prepared.midway, antialiased, device)
    scored = between[evenly_spaced(len(recipe.midway), rig.held_out)]
    novel = evenly_spaced(len(recipe.midway), store.novel)
    same_size = store.view_size == rig.size
    compared_novel = between[novel] if same_size else compare(stored, prepared.novel, antialiased, device)
    train = evenly_spaced(store.views, store.reconstructions)
    kept_train = prepared.kept[train]
    compared_train = compare(stored, kept_train, antialiased, device)
    numbers = evenly_spaced(rig.views, store.views)
    reconstructions = Reconstructions(
        view_numbers=np.concatenate([numbers[train], rig.views + recipe.midway[novel]]),
        is_novel=np.repeat([False, True], [len(train), len(novel)]),
        cameras=_joined(kept_train.cameras, prepared.novel.cameras),
        compared=compared_train + compared_novel,
    )
    return ObjectRows(
        gaussians=stored,
        fps_order=fps_order(stored.means, MAX_FPS_ORDER),
        psnr=float(scored.psnr.mean(dtype=np.float64)),
        ssim=scored.ssim(),
        points=prepared.points,
        normals=prepared.normals,
        view_numbers=numbers,
        views=prepared.kept,
        reconstructions=reconstructions,
        webp_method=store.webp_method,
    )


def _joined(a: Cameras, b: Cameras) -> Cameras:
    viewmats, Ks = np.concatenate([a.viewmats, b.viewmats]), np.concatenate([a.Ks, b.Ks])
    return Cameras(viewmats, Ks, a.width, a.height)


def rows_of_object(object_id: str, made: ObjectRows, config: str) -> list[Row]:
    """The rows of one config, without the columns that follow from the set as a whole; images are encoded."""
    again = made.reconstructions
    if config == "gaussians":
        scores = {"psnr": np.float32(made.psnr).item(), "ssim": np.float32(made.ssim).item()}
        fields = {name: getattr(made.gaussians, name) for name in GAUSSIAN_COLUMNS}
        rows: list[Row] = [{"num_gaussians": len(made.gaussians), **fields, "fps_order": made.fps_order, **scores}]
    elif config == "points":
        rows = [{"points": made.points, "normals": made.normals}]
    elif config == "views":
        rows = _image_rows(made.view_numbers, made.views.rgba, made.views.cameras, made.webp_method)
    else:
        images = _image_rows(again.view_numbers, again.compared.images, again.cameras, made.webp_method)
        kinds = ["novel" if novel else "train" for novel in again.is_novel]
        scored = zip(images, kinds, again.compared.psnr.tolist(), strict=True)
        rows = [{**row, "cameras": kind, "psnr": psnr} for row, kind, psnr in scored]
    return [{"object_id": object_id, **row} for row in rows]


def _image_rows(numbers: Int64[Array, " v"], images: Array, cameras: Cameras, webp_method: int) -> list[Row]:
    columns = zip(numbers.tolist(), images, cameras.viewmats, cameras.Ks, strict=True)
    return [
        {"view": number, "image": encode_webp(image, webp_method), "viewmat": viewmat, "K": K}
        for number, image, viewmat, K in columns
    ]
