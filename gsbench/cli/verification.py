"""`gsbench verify`."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsbench.cli.messages import failed_check, notice
from gsbench.cli.progress import progress_bar

if TYPE_CHECKING:
    from gsbench.produce.verification import Report

_NAMED = 10


def add_commands(commands: Any) -> None:
    """Adds this module's commands to argparse's subparsers."""
    verify = commands.add_parser(
        "verify",
        help="check every hash and every value of a data folder",
        description="Recomputes every hash of a data folder, checks every value, and holds the Gaussians against the "
        "objects' surfaces and images. Exit 1 if anything is wrong.",
        allow_abbrev=False,
    )
    add = verify.add_argument
    add("folder", metavar="DIR|NAME", help="what `gsbench build` wrote, mini, modelnet10-gs, or ORG/NAME[@REV]")
    add("--meshes", metavar="DIR", type=Path, help="measure against these meshes, not against the stored points")
    add("--all-images", action="store_true", help="decode every image, not just those of a sample of objects")
    add("--json", action="store_true", help="print the report as JSON")
    verify.set_defaults(run=_verify)


def _verify(args: argparse.Namespace) -> int:
    from gsbench.produce.verification import verify
    from gsbench.store.folder import resolve

    folder = resolve(args.folder, notify=notice)
    with progress_bar("bytes") as progress:
        report = verify(folder, args.meshes, args.all_images, progress)
    if args.json:
        print(json.dumps({**dataclasses.asdict(report), "ok": report.ok}, indent=1))
        return 0 if report.ok else 1
    for problem in report.problems:
        failed_check(f"{args.folder}: {problem}")
    if report.ok:
        print(
            f"{args.folder}: ok: {report.name} {report.version}, fingerprint {report.fingerprint[:8]}, "
            f"{report.shards} shards, {report.rows} rows"
        )
        _print_findings(report)
    return 0 if report.ok else 1


def _print_findings(report: "Report") -> None:
    images, alignment = report.images, report.alignment
    if images.rows:
        print(
            f"images: {images.rows}, of which {images.decoded} were decoded; {images.rendered} were rendered again "
            f"from the Gaussians, {images.scored} scored again"
        )
    if alignment:
        cosine = f"; thin axes and normals: |cosine| {alignment.axes['w x y z']:.2f}" if alignment.axes else ""
        worst = ", ".join(f"{name} {share:.2%}" for name, share in alignment.worst.items())
        print(
            f"distance of centres to the surface ({'exact' if alignment.against == 'meshes' else 'estimated'}): mean "
            f"{alignment.mean:.2%} of the extent{cosine}; worst: {worst}"
        )
    if report.quality:
        _print_quality(report)
    if report.missing:
        more = f" and {len(report.missing) - _NAMED} more" if len(report.missing) > _NAMED else ""
        named = ", ".join(report.missing[:_NAMED])
        print(f"objects of the official split that are not here: {len(report.missing)}: {named}{more}")
    for object_id, reason in report.set_aside.items():
        print(f"set aside: {object_id}: {reason}")


def _print_quality(report: "Report") -> None:
    from tabulate import tabulate

    rows = [
        {"PSNR (dB)": name, **{key: f"{value:.2f}" for key, value in values.items()}}
        for name, values in report.quality.items()
    ]
    print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))
    print("lowest PSNR: " + ", ".join(f"{name} {psnr:.2f}" for name, psnr in report.worst.items()))
