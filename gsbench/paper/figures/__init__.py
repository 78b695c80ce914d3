"""Figures of a data set and of learned features, drawn by matplotlib from any data folder.

Gaussians are drawn by the rasterizer that scores them, never by a stand-in. matplotlib and openTSNE come with the extra
`figures`; they are imported when a figure is drawn.
"""

from pathlib import Path

from gsbench.core.parsing import InputError, suggest

SUFFIXES = (".png", ".pdf", ".svg")
"""Formats of figures."""

EMBEDDING = "figure7"
NAMES = ("figure1", "figure2", "figure3", "figure4", EMBEDDING)


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
