"""Reads a PLY file of Gaussians whatever is wrong with it, and tells that."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Shaped

from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Gaussians
from gsbench.formats import ply
from gsbench.formats.activation import UNIT_TOLERANCE, from_log
from gsbench.formats.ply_rows import read_header, read_rows, row_dtype

_THIN_LOG = -16.0  # of scales of 1e-7
_ENOUGH = 8  # Gaussians that tell how a file stores its values; of fewer any range may be chance
_MARGIN = 1.0  # by which one reading of the scales must fit better, as a logarithm
_DEGREE_4, _DEGREE_3 = 72, 45
_TWO_VIEWS = 2 * 256 * 256
_MVSPLAT_MOST = 115_200


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        level: "error", it does not load or is drawn wrong everywhere; "warning", it may be, or only some viewers draw
            it well; "note", every careful reader copes.
        text: what is wrong and how it looks.
        change: what a repair does about it; empty where nothing can be done.
    """

    level: Literal["error", "warning", "note"]
    text: str
    change: str = ""


Add = Callable[[Finding], None]


def read(path: Path, add: Add) -> Gaussians:
    """The Gaussians of the file, not checked; InputError where nothing can be made of it."""
    rows = _rows(path, add)
    columns = {name: rows[name].astype(np.float32) for name in rows.dtype.names or ()}
    _cut_sh(columns, add)
    _thicken(columns, add)
    rest = ply.rest_names(tuple(columns))
    if extra := [name for name in columns if name not in {*ply.NEEDED, *ply.NORMAL, *rest, ply.FILTER}]:
        add(Finding("note", f"properties that no Gaussian has: {ply.shorten(extra)}", "left out"))
    columns = {name: columns[name] for name in (*ply.NEEDED, *rest, ply.FILTER) if name in columns}
    columns = _keep_rows(columns, add)
    opacity = _opacity_kind(columns, bool(extra), rest, add)
    scales = _scale_kind(columns, add)
    if ply.FILTER in columns:
        text = "mip-splatting's filter_3D, which most viewers do not know: they draw thin Gaussians thinner than "
        add(
            Finding(
                "warning", text + "trained, with holes and aliasing", "scales and opacities with the filter in them"
            )
        )
    lengths = np.linalg.norm(np.stack([columns[f"rot_{i}"] for i in range(4)], axis=1).astype(np.float64), axis=1)
    off = (np.abs(lengths - 1) > UNIT_TOLERANCE) & (lengths > 0)
    if off.any():
        text = f"rotations not of length 1: {off.sum()} of {len(off)}, lengths {lengths[off].min():.3g} to "
        text += f"{lengths[off].max():.3g}, as trainers leave them; viewers that do not normalize draw a wrong size"
        add(Finding("note", text, "normalized"))
    return ply.from_table(np.stack(list(columns.values()), axis=1), tuple(columns), opacity, scales, lambda note: None)


def _rows(path: Path, add: Add) -> Shaped[Array, " n"]:
    try:
        rows, behind = read_rows(path, "vertex")
    except InputError as error:
        return _whole_rows(path, error, add)
    if behind:
        text = f"the header announces {len(rows)} Gaussians, {behind} bytes more are there, enough for "
        text += f"{behind / max(1, rows.dtype.itemsize):.1f} others; readers that go by the size see other Gaussians"
        add(Finding("error", text, "left out, as the header has it"))
    return rows


def _whole_rows(path: Path, error: InputError, add: Add) -> Shaped[Array, " n"]:
    """The complete rows of a binary file that ends early; any other `error` is raised again."""
    with path.open("rb") as file:
        header = read_header(file)
        element = header.elements[0] if header.elements else None
        if element is None or element.name != "vertex" or element.has_lists or not header.order:
            raise error
        dtype = row_dtype(element, header.order)
        there = (os.fstat(file.fileno()).st_size - file.tell()) // dtype.itemsize
        if not 0 < there < element.count:
            raise error
        text = f"truncated: the header announces {element.count} Gaussians, {there} are there"
        add(Finding("error", text + "; most viewers refuse the file", f"the {there} that are there"))
        return np.fromfile(file, dtype, there)


def _cut_sh(columns: dict[str, Float32[Array, " n"]], add: Add) -> None:
    """SH of degree 4, which NoPoSplat writes, cut to degree 3."""
    names = [name for name in columns if name.startswith("f_rest_")]
    if len(names) != _DEGREE_4 or set(names) != {f"f_rest_{i}" for i in range(_DEGREE_4)}:
        return
    values = [columns.pop(f"f_rest_{i}") for i in range(_DEGREE_4)]
    each, kept = _DEGREE_4 // 3, _DEGREE_3 // 3
    for channel in range(3):
        for k in range(kept):
            columns[f"f_rest_{channel * kept + k}"] = values[channel * each + k]
    text = "SH of degree 4 (72 f_rest), as NoPoSplat may write them; viewers refuse them, or mix up the channels"
    add(Finding("error", text, "cut to degree 3"))


def _thicken(columns: dict[str, Float32[Array, " n"]], add: Add) -> None:
    if "scale_1" in columns and not {"scale_2", "packed_position"} & columns.keys():
        columns["scale_2"] = np.full(len(columns["scale_1"]), _THIN_LOG, np.float32)
        text = "two scales only, as 2DGS writes its discs; viewers of 3D Gaussians refuse the file or draw balls"
        add(Finding("error", text, f"a third scale of e^{_THIN_LOG:g}"))


def _keep_rows(columns: dict[str, Float32[Array, " n"]], add: Add) -> dict[str, Float32[Array, " n"]]:
    """Without rows of zeros and rows that are not finite; opacities may be infinite logits."""
    table = np.stack([columns[name] for name in columns], axis=1)
    empty = ~table.any(axis=1)
    finite = np.isfinite(table)
    finite[:, list(columns).index("opacity")] = ~np.isnan(columns["opacity"])
    wrong = ~finite.all(axis=1)
    if empty.any():
        text = f"rows of zeros: {empty.sum()} of {len(table)} (the first: {empty.argmax()}), room that a trainer made "
        add(Finding("error", text + "ahead; each is drawn as a gray ball of radius 1 at the origin", "left out"))
    if wrong.any():
        names = [name for name, column in zip(columns, finite.T, strict=True) if not column.all()]
        text = f"rows with NaN or infinity: {wrong.sum()} of {len(table)} (the first: {wrong.argmax()}; in "
        text += f"{ply.shorten(names)}); holes, flicker or a black picture, by the viewer"
        add(Finding("error", text, "left out"))
    keep = ~(empty | wrong)
    endless = np.isinf(columns["opacity"]) & keep
    if endless.any():
        text = (
            f"infinite opacities: {endless.sum()} of {len(table)}; they mean 0 and 1, but not every viewer takes them"
        )
        add(Finding("warning", text, "finite logits of the same opacity"))
    if not keep.any():
        raise InputError("no Gaussians are left (at least one is needed)")
    return {name: values[keep] for name, values in columns.items()}


def _opacity_kind(columns: dict[str, Float32[Array, " n"]], has_extra: bool, rest: tuple[str, ...], add: Add) -> str:
    """`linear` or `logit`; tells who may have exported linear ones."""
    raw = columns["opacity"]
    if not ((raw >= 0) & (raw <= 1)).all() or not raw.any():
        return "logit"
    what = f"all opacities are stored in 0..1 ({raw.min():.3g} to {raw.max():.3g}), not as logits"
    looks = "viewers draw them as .5 to .73: solid Gaussians show through, faint ones turn to fog"
    if len(raw) < _ENOUGH:
        text = f"{what}, or so it seems: {len(raw)} Gaussians are too few to tell; see `convert --opacity linear`"
        add(Finding("warning", text))
        return "logit"
    exporter = _exporter(columns, has_extra, rest)
    add(Finding("error", f"{what}{f', as {exporter} does it' if exporter else ''}; {looks}", "logits of them"))
    if exporter == "pixelSplat":
        text = (
            "pixelSplat's rotations are in the cameras' frames, not in that of the positions: Gaussians stand askew; "
        )
        add(Finding("error", text + "no repair without the cameras, which the file lacks"))
    return "linear"


def _exporter(columns: dict[str, Float32[Array, " n"]], has_extra: bool, rest: tuple[str, ...]) -> str:
    """Which program wrote linear opacities, as far as the file tells."""
    quats = np.stack([columns[f"rot_{i}"] for i in range(4)], axis=1)
    unit = np.abs(np.linalg.norm(quats.astype(np.float64), axis=1) - 1).max() <= UNIT_TOLERANCE
    if has_extra or not unit or ply.FILTER in columns:
        return ""
    count = len(quats)
    if len(rest) == _DEGREE_3 or count == _TWO_VIEWS:
        return "NoPoSplat"
    if rest:
        return ""
    # Three samples a pixel share color and rotation, and the rows of two views take turns.
    shared = np.concatenate([quats, np.stack([columns[name] for name in ply.DC], axis=1)], axis=1)
    alike = (shared[2:] == shared[:-2]).all(axis=1) & (shared[2:] != shared[1:-1]).any(axis=1)
    if alike.mean() > 0.3 and columns["opacity"].max() <= 1 / 3 + 1e-6:
        return "pixelSplat"
    means = np.stack([columns[axis] for axis in "xyz"], axis=1)
    size = np.quantile(np.abs(means), 0.95, axis=0).max()
    centered = np.linalg.norm(np.median(means, axis=0)) < 0.25 and 0.5 < size < 2  # up to a turn that followed
    return "MVSplat" if centered and count <= _MVSPLAT_MOST else ""


def _scale_kind(columns: dict[str, Float32[Array, " n"]], add: Add) -> str:
    """`linear` or `log`: where no value is below 0, whichever is nearer to the distance between neighbors."""
    raw = np.stack([columns[f"scale_{i}"] for i in range(3)], axis=1)
    if (raw < 0).any() or not raw.any():
        return "log"
    from scipy.spatial import cKDTree

    means = np.stack([columns[axis] for axis in "xyz"], axis=1).astype(np.float64)
    some = np.random.default_rng(0).choice(len(means), min(len(means), 2000), replace=False)
    nearest = cKDTree(means).query(means[some], min(4, len(means)))[0].reshape(len(some), -1)[:, -1]
    spacing = np.log(np.median(nearest[nearest > 0])) if (nearest > 0).any() else np.nan
    middle = float(np.median(raw.max(axis=1)))
    gain = abs(middle - spacing) - abs(np.log(max(middle, 1e-30)) - spacing)
    radius = np.quantile(np.linalg.norm(means - np.median(means, axis=0), axis=1), 0.95)
    fog = gain > 0 and np.exp(middle) > radius / 2
    what = "no scale is below 0, as if stored without the logarithm"
    if (fog or gain > _MARGIN) and len(raw) >= _ENOUGH:
        text = (
            f"{what}, and so read they fit the distances between Gaussians ({np.exp(spacing):.2g}); viewers draw each "
        )
        add(Finding("error", text + f"at least {from_log(raw).min():.3g} units large: one fog", "logarithms of them"))
        return "linear"
    if not gain < -_MARGIN:
        add(Finding("warning", f"{what}; the distances between Gaussians do not tell: `convert --scales linear`"))
    return "log"
