"""glTF 2.0 with KHR_gaussian_splatting as one .glb: activated float32 values, exact both ways.

Attributes hold the Gaussians in their own frame, and the node's rotation says how that frame becomes glTF's, y up: so
nothing is rounded, and every viewer draws them upright. COLOR_0 shows them as colored points where the extension is
not known. Read: one or many primitives, nodes that turn, move and scale evenly, normalized integers.
Source: https://github.com/KhronosGroup/glTF, extensions/2.0/Khronos/KHR_gaussian_splatting (ratified).
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from gsbench.core.geometry import MAX_SH_DEGREE, dc_to_rgb, matrices_to_quats, sh_degree_of
from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Gaussians
from gsbench.formats import glb
from gsbench.formats.activation import from_log, rotate, to_y_up, unit

EXTENSION = "KHR_gaussian_splatting"
_COLOR_SPACE = "srgb_rec709_display"
_POINTS = 0
_READABLE = {EXTENSION, "KHR_mesh_quantization"}


def _sh_names(degree: int) -> list[str]:
    return [f"{EXTENSION}:SH_DEGREE_{d}_COEF_{m}" for d in range(degree + 1) for m in range(2 * d + 1)]


def read(path: Path, axes: str, scales: str, notify: Callable[[str], None]) -> Gaussians:
    """Reads all Gaussians of the default scene of a .glb file; see `gsbench.formats.load_splats`."""
    document = glb.parse(path.read_bytes())
    glb.check_sizes(document)
    try:
        return _read_scene(document, axes, scales, notify)
    except glb.MALFORMED as error:
        raise glb.malformed(error) from None


def _read_scene(document: glb.Document, axes: str, scales: str, notify: Callable[[str], None]) -> Gaussians:
    unknown = set(document.json.get("extensionsRequired", ())) - _READABLE
    if unknown:
        raise InputError(f"needs {', '.join(sorted(unknown))}, which cannot be read (allowed: {', '.join(_READABLE)})")
    parts = []
    for mesh, matrix in glb.meshes(document):
        for primitive in glb.item(document.json["meshes"], mesh)["primitives"]:
            splatting = primitive.get("extensions", {}).get(EXTENSION)
            if splatting is None:
                notify("left out a primitive that is no Gaussians")
                continue
            _check_kind(splatting, notify)
            parts.append(_place(_read_primitive(document, primitive["attributes"], scales), matrix, axes))
    if scales == "log":
        notify(f"scales taken as logarithms, as a draft of {EXTENSION} had them")
    if not parts:
        raise InputError(f"no Gaussians: no primitive of its scene has {EXTENSION}")
    return _concatenate(parts)


def _check_kind(splatting: dict[str, Any], notify: Callable[[str], None]) -> None:
    if compression := sorted(splatting.get("extensions", {})):
        raise InputError(f"compressed or changed by {', '.join(compression)}, which cannot be read (allowed: none)")
    if splatting.get("kernel") != "ellipse":
        raise InputError(f"kernel {splatting.get('kernel')!r} (allowed: 'ellipse')")
    if splatting.get("colorSpace") != _COLOR_SPACE:
        notify(f"color space {splatting.get('colorSpace')!r} taken for {_COLOR_SPACE!r}, unchanged")


def _read_primitive(document: glb.Document, attributes: dict[str, int], scales: str) -> Gaussians:
    degree = max((d for d in range(MAX_SH_DEGREE + 1) if f"{EXTENSION}:SH_DEGREE_{d}_COEF_0" in attributes), default=0)
    fields = ["POSITION", *(f"{EXTENSION}:{name}" for name in ("ROTATION", "SCALE", "OPACITY")), *_sh_names(degree)]
    if missing := [name for name in fields if name not in attributes]:
        raise InputError(f"a primitive of Gaussians has no {', '.join(missing)}")
    values = [glb.read_accessor(document, attributes[name]) for name in fields]
    shapes = [3, 4, 3, 1, *[3] * len(_sh_names(degree))]
    for name, one, width in zip(fields, values, shapes, strict=True):
        if one.shape != (len(values[0]), width):
            raise InputError(f"{name} is {list(one.shape)} (must be {[len(values[0]), width]})")
    means, xyzw, sizes, opacities, *sh = values
    if scales == "log":
        sizes = from_log(sizes)
    elif (below := (sizes < 0).any(axis=1)).any():
        raise InputError(
            f"scales of Gaussian {below.argmax()} are below 0 ({below.sum()} like it): a draft of {EXTENSION} stored "
            "logarithms, scales 'log' takes them as those (allowed otherwise: 0 and more)"
        )
    return Gaussians(means, unit(np.roll(xyzw, 1, axis=1)), sizes, opacities[:, 0], np.stack(sh, axis=1))


def _place(gaussians: Gaussians, matrix: Float64[Array, "4 4"], axes: str) -> Gaussians:
    """The Gaussians where the node puts them, in the frame `axes`; untouched where the two cancel."""
    turned = to_y_up(axes).T @ matrix[:3, :3]
    scale = float(np.cbrt(np.linalg.det(turned)))
    if not (scale > 0 and np.allclose(turned @ turned.T, scale**2 * np.eye(3), rtol=0, atol=1e-4 * scale**2)):
        raise InputError("a node mirrors, shears or scales unevenly (allowed: rotation, translation, even scale)")
    rotation = turned / scale
    # A rotation written by its quaternion is the right angle that was meant to a rounding error only.
    rotation = np.where(np.abs(rotation - rotation.round()) < 1e-6, rotation.round(), rotation)
    offset = to_y_up(axes).T @ matrix[:3, 3]
    moved = rotate(gaussians, rotation, 1.0 if abs(scale - 1) < 1e-6 else scale)
    if not offset.any():
        return moved
    return dataclasses.replace(moved, means=(moved.means + offset).astype(np.float32))


def _concatenate(parts: list[Gaussians]) -> Gaussians:
    """All parts as one, SH filled up with zeros to the highest degree among them."""
    if len(parts) == 1:
        return parts[0]
    coefficients = max(part.sh.shape[1] for part in parts)
    sh = [np.pad(part.sh, ((0, 0), (0, coefficients - part.sh.shape[1]), (0, 0))) for part in parts]
    return Gaussians(
        np.concatenate([part.means for part in parts]),
        np.concatenate([part.quats for part in parts]),
        np.concatenate([part.scales for part in parts]),
        np.concatenate([part.opacities for part in parts]),
        np.concatenate(sh),
    )


def encode(gaussians: Gaussians, axes: str) -> bytes:
    """The bytes of a .glb file with the Gaussians, which are in the frame `axes`."""
    degree = sh_degree_of(gaussians.sh.shape[1])
    attributes = {
        "POSITION": gaussians.means,
        "COLOR_0": _fallback_colors(gaussians),
        f"{EXTENSION}:ROTATION": np.roll(unit(gaussians.quats), -1, axis=1),
        f"{EXTENSION}:SCALE": gaussians.scales,
        f"{EXTENSION}:OPACITY": gaussians.opacities,
        **{name: gaussians.sh[:, index] for index, name in enumerate(_sh_names(degree))},
    }
    arrays = [np.ascontiguousarray(values) for values in attributes.values()]
    accessors = [glb.accessor(array, view) for view, array in enumerate(arrays)]
    accessors[0] |= {"min": gaussians.means.min(axis=0).tolist(), "max": gaussians.means.max(axis=0).tolist()}
    w, *xyz = matrices_to_quats(to_y_up(axes)[None])[0].tolist()
    splatting = {"kernel": "ellipse", "colorSpace": _COLOR_SPACE}
    primitive = {
        "attributes": {name: index for index, name in enumerate(attributes)},
        "mode": _POINTS,
        "extensions": {EXTENSION: splatting},
    }
    document = {
        "asset": {"version": "2.0", "generator": "gsbench"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "rotation": [*xyz, w]}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
    }
    return glb.serialize(document, arrays)


def _fallback_colors(gaussians: Gaussians) -> UInt8[Array, "n 4"]:
    """Linear RGBA of the DC color; what viewers without the extension draw."""
    srgb = dc_to_rgb(gaussians.sh[:, 0]).clip(0, 1)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.rint(np.concatenate([linear, gaussians.opacities[:, None]], axis=1) * 255).astype(np.uint8)
