"""`gsbench convert` and `gsbench lint`."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsbench.cli.messages import note
from gsbench.cli.progress import progress_bar
from gsbench.core.parsing import InputError

if TYPE_CHECKING:
    from gsbench.core.types import Gaussians


def add_commands(commands: Any) -> None:
    """Adds this module's commands to argparse's subparsers."""
    convert = commands.add_parser(
        "convert",
        help="turn Gaussians into a .ply, .splat, .spz or .glb file",
        description="Writes the Gaussians of a file or of an object of a data folder in the format that OUT's suffix "
        "names, and says on stderr what that format loses: by its render, too.",
        allow_abbrev=False,
    )
    convert.add_argument(
        "source",
        metavar="IN",
        help="a .ply, .splat, .spz or .glb file, or DATA:OBJECT_ID, where DATA is mini, modelnet10-gs, a data folder "
        "or ORG/NAME[@REV] on the Hub",
    )
    convert.add_argument("out", metavar="OUT", type=Path, help="the file to write: .ply, .splat, .spz or .glb")
    convert.add_argument(
        "--opacity",
        choices=("logit", "linear"),
        default="logit",
        help="how a PLY file stores opacities: linear mends those of pixelSplat, MVSplat and NoPoSplat "
        "(default: logit)",
    )
    convert.add_argument(
        "--scales",
        choices=("log", "linear"),
        help="how a PLY or .glb file stores scales: linear mends a PLY without logarithms, log a .glb of the "
        "extension's draft (default: as the format has it)",
    )
    convert.add_argument(
        "--axes",
        choices=("z-up", "y-down"),
        help="the frame of a .ply or .splat file, which do not name it, where the other file is .spz or .glb, which "
        "are y up: z-up as the data sets are, y-down as captures are (default: z-up)",
    )
    convert.set_defaults(run=_convert)
    lint = commands.add_parser(
        "lint",
        help="say what is wrong with files of Gaussians, and repair it",
        description="Says what is wrong with a .ply, .splat, .spz or .glb file, or with all of a folder, and how that "
        "looks. Exit status 1 where an error or a warning is left.",
        allow_abbrev=False,
    )
    lint.add_argument(
        "source", metavar="FILE|FOLDER", type=Path, help="a file, or a folder with such files at any depth"
    )
    lint.add_argument(
        "--repair",
        metavar="OUT",
        type=Path,
        help="write what can be repaired, in the same format: a file, or a folder with the same names; files that need "
        "no repair are not written",
    )
    lint.set_defaults(run=_lint)


def _convert(args: argparse.Namespace) -> int:
    from gsbench.core.geometry import sh_degree_of
    from gsbench.formats import LOSSY, save_splats, suffix_of

    suffix = suffix_of(args.out)
    if args.out.is_dir():
        raise InputError(f"{args.out}: is a folder (allowed: a file)")
    if args.out.exists() and Path(args.source).exists() and args.out.samefile(args.source):
        raise InputError(f"{args.out}: IN and OUT are the same file (allowed: different ones)")
    gaussians = _load(args, suffix)
    axes = args.axes or "z-up"
    save_splats(gaussians, args.out, axes, note)
    degree = sh_degree_of(gaussians.sh.shape[1])
    if suffix in LOSSY:
        note(f"{args.out}: {suffix} is lossy: {_describe_loss(gaussians, args.out, axes)}")
    print(f"{args.out}: {len(gaussians)} Gaussians of SH degree {degree}, {args.out.stat().st_size} bytes")
    return 0


def _load(args: argparse.Namespace, out_suffix: str) -> "Gaussians":
    from gsbench.formats import NAMED_AXES, load_splats, suffix_of

    name, object_id = _split(args.source)
    if not name or Path(args.source).exists():
        if Path(args.source).is_dir():
            raise InputError(f"{args.source}: is a folder (allowed: a file, or DATA:OBJECT_ID such as mini:chair_0001)")
        gaussians = load_splats(args.source, args.opacity, args.axes or "z-up", note, args.scales)
        in_suffix = suffix_of(args.source)
        if (in_suffix in NAMED_AXES) != (out_suffix in NAMED_AXES):
            named = args.source if in_suffix in NAMED_AXES else args.out
            note(f"{named}: y is up there; the other file's axes taken as {args.axes or 'z-up'} (--axes)")
        return gaussians

    from gsbench.store.folder import load_object, open_folder
    from gsbench.store.load import resolve

    if args.axes is not None or args.opacity != "logit" or args.scales is not None:
        raise InputError(f"{args.source}: --axes, --opacity and --scales are for files, a data folder leaves no doubt")
    return load_object(open_folder(resolve(name, configs=["gaussians"], notify=note)), object_id)


def _split(source: str) -> tuple[str, str]:
    """DATA and OBJECT_ID of `DATA:OBJECT_ID`; of several colons the last one behind a folder, else the first.

    DATA is empty where there is no colon.
    """
    colons = [at for at, character in enumerate(source) if character == ":"]
    folders = [at for at in colons if Path(source[:at]).is_dir()]
    at = max(folders, default=min(colons, default=0))
    return source[:at], source[at + 1 :]


def _describe_loss(gaussians: "Gaussians", path: Path, axes: str) -> str:
    """How far renders of the file are from those of what it was made of."""
    from gsbench.formats import load_splats
    from gsbench.render.splats import PSNR_SIZE, PSNR_VIEWS, render_psnr

    after = load_splats(path, axes=axes, notify=lambda note: None)
    with progress_bar("measuring the loss") as progress:
        psnr = render_psnr(gaussians, after, progress)
    views = f"{PSNR_VIEWS} views of {PSNR_SIZE}x{PSNR_SIZE}"
    if math.isinf(psnr):
        return f"renders of it are the original's to the last pixel, in {views}"
    return f"renders of it have {psnr:.1f} dB PSNR against the original's, over {views}"


def _lint(args: argparse.Namespace) -> int:
    from gsbench.formats import SUFFIXES, save_splats, suffix_of
    from gsbench.formats.lint import lint

    source, out = args.source, args.repair
    is_folder = source.is_dir()
    files = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES) if is_folder else [source]
    if not files:
        raise InputError(f"{source}: no files of Gaussians in this folder (allowed: {', '.join(SUFFIXES)})")
    if out is not None:
        if out.exists() and out.resolve() == source.resolve():
            raise InputError(f"{out}: OUT is what is checked (allowed: another path)")
        if out.exists() and out.is_dir() != is_folder:
            raise InputError(f"{out}: is {'a file' if is_folder else 'a folder'} (allowed: what {source} is)")
        if not is_folder and suffix_of(out) != suffix_of(source):
            raise InputError(f"{out}: a repair keeps the format (allowed: a {suffix_of(source)} file)")
    left = 0
    with progress_bar("checking") as progress:
        for done, path in enumerate(files):
            progress(done, len(files))
            checked = lint(path)
            changed = out is not None and checked.gaussians is not None and any(f.change for f in checked.findings)
            for finding in checked.findings:
                repaired = f" [repaired: {finding.change}]" if changed and finding.change else ""
                # What comes from a file, such as a property's name, must not drive the terminal.
                text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in finding.text)
                print(f"{path}: {finding.level}: {text}{repaired}")
                left += finding.level != "note" and not repaired
            if changed and checked.gaussians is not None:
                target = out / path.relative_to(source) if is_folder else out
                save_splats(checked.gaussians, target, notify=note)
                print(f"{target}: {len(checked.gaussians)} Gaussians written")
            elif not checked.findings:
                print(f"{path}: {len(checked.gaussians or ())} Gaussians, nothing found")
    return 1 if left else 0
