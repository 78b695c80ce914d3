"""`gsbench figures`."""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsbench.cli.messages import notice
from gsbench.cli.progress import progress_bar

if TYPE_CHECKING:
    from gsbench.paper.figures.sheet import Sheet
    from gsbench.paper.reproduce import How

OUT = Path("figures")
CHECKPOINTS = Path("checkpoints")


def add_commands(commands: Any) -> None:
    """Adds this module's command to argparse's subparsers."""
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
    add("--out", type=Path, default=OUT, metavar="DIR", help=f"where the files go (default: {OUT})")
    add("--json", action="store_true", help="print paths and captions as JSON")
    figures.set_defaults(run=_figures)


def _figures(args: argparse.Namespace) -> int:
    from gsbench.paper.figures.catalog import EMBEDDING, draw_object, parse_name
    from gsbench.store.folder import default_data, open_folder, resolve

    wanted = [parse_name(name) for name in args.names]
    args.out.mkdir(parents=True, exist_ok=True)
    data, fallback = (args.data, None) if args.data is not None else default_data()
    if fallback:
        notice(fallback)
    path = resolve(data, notify=notice)
    folder = open_folder(path)
    drawn = []
    for name, suffix in wanted:
        if name == EMBEDDING:
            from gsbench.paper.reproduce import How  # loads torch

            sheet = draw_embedding(path, How("short", (0,), None, args.checkpoints), args.encoder)
        else:
            sheet = draw_object(name, folder, args.object)
        drawn.append(save_figure(sheet, args.out / f"{name}{suffix}", args.json))
    if args.json:
        print(json.dumps(drawn, indent=1))
    return 0


def save_figure(sheet: "Sheet", path: Path, as_json: bool) -> dict[str, str]:
    """Saves a figure and says where, unless its record is printed later."""
    sheet.save(path)
    if not as_json:
        print(f"{path}: {sheet.caption}")
    return {"figure": path.stem, "path": str(path), "caption": sheet.caption}


def draw_embedding(data: Path, how: "How", encoder: str | None) -> "Sheet":
    """Figure 7 with a bar, of either command that draws it: see `gsbench.paper.reproduce.embedding.draw_figure7`."""
    from gsbench.learn.evaluation import Watch
    from gsbench.paper.reproduce.embedding import draw_figure7

    with progress_bar("training") as progress:
        watch = Watch(progress, partial(progress, what="reading images"), partial(progress, what="features"), notice)
        return draw_figure7(data, how, encoder, watch)
