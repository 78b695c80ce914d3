"""A page to draw on: panels laid out in inches, the caption in files beside it, saved alike on every machine."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from gsbench.board.cells import as_latex
from gsbench.core.files import atomic_path, write_atomic
from gsbench.core.parsing import InputError
from gsbench.core.types import Array
from gsbench.paper.figures import SUFFIXES

TIMES = "\N{MULTIPLICATION SIGN}"
INSTALL = "pip install 'gsbench-3d[figures]'"

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.linewidth": 0.6,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,
    "svg.hashsalt": "gsbench",  # equal figures are equal bytes
}
_UNDATED: dict[str, dict[str, Any]] = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
_DPI = 300


def require(*packages: str) -> None:
    """Raises an InputError with the line that installs what a figure needs, where a package is not there."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise InputError(f"figures need {package} ({error}); install it: {INSTALL}") from None


class Sheet:
    """A figure of one width, measured in inches from its top left corner.

    Attributes:
        figure: matplotlib's.
        caption: what the panels show, for the files beside the figure.
    """

    def __init__(self, width: float, height: float, caption: str):
        """Begins a sheet of this size in inches."""
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        self.caption = caption
        self._style = rc_context
        self._width, self._height = width, height
        with rc_context(_STYLE):
            self.figure = Figure(figsize=(self._width, self._height), dpi=_DPI)

    def axes(self, left: float, top: float, width: float, height: float, title: str = "") -> Any:
        """An empty panel."""
        box = (left / self._width, 1 - (top + height) / self._height, width / self._width, height / self._height)
        with self._style(_STYLE):
            axes = self.figure.add_axes(box)
            if title:
                axes.set_title(title, pad=4)
        return axes

    def image(
        self,
        box: tuple[float, float, float],
        pixels: UInt8[Array, "h w 3"] | Float[Array, "h w 3"],
        title: str = "",
        note: str = "",
        smooth: bool = False,
    ) -> Any:
        """A square panel of an image.

        Args:
            box: left, top and width in inches.
            pixels: sRGB, of 8 bits or in 0..1.
            title: above it.
            note: below it.
            smooth: whether pixels are blended when they are enlarged, else they are shown as the squares they are.
        """
        left, top, width = box
        axes = self.axes(left, top, width, width, title)
        axes.imshow(pixels, interpolation="antialiased" if smooth else "nearest", resample=True)
        axes.set_axis_off()
        if note:
            self.text(left + width / 2, top + width + 0.13, note, ha="center", va="baseline", size=7)
        return axes

    def text(self, left: float, top: float, words: str, **settings: Any) -> None:
        """Words at a place of the page."""
        with self._style(_STYLE):
            self.figure.text(left / self._width, 1 - top / self._height, words, parse_math=False, **settings)

    def legend(self, top: float, styles: Sequence[dict[str, Any]], names: Sequence[str], columns: int) -> None:
        """Names of markers in rows, centered below a height of the page."""
        from matplotlib.lines import Line2D

        handles = [Line2D([], [], **{**style, "markersize": 5}) for style in styles]
        with self._style(_STYLE):
            self.figure.legend(
                handles,
                names,
                ncols=min(columns, len(names)),
                loc="upper center",
                bbox_to_anchor=(0.5, 1 - top / self._height),
                frameon=False,
                borderaxespad=0,
                handletextpad=0.3,
                columnspacing=1.6,
                labelspacing=0.35,
            )

    def color_bar(self, box: tuple[float, float, float, float], mappable: Any, label: str) -> Any:
        """A vertical bar of a mappable's colors, in a box of left, top, width and height."""
        with self._style(_STYLE):
            bar = self.figure.colorbar(mappable, cax=self.axes(*box))
            bar.set_label(label)
            bar.outline.set_linewidth(0.6)
        return bar

    def save(self, path: Path, width: float | None = None) -> None:
        """Writes the sheet in the format that the path's suffix names, and its caption beside it, as text and as LaTeX.

        Args:
            path: of the figure; the caption's files have its name and end in `.txt` and `.tex`.
            width: in inches; None is the width that it was laid out for. Letters keep their size.

        Raises:
            OSError: the folder cannot be written or the disk is full; the file in question is then as it was.
        """
        suffix = path.suffix
        assert suffix in SUFFIXES, f"{suffix} is checked before a sheet is drawn"
        chosen = width or self._width
        self.figure.set_size_inches(chosen, self._height * chosen / self._width)
        with atomic_path(path) as temporary, self._style(_STYLE):
            self.figure.savefig(temporary, format=suffix[1:], metadata=_UNDATED[suffix])
        write_atomic(path.with_suffix(".txt"), f"{self.caption}\n".encode())
        write_atomic(path.with_suffix(".tex"), _as_latex(path, self.caption, chosen).encode())


def _as_latex(path: Path, caption: str, width: float) -> str:
    """A figure environment with the caption; the figure is looked for beside the document."""
    words = as_latex(caption).replace(TIMES, r"$\times$")
    return (
        "\\begin{figure}\n  \\centering\n"
        f"  \\includegraphics[width={width:g}in]{{{path.name}}}\n  \\caption{{{words}}}\n"
        f"  \\label{{fig:{path.stem}}}\n\\end{{figure}}\n"
    )


def to_pixels(rgb: Float[Array, "h w 3"]) -> UInt8[Array, "h w 3"]:
    """A rendered image in 8 bits."""
    return np.asarray((rgb.clip(0, 1) * 255).round().astype(np.uint8))
