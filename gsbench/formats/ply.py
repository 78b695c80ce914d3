"""3DGS PLY as INRIA's code writes it (Kerbl 2023): logs, logits, quaternions of any length, read by property name.

A row holds x y z, nx ny nz (unused, written as 0), f_dc_0..2, f_rest_* (all coefficients of red above degree 0, then
of green, then of blue), opacity (logit), scale_0..2 (log), rot_0..3 (wxyz). Read: float or double, either byte order,
text, no normals (gsplat's exporter), further properties and elements, bytes behind the rows. mip-splatting's filter_3D
(Yu 2024, section 4.2) is applied: the smallest size that the training views could tell, added to every Gaussian.
"""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy.lib.recfunctions import structured_to_unstructured

from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Gaussians
from gsbench.formats.activation import from_log, from_logit, to_log, to_logit, unit, without_zeros
from gsbench.formats.ply_rows import read_rows

_XYZ = ("x", "y", "z")
NORMAL = ("nx", "ny", "nz")
DC = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALE = ("scale_0", "scale_1", "scale_2")
_ROTATION = ("rot_0", "rot_1", "rot_2", "rot_3")
FILTER = "filter_3D"
NEEDED = (*_XYZ, *DC, "opacity", *_SCALE, *_ROTATION)
_REST_COUNTS = (0, 9, 24, 45)


def read(path: Path, opacity: str, scales: str, notify: Callable[[str], None]) -> Gaussians:
    """Reads a PLY file of Gaussians; see `gsbench.formats.load_splats` for the arguments and errors."""
    rows, trailing = read_rows(path, "vertex")
    names = rows.dtype.names or ()
    known = {*NEEDED, *NORMAL, *rest_names(names), FILTER}
    if extra := [name for name in names if name not in known]:
        notify(f"left out properties that no Gaussian has: {shorten(extra)}")
    if trailing:
        notify(f"left out {trailing} bytes behind the {len(rows)} Gaussians that the header announces")
    table = without_zeros(structured_to_unstructured(rows, np.float32), notify)
    return from_table(table, names, opacity, scales, notify)


def from_table(
    table: Float32[Array, "n p"], names: tuple[str, ...], opacity: str, scales: str, notify: Callable[[str], None]
) -> Gaussians:
    """The Gaussians of rows whose columns have these names."""
    place = {name: column for column, name in enumerate(names)}
    rest = rest_names(names)

    def take(wanted: Iterable[str]) -> Float32[Array, "n c"]:
        return table.take([place[name] for name in wanted], axis=1)

    above = len(rest) // 3
    sh = take((*DC, *(rest[channel * above + k] for k in range(above) for channel in range(3))))
    gaussians = Gaussians(
        take(_XYZ),
        unit(take(_ROTATION)),
        _activate_scales(take(_SCALE), scales, notify),
        _activate(take(["opacity"])[:, 0], opacity, notify),
        sh.reshape(len(table), 1 + above, 3),
    )
    return _filter(gaussians, take([FILTER]), notify) if FILTER in place else gaussians


def rest_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """The f_rest properties in order; InputError if they, or others that Gaussians need, are not all there."""
    missing = [name for name in NEEDED if name not in names]
    if "packed_position" in names:
        raise InputError("a compressed PLY, which only PlayCanvas's tools read (allowed: 3DGS PLY)")
    if missing:
        raise InputError(f"not 3D Gaussians: element vertex has no {shorten(missing)} (needed: {', '.join(NEEDED)})")
    rest = tuple(f"f_rest_{i}" for i in range(sum(name.startswith("f_rest_") for name in names)))
    if len(rest) not in _REST_COUNTS or not set(rest) <= set(names):
        raise InputError(
            f"{len(rest)} properties f_rest_* (allowed: {', '.join(map(str, _REST_COUNTS))} from f_rest_0 on)"
        )
    return rest


def shorten(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _activate(raw: Float32[Array, " n"], opacity: str, notify: Callable[[str], None]) -> Float32[Array, " n"]:
    within = bool(((raw >= 0) & (raw <= 1)).all())
    if opacity == "linear":
        if not within:
            raise InputError("opacity is not in 0..1 throughout, so it is no linear one (allowed: opacity 'logit')")
        notify("opacities taken as linear, as pixelSplat, MVSplat and NoPoSplat store them, not as logits")
        return raw
    if within:
        notify(
            "all opacities lie in 0..1, as if stored without the logit (pixelSplat, MVSplat and NoPoSplat do that); "
            "taken as logits all the same, opacity 'linear' takes them as they are"
        )
    if np.isnan(raw).any():
        raise InputError(f"opacity of Gaussian {np.isnan(raw).argmax()} is not a number")
    return from_logit(raw)


def _activate_scales(raw: Float32[Array, "n 3"], scales: str, notify: Callable[[str], None]) -> Float32[Array, "n 3"]:
    not_below = bool((raw >= 0).all())
    if scales == "linear":
        if not not_below:
            raise InputError("scales are below 0 somewhere, so they are no linear ones (allowed: scales 'log')")
        notify("scales taken as linear, not as logarithms")
        return raw
    if not_below and raw.any():  # of a trained scene, some Gaussian is thinner than one unit
        notify(
            "no scale is below 0, as if stored without the logarithm; taken as logarithms all the same, "
            f"so that none is below {from_log(raw).min():g}, scales 'linear' takes them as they are"
        )
    return from_log(raw)


def _filter(gaussians: Gaussians, sizes: Float32[Array, "n 1"], notify: Callable[[str], None]) -> Gaussians:
    """The Gaussians convolved with isotropic ones of these sizes, their mass kept as mip-splatting does."""
    if not (np.isfinite(sizes) & (sizes >= 0)).all():
        raise InputError(f"{FILTER} is below 0 or not finite somewhere (allowed: sizes, 0 or more)")
    before = np.square(gaussians.scales.astype(np.float64))
    after = before + np.square(sizes.astype(np.float64))
    ratio = np.divide(before, after, out=np.zeros_like(before), where=after > 0)
    notify(f"applied {FILTER}, as mip-splatting does for rendering: scales grow and opacities shrink by it")
    return dataclasses.replace(
        gaussians,
        scales=np.sqrt(after).astype(np.float32),
        opacities=(gaussians.opacities * np.sqrt(ratio.prod(axis=1))).astype(np.float32),
    )


def encode(gaussians: Gaussians) -> bytes:
    """The bytes of a PLY file with normals, little endian, float32."""
    count, coefficients = gaussians.sh.shape[:2]
    rest = tuple(f"f_rest_{i}" for i in range(3 * (coefficients - 1)))
    names = (*_XYZ, *NORMAL, *DC, *rest, "opacity", *_SCALE, *_ROTATION)
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [*(f"property float {name}" for name in names), "end_header", ""]
    columns = (
        gaussians.means,
        np.zeros((count, 3), np.float32),
        gaussians.sh[:, 0],
        gaussians.sh[:, 1:].transpose(0, 2, 1).reshape(count, -1),
        to_logit(gaussians.opacities)[:, None],
        to_log(gaussians.scales),
        gaussians.quats,
    )
    return "\n".join(header).encode("ascii") + np.concatenate(columns, axis=1, dtype="<f4").tobytes()
