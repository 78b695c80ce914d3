"""`gsbench reproduce`."""

import argparse
import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsbench.cli.arguments import cell_list, positive_int, seed_list
from gsbench.cli.figures import CHECKPOINTS, draw_embedding, save_figure
from gsbench.cli.messages import notice
from gsbench.cli.progress import progress_bar
from gsbench.core.parsing import InputError

if TYPE_CHECKING:
    from gsbench.cli.progress import Update
    from gsbench.learn.evaluation import Watch
    from gsbench.paper.reproduce import Cell, How

OUT = Path("results")


def add_commands(commands: Any) -> None:
    """Adds this module's command to argparse's subparsers."""
    parser = commands.add_parser(
        "reproduce",
        help="score a published table on a data set, and say where and why the two differ",
        description="Scores the cells of a published table, table1 to table5, on a data set and prints them beside the "
        "published figures; or draws figure7, as `gsbench figures` does. Result files in --out are taken as they are, "
        "so a run that was killed goes on.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("table", metavar="TABLE", help="table1 to table5, or figure7")
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
    from gsbench.store.folder import default_data, resolve

    table = None if args.table == FIGURE else load_table(args.table)
    _check_words(args, FIGURE)
    data, fallback = (args.data, None) if args.data is not None else default_data()
    if fallback:
        notice(fallback)
    data = resolve(data, notify=notice)
    from gsbench.paper.reproduce import How, as_markdown, as_record, reproduce

    how = How(
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
        return _figure(args, data, how)
    with progress_bar(args.table) as update:
        once = cache(notice)  # cells of one encoder say the same of it
        lines = reproduce(args.table, data, how, args.cells, args.extras, partial(_watch, update, once))
    if args.json:
        print(json.dumps(as_record(table, lines, args.variant), indent=1))
    else:
        print(as_markdown(table, lines, args.variant))
    return 0


def _check_words(args: argparse.Namespace, figure: str) -> None:
    """An InputError for what means nothing for a table, or for the figure."""
    drawn = args.table == figure
    for name in ("cells", "extras", "found_only") if drawn else ("encoder",):
        if getattr(args, name):
            of = "a table" if drawn else figure
            raise InputError(f"--{name.replace('_', '-')} is of {of}, not of {args.table} (allowed: leave it out)")


def _figure(args: argparse.Namespace, data: Path, how: "How") -> int:
    args.out.mkdir(parents=True, exist_ok=True)
    sheet = draw_embedding(data, how, args.encoder)
    record = save_figure(sheet, args.out / f"{args.table}.png", args.json)
    if args.json:
        print(json.dumps(record, indent=1))
    return 0


def _watch(update: "Update", tell: Callable[[str], None], done: int, total: int, cell: "Cell") -> "Watch":
    """Who is told of a cell's run: the bar, with the cell before whatever is done for it."""
    from gsbench.learn.evaluation import Watch

    about = f"cell {done + 1} of {total} ({', '.join(cell.row)})"

    def training(steps: int, of: int, loss: float) -> None:
        update(steps, of, what=f"{about}: training, loss {loss:.3f}")

    return Watch(
        training, partial(update, what=f"{about}: reading images"), partial(update, what=f"{about}: features"), tell
    )
