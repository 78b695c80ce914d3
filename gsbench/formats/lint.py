"""What is wrong with a file of Gaussians, how it looks because of that, and the Gaussians without it.

The signatures of exporters were read in pixelsplat 32b1b66, mvsplat 175b17a and NoPoSplat 9b04307.
"""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from gsbench.core.files import file_size
from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Gaussians
from gsbench.formats import MAX_SPLAT_BYTES, read_unchecked, suffix_of
from gsbench.formats.activation import MAX_VALUE, check_gaussians, mend
from gsbench.formats.lint_ply import Add, Finding

_FAR, _ALONE, _NEIGHBORS = 5.0, 10.0, 8
_HUGE, _VISIBLE = 2.0, 1 / 255


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found in a file, and its Gaussians with all changes made; None where none could be read."""

    findings: tuple[Finding, ...]
    gaussians: Gaussians | None


def lint(path: str | os.PathLike[str]) -> Checked:
    """Checks a .ply, .splat, .spz or .glb file; a file that cannot be read at all is a finding, too.

    The Gaussians are activated and, of formats that name their axes, z up: `save_splats` writes them as they were.

    Raises:
        OSError: the file cannot be opened.
    """
    path = Path(path)
    findings: list[Finding] = []
    try:
        suffix = suffix_of(path)
        size = file_size(path, MAX_SPLAT_BYTES)
        with np.errstate(all="ignore"):
            gaussians = _common(_read(path, suffix, findings.append), findings.append)
            check_gaussians(gaussians)
    except InputError as error:
        return Checked((*findings, Finding("error", str(error).removeprefix(f"{path}: "))), None)
    except MemoryError:
        return Checked((Finding("error", f"its {size} bytes take more memory than there is"),), None)
    return Checked(tuple(findings), gaussians)


def _read(path: Path, suffix: str, add: Add) -> Gaussians:
    if suffix == ".ply":
        from gsbench.formats import lint_ply

        return lint_ply.read(path, add)
    if suffix == ".splat":
        from gsbench.formats import splat

        if rest := path.stat().st_size % splat.RECORD_BYTES:
            text = f"{rest} bytes behind the last whole Gaussian: the file was cut short, or is no .splat file"
            add(Finding("error", text, "left out"))
        return splat.read_whole(path, lambda note: add(Finding("warning", note, "left out")))
    notes: list[str] = []
    try:
        gaussians = read_unchecked(path, suffix, "logit", None, "z-up", notes.append)
    except InputError as error:
        if suffix != ".glb":
            raise
        try:
            gaussians = read_unchecked(path, suffix, "logit", "log", "z-up", lambda note: None)
        except InputError:
            raise error from None
        text = "scales are below 0: logarithms, as a draft of KHR_gaussian_splatting had them; viewers of the ratified "
        add(Finding("error", text + "extension draw nothing or refuse the file", "scales taken from their logarithms"))
        notes.clear()
    for note in notes:
        add(Finding("warning", note, "as said"))
    return gaussians


def _common(gaussians: Gaussians, add: Add) -> Gaussians:
    """Checks that do not depend on the format."""
    gaussians = _drop_impossible(gaussians, add)
    count = len(gaussians)
    if zeros := int((~gaussians.quats.any(axis=1)).sum()):
        text = f"rotations 0 0 0 0: {zeros} of {count}; a viewer that divides by their length loses these"
        add(Finding("error", text, "taken as no rotation"))
    if flat := int((gaussians.scales == 0).any(axis=1).sum()):
        text = f"scales of 0: {flat} of {count}; their logarithm is infinite, and not every viewer takes it"
        add(Finding("warning", text, "made very thin"))
    gaussians = mend(gaussians, lambda note: None)
    if len(gaussians):
        _tell_far_and_huge(gaussians, add)
    return gaussians


def _drop_impossible(gaussians: Gaussians, add: Add) -> Gaussians:
    wrong = np.zeros(len(gaussians), bool)
    for name in ("means", "quats", "scales", "opacities", "sh"):
        values = getattr(gaussians, name).reshape(len(gaussians), -1)
        wrong |= ~(np.abs(values) <= MAX_VALUE).all(axis=1)
    wrong |= (gaussians.scales < 0).any(axis=1)
    wrong |= ~((gaussians.opacities >= 0) & (gaussians.opacities <= 1))
    if not wrong.any():
        return gaussians
    text = f"values that no Gaussian has, such as NaN: {wrong.sum()} of {len(wrong)} (the first: {wrong.argmax()}); "
    add(Finding("error", text + "holes, flicker or a black picture, by the viewer", "rows left out"))
    return select(gaussians, ~wrong)


def select(gaussians: Gaussians, keep: Bool[Array, " n"]) -> Gaussians:
    """The Gaussians of some rows."""
    return Gaussians(*(getattr(gaussians, field.name)[keep] for field in dataclasses.fields(gaussians)))


def _tell_far_and_huge(gaussians: Gaussians, add: Add) -> None:
    """Gaussians that stand far off and alone, and those larger than everything; both may be a capture's background."""
    means = gaussians.means.astype(np.float64)
    distances = np.linalg.norm(means - np.median(means, axis=0), axis=1)
    radius = float(np.quantile(distances, 0.95))
    far = np.flatnonzero(distances > _FAR * radius)
    if len(far) and len(means) > 10 * _NEIGHBORS and radius > 0:
        from scipy.spatial import cKDTree

        tree = cKDTree(means)
        some = np.random.default_rng(0).choice(len(means), min(len(means), 2000), replace=False)
        usual = np.median(tree.query(means[some], _NEIGHBORS + 1)[0][:, -1])
        alone = far[tree.query(means[far], _NEIGHBORS + 1)[0][:, -1] > _ALONE * usual]
        if len(alone):
            times = distances[alone].max() / radius
            text = (
                f"floaters, far off and alone: {len(alone)} of {len(means)} (the first: {alone[0]}), up to {times:.0f} "
            )
            text += "times as far out as 95 % of the others; specks in the air, and a viewer that frames everything "
            add(Finding("warning", text + "shows the object small. A repair leaves them: they may be background"))
    if radius > 0:
        huge = (gaussians.scales.max(axis=1) > _HUGE * radius) & (gaussians.opacities > _VISIBLE)
        if huge.any():
            text = f"larger than all the rest together: {huge.sum()} of {len(huge)} (the first: {huge.argmax()}); fog "
            add(Finding("warning", text + "or spikes across the picture. A repair leaves them: they may be background"))
