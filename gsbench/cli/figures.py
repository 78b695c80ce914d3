"""`gsbench figures`."""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gsbench.cli.messages import notice
from gsbench.cli.progress import progress_bar

if TYPE_CHECKING:
    from gsbench.figures.sheet import Sheet
    from gsbench.reproduce.tables import Variant

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
    add("--data", metavar="mini|FOLDER|ORG/NAME", help="(default: modelnet10-gs where it can be had, else mini)")
    add("--object", metavar="ID", help="(default: of the class that the published figure shows, of median PSNR)")
    add("--encoder", metavar="DIR|NAME", help="of figure7: a checkpoint, or a recipe of pairs (default: ssl-pointnet)")
    add("--checkpoints", type=Path, default=CHECKPOINTS, metavar="DIR", help=f"of encoders (default: {CHECKPOINTS})")
    add("--out", type=Path, default=OUT, metavar="DIR", help=f"where the files go (default: {OUT})")
    add("--json", action="store_true", help="print paths and captions as JSON")
    figures.set_defaults(run=_figures)


def _figures(args: argparse.Namespace) -> int:
    from gsbench.figures.catalog import EMBEDDING, draw_object, parse_name
    from gsbench.store.folder import default_data, open_folder, resolve

    wanted = [parse_name(name) for name in args.names]
    args.out.mkdir(parents=True, exist_ok=True)
    data, fallback = (args.data, None) if args.data else default_data()
    if fallback:
        notice(fallback)
    folder = open_folder(resolve(data))
    drawn = []
    for name, suffix in wanted:
        if name == EMBEDDING:
            sheet = draw_embedding(data, args.encoder, args.checkpoints)
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


def draw_embedding(
    data: str,
    encoder: str | None,
    checkpoints: Path,
    variant: "Variant" = "short",
    seed: int = 0,
    num_points: int | None = None,
    pretext_views: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> "Sheet":
    """Figure 7 with a bar, of either command that draws it: see `gsbench.reproduce.embedding.draw_figure7`."""
    from gsbench.figures.sheet import require

    require("matplotlib", "openTSNE")
    from gsbench.evaluation import Watch
    from gsbench.reproduce.embedding import default_encoder, draw_figure7

    with progress_bar("training") as progress:
        return draw_figure7(
            data,
            encoder or default_encoder(variant),
            checkpoints=checkpoints,
            seed=seed,
            num_points=num_points,
            pretext_views=pretext_views,
            device=device,
            watch=Watch(progress, partial(progress, what="reading images"), partial(progress, what="features"), notice),
        )
