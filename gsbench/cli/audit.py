"""`gsbench audit`."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from gsbench.cli.arguments import mesh_folder, positive_int
from gsbench.cli.progress import progress_bar
from gsbench.core.parsing import InputError


def add_commands(commands: Any) -> None:
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
