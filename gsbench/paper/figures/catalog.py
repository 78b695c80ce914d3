"""The figures of a data set by name."""

from collections.abc import Callable
from pathlib import Path

from gsbench.core.parsing import InputError, suggest
from gsbench.paper.figures.detail import draw_detail
from gsbench.paper.figures.gallery import draw_sampling, draw_views
from gsbench.paper.figures.path import draw_path
from gsbench.paper.figures.sheet import SUFFIXES, Sheet, require
from gsbench.store.folder import Folder

OF_DATA: dict[str, Callable[[Folder, str | None], Sheet]] = {
    "figure1": draw_views,
    "figure2": draw_sampling,
    "figure3": draw_path,
    "figure4": draw_detail,
}
"""Figures of one object of a data folder; the others show what a model has learned."""

EMBEDDING = "figure7"
NAMES = (*OF_DATA, EMBEDDING)


def parse_name(name: str) -> tuple[str, str]:
    """A figure's name and the suffix of its file: `figure1` is a PNG, `figure1.pdf` and `figure1.svg` are those.

    Raises:
        InputError: no such figure, or no such format.
    """
    path = Path(name)
    figure, suffix = path.stem, path.suffix or SUFFIXES[0]
    if figure not in NAMES:
        raise InputError(f"{name}: no such figure{suggest(figure, NAMES)} (allowed: {', '.join(NAMES)})")
    if suffix not in SUFFIXES:
        raise InputError(f"{name}: no format '{suffix}' (allowed: {', '.join(SUFFIXES)})")
    return figure, suffix


def draw_object(name: str, folder: Folder, object_id: str | None = None) -> Sheet:
    """Draws a figure of one object of a data folder; `Sheet.save` writes it.

    Args:
        name: a key of `OF_DATA`.
        folder: an open data folder.
        object_id: of either split; None takes the test object of median PSNR in the class that the published figure
            shows.

    Raises:
        InputError: no such object, or a folder that lacks what the figure shows, or matplotlib is not installed.
    """
    require("matplotlib")
    return OF_DATA[name](folder, object_id)
