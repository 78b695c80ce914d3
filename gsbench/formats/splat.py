"""antimatter15's `.splat`: 32 bytes a Gaussian and no header, position and scale float32, the rest a byte each.

A record holds x y z, three linear scales, red green blue of degree 0 and opacity as 0..255, and the quaternion wxyz as
128 + 128 q. Colors are cut to 0..1, SH above degree 0 is lost. The order of the Gaussians is kept.
Source: https://github.com/antimatter15/splat, convert.py and main.js.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from gsbench.core.geometry import dc_to_rgb, rgb_to_dc
from gsbench.core.parsing import InputError
from gsbench.core.types import Gaussians
from gsbench.formats.activation import unit, without_zeros

_RECORD = np.dtype([("xyz", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("wxyz", "u1", 4)])
RECORD_BYTES = _RECORD.itemsize


def read(path: Path, notify: Callable[[str], None]) -> Gaussians:
    """Reads a .splat file; InputError if its size is no multiple of 32 bytes."""
    size = path.stat().st_size
    if size % _RECORD.itemsize:
        raise InputError(f"{size} bytes (a .splat file has 32 for each Gaussian): truncated, or no .splat file")
    return read_whole(path, notify)


def read_whole(path: Path, notify: Callable[[str], None]) -> Gaussians:
    """Reads all whole records of a .splat file, whatever its size."""
    rows = without_zeros(np.fromfile(path, _RECORD), notify)
    rgba = rows["rgba"].astype(np.float32) / 255
    quats = (rows["wxyz"].astype(np.float32) - 128) / 128
    dc = rgb_to_dc(rgba[:, None, :3]).astype(np.float32)
    return Gaussians(rows["xyz"].copy(), unit(quats, 0), rows["scale"].copy(), rgba[:, 3].copy(), dc)


def encode(gaussians: Gaussians, notify: Callable[[str], None]) -> bytes:
    """The bytes of a .splat file."""
    if gaussians.sh.shape[1] > 1:
        notify(f".splat holds SH of degree 0 only: {gaussians.sh.shape[1] - 1} coefficients a channel left out")
    rows = np.empty(len(gaussians), _RECORD)
    rows["xyz"], rows["scale"] = gaussians.means, gaussians.scales
    rgb = dc_to_rgb(gaussians.sh[:, 0])
    clipped = int(((rgb < -0.5 / 255) | (rgb > 1 + 0.5 / 255)).any(axis=1).sum())
    if clipped:
        notify(f".splat holds colors in 0..1: cut in {clipped} of {len(gaussians)} Gaussians")
    rows["rgba"][:, :3] = np.rint(rgb.clip(0, 1) * 255)
    rows["rgba"][:, 3] = np.rint(gaussians.opacities * 255)
    rows["wxyz"] = np.rint(unit(gaussians.quats, 0) * 128 + 128).clip(0, 255)
    return rows.tobytes()
