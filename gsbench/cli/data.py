"""`gsbench build`."""

import argparse
from pathlib import Path
from typing import Any

from gsbench.cli.arguments import mesh_folder, positive_int, two_counts
from gsbench.cli.messages import notice
from gsbench.cli.progress import steps_bar


def add_commands(commands: Any) -> None:
    """Adds this module's commands to argparse's subparsers."""
    build = commands.add_parser(
        "build",
        help="make a data folder from meshes",
        description="Renders meshes, fits Gaussians to the views, and writes both as a data folder.",
        allow_abbrev=False,
    )
    _add_build_options(build)
    build.set_defaults(run=_build)


def _add_build_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--meshes", metavar="DIR", type=mesh_folder, required=True, help="<label>/<train|test>/<object_id>.off")
    add("--out", metavar="DIR", type=Path, required=True, help="new or empty folder to write")
    add(
        "--name",
        help="what the data set is called (default: modelnet10-gs for ModelNet10's meshes, mini for ours, else the "
        "folder's name); a part has -part- and its hash behind it",
    )
    add(
        "--audit",
        metavar="FILE",
        type=Path,
        help="what `gsbench audit` found in these meshes, to be kept with the data (default: ModelNet10's for its own)",
    )
    add(
        "--preset",
        metavar="NAME|PRESET.toml",
        default="lite",
        help='a preset of build.toml, or a file that says `extends = "NAME"` and what it changes (default: lite)',
    )
    add("--renderer", metavar="NAME", help="software or pyrender (default: the preset's)")
    add(
        "--limit-per-class",
        metavar="TRAIN,TEST",
        type=two_counts,
        help="take no more than the first so many objects of each class; the data set says so",
    )
    add(
        "--max-set-aside",
        metavar="PERCENT",
        type=float,
        default=1.0,
        help="fail where more objects cannot be made; what is finished is kept (default: 1)",
    )
    add("--workers", metavar="N", type=positive_int, help="processes (default: one a core)")
    add("--device", choices=("cpu", "cuda", "auto"), default="cpu", help="what Gaussians are fitted on (default: cpu)")
    add("--engine", choices=("local", "ray"), default="local", help="this machine, or a cluster (default: local)")
    add(
        "--ray-address",
        metavar="ADDRESS",
        help="HOST:PORT, ray://HOST:PORT or auto: a cluster that runs and sees both folders (default: start one here)",
    )
    add("--gpu-share", metavar="F", type=float, default=0.25, help="of a GPU, for an object with Ray (default: .25)")


def _build(args: argparse.Namespace) -> int:
    from gsbench.produce.build import build
    from gsbench.store.folder import MINI

    if str(args.out) == MINI:
        notice(f"`{MINI}` is the embedded data set everywhere; what is written to this folder is read as ./{MINI}")
    with steps_bar() as progress:
        manifest = build(
            args.meshes,
            args.out,
            args.preset,
            args.workers,
            progress,
            args.device,
            renderer=args.renderer,
            limit_per_class=args.limit_per_class,
            name=args.name,
            audit=args.audit,
            max_set_aside=args.max_set_aside,
            engine=args.engine,
            ray_address=args.ray_address,
            gpu_share=args.gpu_share,
        )
    quality = manifest.quality
    print(
        f"{args.out}: {manifest.name} {manifest.version}, fingerprint {manifest.fingerprint()[:8]}, mean PSNR "
        f"{quality['psnr']:.2f} dB (lowest {quality['psnr_min']:.2f}), SSIM {quality['ssim']:.4f}"
    )
    for object_id, reason in manifest.set_aside.items():
        print(f"set aside: {object_id}: {reason}")
    return 0
