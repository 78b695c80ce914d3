"""What `gsbench.reconstruct.hull.visual_hull` does, on a torch device: many voxels in every view at once."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from gsbench.core.geometry import camera_centers
from gsbench.core.types import Array, Cameras, Gaussians, Views
from gsbench.reconstruct.hull.recipe import FitRecipe
from gsbench.reconstruct.hull.visual_hull import (
    COARSE,
    choose,
    discs,
    fine_grid,
    scaled,
    silhouette_block,
    too_coarse,
    unit_normals,
    widening,
)
from gsbench.reconstruct.targets import low_pass_of, scaled_cameras, to_frame, unit_frame, view_order
from gsbench.render.splats.cpu import camera_vectors

# Voxels times views at a time: about 50 bytes each.
_CHUNK = 1 << 24
_VIEWS = 8


def hull_gaussians(
    rgba: UInt8[Tensor, "v h w 4"], cameras: Cameras, recipe: FitRecipe, rng: np.random.Generator
) -> Gaussians:
    """`gsbench.reconstruct.hull.visual_hull.hull_gaussians`, with the images on a torch device.

    The same voxels but for those whose center falls within rounding of a pixel's edge; given the same voxels, the same
    Gaussians for the same `rng`.

    Raises:
        InputError: no voxel lies inside every silhouette.
    """
    origin, voxel, occupied = carve(rgba, cameras, recipe.hull_resolution)
    surface, blurred = _surface(occupied).nonzero(), _blurred(occupied)
    places, spacings = choose(blurred[surface.unbind(1)].cpu().numpy(), recipe, rng)
    chosen = surface[torch.from_numpy(places).to(rgba.device)]
    corners = chosen.cpu().numpy()
    means = (origin + (corners + rng.random(corners.shape)) * voxel).astype(np.float32)
    normals = unit_normals(_slopes_at(blurred, chosen).cpu().numpy())
    colors = _observe(means, normals, rgba, cameras)
    return discs(means, normals, colors, voxel * spacings, recipe)


def carve(
    rgba: UInt8[Tensor, "v h w 4"], cameras: Cameras, resolution: int
) -> tuple[Float64[Array, "3"], float, Bool[Tensor, "x y z"]]:
    """Origin, edge of a voxel and occupancy, `resolution` voxels along the longest side of the object's box."""
    block = silhouette_block(cameras)
    masks, vectors, projections = _silhouettes(rgba, block), camera_vectors(cameras), _projections(cameras)
    wider = widening(scaled(vectors, block))
    coarse = _inside(
        _spread(_blocks(masks, wider)), projections, block * wider, np.full(3, -1.0), 2 / COARSE, (COARSE,) * 3
    )
    origin, voxel, shape = fine_grid(coarse.nonzero().cpu().numpy(), resolution)
    occupied = _inside(masks, projections, block, origin, voxel, shape)
    if not occupied.any():
        raise too_coarse(resolution)
    return origin, voxel, occupied


def _projections(cameras: Cameras) -> Float64[Array, "v 3 4"]:
    """From world points (x, y, z, 1) to column and row times depth, and depth."""
    return cameras.Ks.astype(np.float64) @ cameras.viewmats[:, :3].astype(np.float64)


def _silhouettes(rgba: UInt8[Tensor, "v h w 4"], block: int) -> Bool[Tensor, "v bh bw"]:
    """Where alpha passes one half in a block of pixels or one of its 8 neighbors, or the block leaves the image."""
    _, height, width, _ = rgba.shape
    masks = torch.cat([_spread(_blocks(chunk[..., 3] > 127, block)) for chunk in rgba.split(_VIEWS)])
    masks[:, height // block :] = True
    masks[:, :, width // block :] = True
    return masks


def _blocks(masks: Bool[Tensor, "v h w"], block: int) -> Bool[Tensor, "v bh bw"]:
    """The masks in pixels `block` times as wide, set where they have some of the mask."""
    return max_pool2d(masks.float(), block, ceil_mode=True) > 0


def _spread(masks: Bool[Tensor, "v h w"]) -> Bool[Tensor, "v h w"]:
    """The masks and the 8 neighbors of what they hold."""
    return max_pool2d(masks.float(), 3, stride=1, padding=1) > 0


def _inside(
    masks: Bool[Tensor, "v h w"],
    projections: Float64[Array, "v 3 4"],
    block: int,
    origin: Float64[Array, "3"],
    voxel: float,
    shape: tuple[int, int, int],
) -> Bool[Tensor, "x y z"]:
    """Whether a voxel's center falls on the mask, of pixels `block` times as wide, of every view that has it inside."""
    views, height, width = masks.shape
    # From voxels' indices straight to pixels, composed in double.
    to_world = np.diag([voxel, voxel, voxel, 1.0])
    to_world[:3, 3] = origin + 0.5 * voxel
    shrink = np.array([[1 / block], [1 / block], [1]])
    to_pixels = torch.from_numpy(((shrink * projections) @ to_world).astype(np.float32)).to(masks.device)
    flat = masks.view(views, -1)
    count = int(np.prod(shape))
    found = []
    for start in range(0, count, _CHUNK // views):
        index = torch.arange(start, min(start + _CHUNK // views, count), device=masks.device)
        place = torch.stack(torch.unravel_index(index, shape)).float()
        u, v, w = (to_pixels[:, :, :3] @ place + to_pixels[:, :, 3:]).unbind(1)
        column, row = (u / w).int(), (v / w).int()
        visible = (w > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        pixel = torch.where(visible, row * width + column, 0).long()
        found.append((flat.gather(1, pixel) | ~visible).all(0))
    return torch.cat(found).view(shape)


def _shifted(volume: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The volume moved by one voxel along an axis, up and down, zeros moving in."""
    sides = [0] * 6
    sides[4 - 2 * axis : 6 - 2 * axis] = 1, 1
    padded, size = pad(volume, sides), volume.shape[axis]
    return padded.narrow(axis, 0, size), padded.narrow(axis, 2, size)


def _surface(occupied: Bool[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """Occupied voxels with an empty neighbor across a face."""
    inner = occupied
    for axis in range(3):
        up, down = _shifted(occupied, axis)
        inner = inner & up & down
    return occupied & ~inner


def _blurred(occupied: Bool[Tensor, "x y z"]) -> Float32[Tensor, "x y z"]:
    """The occupancy blurred over 5 voxels along each axis; whole numbers, so exact on every device."""
    blurred = occupied.float()
    for _ in range(2):
        for axis in range(3):
            up, down = _shifted(blurred, axis)
            blurred = blurred + up + down
    return blurred


def _slopes_at(blurred: Float32[Tensor, "x y z"], places: Int64[Tensor, "n 3"]) -> Float32[Tensor, "n 3"]:
    """Downhill in the blurred occupancy, at some voxels."""
    x, y, z = places.unbind(1)
    slopes = [up - down for up, down in (_shifted(blurred, axis) for axis in range(3))]
    return torch.stack([slope[x, y, z] for slope in slopes], dim=1)


def _observe(
    means: Float32[Array, "n 3"], normals: Float32[Array, "n 3"], rgba: UInt8[Tensor, "v h w 4"], cameras: Cameras
) -> Float32[Array, "n 3"]:
    """Colors in 0..1: the mean over views that face the point, by the cosine squared."""
    _, height, width, _ = rgba.shape

    def on_device(array: Float64[Array, "..."]) -> Float64[Tensor, "..."]:
        return torch.from_numpy(array).to(rgba.device)

    projections, eyes = on_device(_projections(cameras)), on_device(camera_centers(cameras.viewmats.astype(np.float64)))
    points, outward = on_device(means.astype(np.float64)), on_device(normals.astype(np.float64))
    u, v, w = (projections[:, :, :3] @ points.T + projections[:, :, 3:]).unbind(1)
    column, row = (u / w).int(), (v / w).int()
    towards = eyes[:, None] - points
    facing = (towards * outward).sum(-1)
    visible = (facing > 0) & (w > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    view = torch.arange(len(rgba), device=rgba.device)[:, None]
    pixels = rgba[view, row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()].double()
    weights = torch.where(visible & (pixels[..., 3] > 127), facing.square() / towards.square().sum(-1), 0)
    sums, total = (weights[..., None] * pixels[..., :3]).sum(0), weights.sum(0)[:, None]
    return torch.where(total > 0, sums / (255 * total), 0).float().cpu().numpy()


# Views at a time: a chunk's integers take 16 bytes a pixel, five times over.
_VIEWS_AT_ONCE = 8


def target_images(rgba: UInt8[Tensor, "v fh fw 4"], factor: int) -> UInt8[Tensor, "v h w 4"]:
    """Color over white and alpha, each the mean of `factor`^2 pixels: equal to `target_planes` bit for bit."""
    views, height, width, _ = rgba.shape
    images = torch.empty(views, height // factor, width // factor, 4, dtype=torch.uint8, device=rgba.device)
    for start in range(0, views, _VIEWS_AT_ONCE):
        images[start : start + _VIEWS_AT_ONCE] = _box_over_white(rgba[start : start + _VIEWS_AT_ONCE], factor)
    return images


def _box_over_white(rgba: UInt8[Tensor, "v fh fw 4"], factor: int) -> UInt8[Tensor, "v h w 4"]:
    views, height, width, _ = rgba.shape
    straight = rgba.int()
    alpha = straight[..., 3:]
    sums = torch.cat([straight[..., :3] * alpha, alpha], dim=-1)
    if factor > 1:
        boxes = sums.view(views, height // factor, factor, width // factor, factor, 4)
        sums = boxes.sum((2, 4), dtype=torch.int32)
    # Whole numbers, rounded as the CPU's kernel rounds: a target must not depend on the device that a fit runs on.
    area = factor * factor
    sums[..., :3] += 255 * (255 * area - sums[..., 3:]) + 255 * area // 2
    sums[..., :3] //= 255 * area
    sums[..., 3] = (2 * sums[..., 3] + area) // (2 * area)
    return sums.to(torch.uint8)


@dataclass(frozen=True, slots=True)
class DeviceObject:
    """What the fit of one object starts from; tensors lie on the device.

    Attributes:
        start: Gaussians on the visual hull, in the fit's frame.
        targets: of each stage `[v h w 4]`, color over white and alpha.
        cameras: of each stage, in the fit's frame.
        orders: of each stage, the view of each step.
        low_passes: of each stage, what is added to variances in the image.
        held_out: `[u h w 4]`, color over white and alpha.
        held_out_cameras: in the fit's frame.
        center: of the fit's frame, in the views'.
        radius: its unit, in the views'.
    """

    start: Gaussians
    targets: tuple[UInt8[Tensor, "v _ _ 4"], ...]
    cameras: tuple[Cameras, ...]
    orders: tuple[Int64[Array, "_"], ...]
    low_passes: tuple[float, ...]
    held_out: UInt8[Tensor, "u _ _ 4"]
    held_out_cameras: Cameras
    center: Array
    radius: float


def prepare(views: Views, held_out: Views, recipe: FitRecipe, seed: int, device: torch.device) -> DeviceObject:
    """Uploads the views once and makes everything of them there; the random numbers are those of the fit on CPU.

    Raises:
        InputError: as `gsbench.reconstruct.fit`.
        torch.OutOfMemoryError: the device is full.
    """
    center, radius = unit_frame(views)
    cameras = to_frame(views, center, radius).cameras
    scaled = tuple(scaled_cameras(cameras, stage.resolution) for stage in recipe.stages)
    rng = np.random.default_rng(seed)
    rgba = torch.from_numpy(np.ascontiguousarray(views.rgba)).to(device)
    start = hull_gaussians(rgba, cameras, recipe, rng)
    orders = tuple(np.array(view_order(len(views), stage.iterations, rng)) for stage in recipe.stages)
    targets = tuple(target_images(rgba, cameras.width // each.width) for each in scaled)
    kept = target_images(torch.from_numpy(np.ascontiguousarray(held_out.rgba)).to(device), 1)
    held_out_cameras = to_frame(held_out, center, radius).cameras
    low_passes = tuple(low_pass_of(stage, cameras.width) for stage in recipe.stages)
    return DeviceObject(start, targets, scaled, orders, low_passes, kept, held_out_cameras, center, radius)
