"""`gsbench build`, `verify`, `audit` and `publish`."""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsbench.cli.arguments import mesh_folder, positive_int, two_counts
from gsbench.cli.messages import failed_check, note
from gsbench.cli.progress import progress_bar, steps_bar
from gsbench.core.parsing import InputError

if TYPE_CHECKING:
    from gsbench.produce.verification import Report


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
    add_verify(commands)
    add_audit(commands)
    add_publish(commands)


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
        note(f"`{MINI}` is the embedded data set everywhere; what is written to this folder is read as ./{MINI}")
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


def add_audit(commands: Any) -> None:
    """Adds this module's command to argparse's subparsers."""
    audit = commands.add_parser(
        "audit",
        help="find duplicates, leaks between the splits, and defects in a folder of meshes",
        description="Looks for exact and near duplicates across classes and splits, for broken meshes, and for objects "
        "that the official split of ModelNet10 has and the folder lacks.",
        allow_abbrev=False,
    )
    audit.add_argument("meshes", metavar="MESHES", type=mesh_folder, help="<label>/<train|test>/<object_id>.off")
    audit.add_argument("--out", metavar="FILE", type=Path, help="write every finding there, as JSON")
    audit.add_argument("--json", action="store_true", help="print every finding as JSON")
    audit.add_argument("--note", metavar="TEXT", default="", help="a line about these meshes, kept with the findings")
    audit.add_argument("--workers", metavar="N", type=positive_int, help="processes (default: one a core)")
    audit.set_defaults(run=_audit)


def _audit(args: argparse.Namespace) -> int:
    if args.out is not None:
        _check_out(args.out)
    from gsbench.produce.audit import audit
    from gsbench.store.audit import audit_json, save_audit

    with progress_bar("meshes and pairs") as progress:
        found = audit(args.meshes, args.workers, " ".join(args.note.split()), progress)
    if args.out is not None:
        save_audit(found, args.out)
    if args.json:
        sys.stdout.write(audit_json(found))
        return 0
    from tabulate import tabulate

    rows = [(kind.replace("_", " "), count) for kind, count in found.counts().items()]
    print(tabulate([*found.objects.items(), *rows], headers=("kind", "count"), tablefmt="github"))
    return 0


def _check_out(path: Path) -> None:
    """Raises an InputError now rather than an OSError after minutes of work."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder (allowed: a file to write)")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: cannot be written, {path.parent} must be a folder that can be written to")


_NAMED = 10


def add_verify(commands: Any) -> None:
    """Adds `gsbench verify`."""
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
    from gsbench.store.load import resolve

    folder = resolve(args.folder, notify=note)
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
            f"distance of centers to the surface ({'exact' if alignment.against == 'meshes' else 'estimated'}): mean "
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


def add_publish(commands: Any) -> None:
    """Adds `gsbench publish`."""
    publish = commands.add_parser(
        "publish",
        help="put a data folder onto the Hugging Face Hub",
        description="Verifies a data folder and puts it onto the Hugging Face Hub: shards, then manifest and card, and "
        "once all checksums agree the tag of its version. Begin again to go on. The token is that of `hf auth login`, "
        "or HF_TOKEN.",
        allow_abbrev=False,
    )
    add = publish.add_argument
    add("folder", metavar="DIR", type=Path, help="what `gsbench build` wrote")
    add("--repo", metavar="ORG/NAME", required=True, help="the repository; made where there is none")
    add("--private", action="store_true", help="a repository that is made is private")
    add("--dry-run", action="store_true", help="say what would change, and write nothing")
    add(
        "--may-publish",
        metavar="TERMS",
        action="append",
        default=[],
        help="publish in spite of terms that the refusal names, such as modelnet10: you have the owners' leave",
    )
    publish.set_defaults(run=_publish)


def _publish(args: argparse.Namespace) -> int:
    from gsbench.produce.publish import publish

    with progress_bar("bytes") as progress:
        done = publish(args.folder, args.repo, args.private, args.dry_run, args.may_publish, progress)
    sizes: dict[str, list[int]] = {}
    for change in done.changes:
        sizes.setdefault(change.what, []).append(change.bytes)
        if change.what != "same":
            print(f"{change.what}: {change.path}")
    counts = ", ".join(f"{len(of)} {what} ({sum(of) / 1e6:.1f} MB)" for what, of in sorted(sizes.items()))
    if done.commit is None:
        print(f"{done.repo}: would have {counts}, and the tag {done.tag}; nothing was written")
        return 0
    print(f"{done.repo}: {counts}; tag {done.tag} at {done.commit[:12]}")
    print(f'gsbench.load_dataset("{done.repo}@{done.tag}")')
    return 0
