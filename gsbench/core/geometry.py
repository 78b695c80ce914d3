"""Quaternions, covariances, spherical harmonics and camera rigs, in numpy.

Conventions are those of `gsbench.core.types`: quaternions wxyz, cameras OpenCV (x right, y down, z forward), z up. The
spherical harmonics are the real ones of 3D Gaussian splatting (Kerbl 2023; the same in gsplat): rgb = sum_k sh_k Y_k(d)
+ .5, clamped at 0, where d is the unit direction from the camera to the Gaussian.
"""

from typing import cast

import numpy as np
from jaxtyping import Float, Float32

from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Cameras

SH_C0 = 0.28209479177387814
SH_C1 = 0.48860251190291987
SH_C2 = (1.0925484305920792, 0.94617469575756, -0.31539156525252, 0.5462742152960395)
SH_C3 = (-0.5900435899266435, 2.890611442640554, -0.4570457994644658, 0.3731763325901154, 1.445305721320277)
MAX_SH_DEGREE = 3


def normalize_quats(quats: Float[Array, "n 4"]) -> Float[Array, "n 4"]:
    """Unit quaternions `[n 4]` wxyz; a zero quaternion becomes the identity."""
    norms = np.linalg.norm(quats, axis=-1, keepdims=True)
    identity = np.array([1, 0, 0, 0], quats.dtype)
    return np.where(norms > 0, quats / np.where(norms > 0, norms, 1), identity)


def quats_to_matrices(quats: Float[Array, "n 4"]) -> Float[Array, "n 3 3"]:
    """Rotation matrices `[n 3 3]` of quaternions `[n 4]` wxyz, which need not be of unit length."""
    w, x, y, z = np.moveaxis(normalize_quats(quats), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows, quats.dtype), -1, 0)


def matrices_to_quats(matrices: Float[Array, "n 3 3"]) -> Float[Array, "n 4"]:
    """Unit quaternions `[n 4]` wxyz, w >= 0, of rotation matrices `[n 3 3]` (Bar-Itzhack 2000, largest component)."""
    m = np.asarray(matrices)
    trace = m[:, 0, 0] + m[:, 1, 1] + m[:, 2, 2]
    # 4 q_i q_j for every pair: the row of the largest component is well conditioned, whatever the rotation.
    products = np.empty((len(m), 4, 4), m.dtype)
    products[:, 0, 0] = 1 + trace
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        products[:, i + 1, i + 1] = 1 + 2 * m[:, i, i] - trace
        products[:, 0, i + 1] = products[:, i + 1, 0] = m[:, k, j] - m[:, j, k]
        products[:, j + 1, k + 1] = products[:, k + 1, j + 1] = m[:, j, k] + m[:, k, j]
    largest = np.argmax(np.diagonal(products, axis1=1, axis2=2), axis=1)
    quats = normalize_quats(products[np.arange(len(m)), largest])
    return np.where(quats[:, :1] < 0, -quats, quats)


def covariances(quats: Float[Array, "n 4"], scales: Float[Array, "n 3"]) -> Float[Array, "n 3 3"]:
    """Covariances `[n 3 3]` = R S S R^T of Gaussians with rotations `quats` (wxyz) and standard deviations `scales`."""
    factors = quats_to_matrices(quats) * scales[:, None, :]
    return factors @ factors.transpose(0, 2, 1)


def rgb_to_dc(rgb: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """DC spherical-harmonic coefficients of colors in 0..1."""
    return (rgb - 0.5) / SH_C0


def dc_to_rgb(dc: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """Colors of DC spherical-harmonic coefficients, not clamped."""
    return dc * SH_C0 + 0.5


def sh_degree_of(num_coefficients: int) -> int:
    """The degree (0..3) whose coefficients number 1, 4, 9 or 16; InputError for any other number."""
    for degree in range(MAX_SH_DEGREE + 1):
        if (degree + 1) ** 2 == num_coefficients:
            return degree
    raise InputError(f"sh: {num_coefficients} coefficients a channel, allowed 1, 4, 9 or 16 (degree 0 to 3)")


def sh_basis(directions: Float[Array, "n 3"], degree: int) -> Float[Array, "n k"]:
    """The real spherical harmonics up to `degree` (0..3) at unit `directions`, `[n (degree + 1)^2]`."""
    if not 0 <= degree <= MAX_SH_DEGREE:
        raise InputError(f"sh degree: {degree}, allowed 0 to {MAX_SH_DEGREE}")
    x, y, z = np.moveaxis(np.asarray(directions), -1, 0)
    basis = [np.full_like(x, SH_C0)]
    if degree >= 1:
        basis += [-SH_C1 * y, SH_C1 * z, -SH_C1 * x]
    if degree >= 2:
        c = SH_C2
        basis += [c[0] * x * y, -c[0] * y * z, c[1] * z * z + c[2], -c[0] * x * z, c[3] * (x * x - y * y)]
    if degree >= 3:
        d = SH_C3
        ring = d[2] * (5 * z * z - 1)
        basis += [d[0] * y * (3 * x * x - y * y), d[1] * x * y * z, ring * y, d[3] * z * (5 * z * z - 3)]
        basis += [ring * x, d[4] * z * (x * x - y * y), d[0] * x * (x * x - 3 * y * y)]
    return np.stack(basis, axis=-1)


def eval_sh(sh: Float[Array, "n k 3"], directions: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
    """Colors `[n 3]`, clamped at 0 below, of coefficients `sh` seen along unit `directions` (camera to Gaussian)."""
    basis = sh_basis(directions, sh_degree_of(sh.shape[1]))
    return np.maximum(np.einsum("nk,nkc->nc", basis, sh) + 0.5, 0)


def look_at(eyes: Float[Array, "v 3"], target: Float[Array, "3"], up: Float[Array, "3"]) -> Float32[Array, "v 4 4"]:
    """World-to-camera matrices `[v 4 4]` (OpenCV axes) of cameras at `eyes` that look at `target`, `up` upwards.

    Raises:
        InputError: an eye lies at the target, or in line with it along `up`: no direction is then right of the camera.
    """
    eyes = np.asarray(eyes, np.float64)
    forward = np.asarray(target, np.float64) - eyes
    right = np.cross(forward, np.asarray(up, np.float64))
    if not np.all(np.linalg.norm(right, axis=1) > 1e-9 * np.linalg.norm(forward, axis=1) * np.linalg.norm(up)):
        raise InputError("look_at: an eye lies at the target or along up from it, move it off that line")
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    right = right / np.linalg.norm(right, axis=1, keepdims=True)
    viewmats = np.zeros((len(eyes), 4, 4))
    viewmats[:, :3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    viewmats[:, :3, 3] = -np.einsum("vij,vj->vi", viewmats[:, :3, :3], eyes)
    viewmats[:, 3, 3] = 1
    return viewmats.astype(np.float32)


def camera_centers(viewmats: Float[Array, "v 4 4"]) -> Float[Array, "v 3"]:
    """Camera positions `[v 3]` in the world frame of world-to-camera matrices."""
    return -np.einsum("vji,vj->vi", viewmats[:, :3, :3], viewmats[:, :3, 3])


def intrinsics(count: int, fov_deg: float, width: int, height: int) -> Float32[Array, "v 3 3"]:
    """`count` equal pinhole intrinsics `[v 3 3]` in pixels; `fov_deg` spans the shorter side of the image."""
    focal = 0.5 * min(width, height) / np.tan(np.radians(fov_deg) / 2)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)
    return cast(Array, np.tile(K, (count, 1, 1)))


def spiral_rig(
    count: int,
    radius: float,
    fov_deg: float,
    turns: float,
    elevation_min_deg: float,
    elevation_max_deg: float,
    width: int,
    height: int,
    phase: float = 0.0,
) -> Cameras:
    """`count` cameras on a spiral about the z axis that look at the origin.

    Elevation runs evenly from `elevation_min_deg` (first camera) to `elevation_max_deg` (last) while azimuth makes
    `turns` full turns. `phase` in [0, 1) moves every camera that fraction of a step along the spiral: a rig of phase .5
    lies between the cameras of phase 0 (its last camera, half a step past their last).

    Raises:
        InputError: fewer than 2 cameras, a phase outside [0, 1), elevations outside -90..90 (excluded), or a unit
            sphere that does not fit the field of view.
    """
    if count < 2:
        raise InputError(f"count: {count} cameras, a spiral needs at least 2")
    if not 0 <= phase < 1:
        raise InputError(f"phase: {phase}, allowed 0 <= phase < 1")
    if radius * np.sin(np.radians(fov_deg) / 2) < 1:
        raise InputError(
            f"radius: {radius} with fov_deg {fov_deg} cuts the unit sphere, "
            f"allowed radius >= {1 / np.sin(np.radians(fov_deg) / 2):.4f}"
        )
    steps = (np.arange(count) + phase) / (count - 1)
    elevations = elevation_min_deg + (elevation_max_deg - elevation_min_deg) * steps
    if np.abs(elevations).max() >= 90:
        raise InputError(f"elevation: {elevations.min()} to {elevations.max()} degrees, allowed -90 to 90, excluded")
    elevation, azimuth = np.radians(elevations), 2 * np.pi * turns * steps
    ring = np.cos(elevation)
    eyes = radius * np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), np.sin(elevation)], axis=1)
    viewmats = look_at(eyes, np.zeros(3), np.array([0.0, 0.0, 1.0]))
    return Cameras(viewmats, intrinsics(count, fov_deg, width, height), width, height)
