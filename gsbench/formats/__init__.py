"""Files of 3D Gaussians: INRIA PLY, `.splat`, SPZ and glTF, read and written by their suffix.

| suffix | what it is | Gaussians -> file -> Gaussians |
|---|---|---|
| .ply | Kerbl 2023, logs and logits | means, quats, SH bit for bit; scales to 6e-7 of their size, opacities to 2e-8 |
| .glb | glTF, KHR_gaussian_splatting | bit for bit |
| .spz | Niantic's, a tenth of the size | 16 bits of position, 8 of scale (3 %), color, opacity; 5 and 4 of SH |
| .splat | antimatter15's, 32 bytes | means, scales bit for bit; 8 bits of color, opacity, rotation; SH degree 0 only |

A .ply or .glb file that was written here, read and written again, has the same bytes; in .spz and .splat a few
rotations move by a step. Log, logit and every quantization live in this package; `Gaussians` are always activated.
"""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gsbench.core.files import file_size
from gsbench.core.parsing import InputError
from gsbench.core.types import Gaussians
from gsbench.formats.activation import check_gaussians, mend

SUFFIXES = (".ply", ".splat", ".spz", ".glb")
MAX_SPLAT_BYTES = 4_000_000_000
"""Largest file of Gaussians that is read; a PLY takes three times its size of memory."""
OPACITIES = ("logit", "linear")
SCALES = ("log", "linear")
LOSSY = (".splat", ".spz")
NAMED_AXES = (".spz", ".glb")
"""Suffixes of the formats that say which axis is up; the others hold the numbers as they stand."""


def suffix_of(path: str | os.PathLike[str]) -> str:
    """The format of a file by its name, one of `SUFFIXES`; InputError for another one."""
    name = Path(path).name.lower()
    suffix = Path(name).suffix
    if suffix not in SUFFIXES or name.endswith(".compressed.ply"):
        shown = ".compressed.ply" if name.endswith(".compressed.ply") else suffix
        raise InputError(f"{path}: no format of Gaussians has the suffix {shown!r} (allowed: {', '.join(SUFFIXES)})")
    return suffix


def load_splats(
    path: str | os.PathLike[str],
    opacity: str = "logit",
    axes: str = "z-up",
    notify: Callable[[str], None] = warnings.warn,
    scales: str | None = None,
) -> Gaussians:
    """Reads Gaussians from a .ply, .splat, .spz or .glb file.

    Args:
        path: the file.
        opacity: how a PLY stores opacities: "logit" as the format has it, or "linear" as pixelSplat, MVSplat and
            NoPoSplat write it. Other formats leave no choice: "logit" there.
        axes: the frame of the Gaussians returned, "z-up" (the data sets') or "y-down" (that of captures: x right,
            z forward). SPZ and glTF name their axes and are turned into it; PLY and .splat are taken as they stand.
        notify: called with one line each on what of the file was left out or repaired.
        scales: "log" or "linear" where a PLY or glTF file does not store scales as its format has it: PLY files without
            the logarithm, and glTF of the extension's draft, with it. None: as the format has it.

    Returns:
        The Gaussians, activated, quaternions unit.

    Raises:
        InputError: another suffix, a file of more than `MAX_SPLAT_BYTES`, one that is not of its format, truncated or
            without a needed property, values that no Gaussian has, an unknown `opacity`, `axes` or `scales`.
            The message is one line and names the file.
        OSError: the file cannot be read.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if opacity not in OPACITIES:
        raise InputError(f"opacity: {opacity!r} (allowed: {', '.join(OPACITIES)})")
    if opacity != "logit" and suffix != ".ply":
        raise InputError(f"{path}: opacity {opacity!r} is a choice for .ply files only, {suffix} says how it stores it")
    if scales not in (None, *SCALES):
        raise InputError(f"scales: {scales!r} (allowed: {', '.join(SCALES)})")
    if scales is not None and suffix not in (".ply", ".glb"):
        raise InputError(f"{path}: scales {scales!r} is a choice for .ply and .glb files only")
    size = file_size(path, MAX_SPLAT_BYTES)

    def note(text: str) -> None:
        notify(f"{path}: {text}")

    try:
        with np.errstate(all="ignore"):  # what is not finite is refused, whatever was done with it before
            gaussians = mend(read_unchecked(path, suffix, opacity, scales, axes, note), note)
            check_gaussians(gaussians)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except MemoryError:
        raise InputError(f"{path}: its {size} bytes take more memory than there is") from None
    return gaussians


def save_splats(
    gaussians: Gaussians,
    path: str | os.PathLike[str],
    axes: str = "z-up",
    notify: Callable[[str], None] = warnings.warn,
) -> None:
    """Writes Gaussians as the .ply, .splat, .spz or .glb file that `path` names; on failure `path` stays as it was.

    Args:
        gaussians: at least one, activated.
        path: the file; its folder is made where it is missing.
        axes: the frame of the Gaussians, as in `load_splats`.
        notify: called with one line each on what the format cannot hold.

    Raises:
        InputError: another suffix, no Gaussians, values that no Gaussian has, an unknown `axes`.
        OSError: the file cannot be written.
    """
    from gsbench.core.files import write_atomic

    path = Path(path)
    suffix = suffix_of(path)
    try:
        check_gaussians(gaussians)
        data = _encode(gaussians, suffix, axes, lambda note: notify(f"{path}: {note}"))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    write_atomic(path, data)


# Each format is imported when it is needed.


def read_unchecked(
    path: Path, suffix: str, opacity: str, scales: str | None, axes: str, notify: Callable[[str], None]
) -> Gaussians:
    """Reads Gaussians as `load_splats` does, whatever their values are."""
    from gsbench.formats.activation import rotate, to_y_up

    to_axes = to_y_up(axes).T  # an unknown name is refused whatever the format
    match suffix:
        case ".ply":
            from gsbench.formats import ply

            return ply.read(path, opacity, scales or "log", notify)
        case ".splat":
            from gsbench.formats import splat

            return splat.read(path, notify)
        case ".spz":
            from gsbench.formats import spz

            return rotate(spz.read(path, notify), to_axes)
        case _:
            from gsbench.formats import gltf

            return gltf.read(path, axes, scales or "linear", notify)


def _encode(gaussians: Gaussians, suffix: str, axes: str, notify: Callable[[str], None]) -> bytes:
    from gsbench.formats.activation import rotate, to_y_up

    to_y_up(axes)
    match suffix:
        case ".ply":
            from gsbench.formats import ply

            return ply.encode(gaussians)
        case ".splat":
            from gsbench.formats import splat

            return splat.encode(gaussians, notify)
        case ".spz":
            from gsbench.formats import spz

            return spz.encode(rotate(gaussians, to_y_up(axes)), notify)
        case _:
            from gsbench.formats import gltf

            return gltf.encode(gaussians, axes)
