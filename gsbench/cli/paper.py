"""`gsbench reproduce` and `gsbench figures`."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsbench.cli.arguments import WIDTHS, cell_list, figure_width, positive_int, seed_list
from gsbench.cli.messages import note, progress_line
from gsbench.cli.progress import Epochs, progress_bar
from gsbench.core.parsing import InputError

if TYPE_CHECKING:
    from gsbench.cli.progress import Update
    from gsbench.learn.evaluation import Callbacks
    from gsbench.paper.reproduce.run import Settings
    from gsbench.paper.reproduce.tables import Cell
if TYPE_CHECKING:
    from gsbench.paper.figures.sheet import Sheet
    from gsbench.paper.reproduce.run import Settings


FIGURES = Path("figures")
CHECKPOINTS = Path("checkpoints")


def add_figures(commands: Any) -> None:
    """Adds `gsbench figures`."""
    figures = commands.add_parser(
        "figures",
        help="draw objects, Gaussians, samples and cameras, and what an encoder makes of objects",
        description="Draws figures of a data set, each with its caption. figure1: views beside the Gaussians from the "
        "same cameras. figure2: furthest-point beside uniform samples. figure3: the cameras around an object. figure4: "
        "where Gaussians crowd. figure7: t-SNE of what an encoder makes of test objects.",
        allow_abbrev=False,
    )
    add = figures.add_argument
    add("names", nargs="+", metavar="NAME", help="figure1 to 4, figure7; figure1.pdf and figure1.svg choose a format")
    add("--data", metavar="mini|FOLDER|ORG/NAME[@REV]", help="(default: modelnet10-gs where it can be had, else mini)")
    add("--object", metavar="ID", help="(default: of the class that the published figure shows, of median PSNR)")
    add("--encoder", metavar="DIR|NAME", help="of figure7: a checkpoint, or a recipe of pairs (default: ssl-pointnet)")
    add("--checkpoints", type=Path, default=CHECKPOINTS, metavar="DIR", help=f"of encoders (default: {CHECKPOINTS})")
    add(
        "--width",
        type=figure_width,
        metavar="INCHES|column|text",
        help=f"of each figure; a column has {WIDTHS['column']}, a page's text {WIDTHS['text']} (default: its own)",
    )
    add("--out", type=Path, default=FIGURES, metavar="DIR", help=f"where the files go (default: {FIGURES})")
    add("--json", action="store_true", help="print paths and captions as JSON")
    figures.set_defaults(run=_figures)


def _figures(args: argparse.Namespace) -> int:
    from gsbench.paper.figures import EMBEDDING, parse_name

    wanted = [parse_name(name) for name in args.names]
    from gsbench.paper.figures.detail import draw_object
    from gsbench.store.folder import open_folder
    from gsbench.store.load import default_data, resolve

    args.out.mkdir(parents=True, exist_ok=True)
    data, fallback = (args.data, None) if args.data is not None else default_data()
    if fallback:
        note(fallback)
    path = resolve(data, notify=note)
    folder = open_folder(path)
    drawn = []
    for name, suffix in wanted:
        if name == EMBEDDING:
            from gsbench.paper.reproduce.run import Settings  # loads torch

            sheet = draw_embedding(path, Settings("short", (0,), None, args.checkpoints), args.encoder)
        else:
            sheet = draw_object(name, folder, args.object)
        drawn.append(save_figure(sheet, args.out / f"{name}{suffix}", args.json, args.width))
    if args.json:
        print(json.dumps(drawn, indent=1))
    return 0


def save_figure(sheet: "Sheet", path: Path, as_json: bool, width: float | None = None) -> dict[str, str]:
    """Saves a figure and says where, unless its record is printed later."""
    sheet.save(path, width)
    if not as_json:
        print(f"{path}: {sheet.caption}")
    return {"figure": path.stem, "path": str(path), "caption": sheet.caption}


def draw_embedding(data: Path, settings: "Settings", encoder: str | None) -> "Sheet":
    """Figure 7 with a bar, of either command that draws it: see `gsbench.paper.reproduce.embedding.draw_figure7`."""
    from gsbench.learn.evaluation import Callbacks
    from gsbench.paper.reproduce.embedding import draw_figure7

    with progress_bar("training") as progress:
        callbacks = Callbacks(
            progress, partial(progress, what="reading images"), partial(progress, what="features"), note
        )
        return draw_figure7(data, settings, encoder, callbacks)


OUT = Path("results")
SAMPLING = "sampling"


def add_commands(commands: Any) -> None:
    """Adds this module's commands to argparse's subparsers."""
    add_reproduce(commands)
    add_figures(commands)


def add_reproduce(commands: Any) -> None:
    """Adds `gsbench reproduce`."""
    parser = commands.add_parser(
        "reproduce",
        help="score a published table on a data set, and say where and why the two differ",
        description="Scores the cells of a published table, table1 to table5, on a data set and prints them beside the "
        "published figures; or draws figure7, as `gsbench figures` does; or measures how well furthest-point and "
        "uniform samples cover the Gaussians and the surfaces (sampling). Result files in --out are taken as they "
        "are, so a run that was killed goes on.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("table", metavar="TABLE", help="table1 to table5, figure7, or sampling")
    add("--data", metavar="mini|FOLDER|ORG/NAME[@REV]", help="(default: modelnet10-gs where it can be had, else mini)")
    add("--variant", choices=("smoke", "short", "full"), default="short", help="how much training (default: short)")
    add("--cells", type=cell_list, metavar="1,4-6", help="numbers of the cells wanted (default: all published)")
    add("--extras", action="store_true", help="also the cells that have no published figure, such as novel cameras")
    add("--seeds", type=seed_list, default=(0,), metavar="0,1,2", help="(default: 0)")
    add(
        "--num-points",
        type=positive_int,
        metavar="N",
        help="points or Gaussians an object (default: 2048 for full, else 1024)",
    )
    add(
        "--pretext-views",
        type=positive_int,
        metavar="N",
        help="images an object that encoders learn from (default: all)",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default: auto)")
    add("--out", type=Path, default=OUT, metavar="DIR", help=f"of Result files, or of figure7 (default: {OUT})")
    add("--checkpoints", type=Path, default=CHECKPOINTS, metavar="DIR", help=f"of encoders (default: {CHECKPOINTS})")
    add("--encoder", metavar="DIR|NAME", help="of figure7: a checkpoint, or a recipe of pairs (default: F_p's)")
    add("--found-only", action="store_true", help="train nothing: cells without Result files in --out stay empty")
    add("--json", action="store_true", help="print the cells as JSON")
    parser.set_defaults(run=_reproduce)


def _reproduce(args: argparse.Namespace) -> int:
    from gsbench.paper.reproduce.tables import FIGURE, load_table
    from gsbench.store.load import default_data, resolve

    table = None if args.table in (FIGURE, SAMPLING) else load_table(args.table)
    _check_words(args, FIGURE)
    data, fallback = (args.data, None) if args.data is not None else default_data()
    if fallback:
        note(fallback)
    data = resolve(data, notify=note)
    if args.table == SAMPLING:
        return _sampling(data, args.json)
    from gsbench.core.environment import keep_freed_memory
    from gsbench.paper.reproduce.run import Settings, reproduce
    from gsbench.paper.reproduce.text import as_markdown, as_record

    keep_freed_memory()
    settings = Settings(
        args.variant,
        args.seeds,
        args.out,
        args.checkpoints,
        args.device,
        args.num_points,
        args.pretext_views,
        args.found_only,
    )
    if table is None:
        return _figure(args, data, settings)
    with progress_bar(args.table) as update:
        once = cache(note)  # cells of one encoder say the same of it
        lines = reproduce(args.table, data, settings, args.cells, args.extras, partial(_watch, update, once))
    if args.json:
        print(json.dumps(as_record(table, lines, args.variant), indent=1))
    else:
        print(as_markdown(table, lines, args.variant))
    return 0


def _check_words(args: argparse.Namespace, figure: str) -> None:
    """An InputError for what means nothing for a table, or for the figure."""
    no_table = args.table in (figure, SAMPLING)
    own = () if args.table == figure else ("encoder",)
    for name in (*own, "cells", "extras", "found_only") if no_table else own:
        if getattr(args, name):
            of = figure if name == "encoder" else "a table"
            raise InputError(f"--{name.replace('_', '-')} is of {of}, not of {args.table} (allowed: leave it out)")


def _sampling(data: Path, as_json: bool) -> int:
    from gsbench.paper.reproduce.sampling import as_table, measure_sampling
    from gsbench.store.folder import open_folder

    folder = open_folder(data)
    with progress_bar("objects") as progress:
        found = measure_sampling(folder, progress=progress)
    print(json.dumps([asdict(each) for each in found], indent=1) if as_json else as_table(folder, found))
    return 0


def _figure(args: argparse.Namespace, data: Path, settings: "Settings") -> int:
    args.out.mkdir(parents=True, exist_ok=True)
    sheet = draw_embedding(data, settings, args.encoder)
    record = save_figure(sheet, args.out / f"{args.table}.png", args.json)
    if args.json:
        print(json.dumps(record, indent=1))
    return 0


def _watch(update: "Update", tell: Callable[[str], None], done: int, total: int, cell: "Cell") -> "Callbacks":
    """Who is told of a cell's run: the bar, with the cell before whatever is done for it."""
    from gsbench.learn.evaluation import Callbacks

    about = f"cell {done + 1} of {total} ({', '.join(cell.row)})"

    epochs = Epochs(lambda line: progress_line(f"{about}: {line}"))

    def training(steps: int, of: int, loss: float) -> None:
        epochs.step(steps, of)
        update(steps, of, what=f"{about}: training, loss {loss:.3f}")

    return Callbacks(
        training,
        partial(update, what=f"{about}: reading images"),
        partial(update, what=f"{about}: features"),
        tell,
        epochs.epoch,
    )
