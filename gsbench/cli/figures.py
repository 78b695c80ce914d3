"""`gsbench figures`."""

import argparse
import json
from pathlib import Path
from typing import Any

from gsbench.cli.messages import notice

OUT = Path("figures")


def add_commands(commands: Any) -> None:
    """Adds this module's command to argparse's subparsers."""
    figures = commands.add_parser(
        "figures",
        help="draw an object, its Gaussians, their samples, the cameras",
        description="Draws figures of a data set, each with its caption. figure1: views beside the Gaussians from the "
        "same cameras. figure2: furthest-point beside uniform samples. figure3: the cameras around an object. figure4: "
        "where Gaussians crowd.",
        allow_abbrev=False,
    )
    add = figures.add_argument
    add("names", nargs="+", metavar="NAME", help="figure1 to figure4; figure1.pdf and figure1.svg choose a format")
    add("--data", metavar="mini|FOLDER|ORG/NAME", help="(default: modelnet10-gs where it can be had, else mini)")
    add("--object", metavar="ID", help="(default: of the class that the published figure shows, of median PSNR)")
    add("--out", type=Path, default=OUT, metavar="DIR", help=f"where the files go (default: {OUT})")
    add("--json", action="store_true", help="print paths and captions as JSON")
    figures.set_defaults(run=_figures)


def _figures(args: argparse.Namespace) -> int:
    from gsbench.figures.catalog import draw_object, parse_name
    from gsbench.store.folder import default_data, open_folder, resolve

    wanted = [parse_name(name) for name in args.names]
    args.out.mkdir(parents=True, exist_ok=True)
    data, fallback = (args.data, None) if args.data else default_data()
    if fallback:
        notice(fallback)
    folder = open_folder(resolve(data))
    drawn = []
    for name, suffix in wanted:
        sheet = draw_object(name, folder, args.object)
        path = args.out / f"{name}{suffix}"
        sheet.save(path)
        drawn.append({"figure": name, "path": str(path), "caption": sheet.caption})
        if not args.json:
            print(f"{path}: {sheet.caption}")
    if args.json:
        print(json.dumps(drawn, indent=1))
    return 0
