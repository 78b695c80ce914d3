"""`gsbench doctor`."""

import argparse
import dataclasses
import json
from typing import Any

from gsbench.core.parsing import InputError


def add_commands(commands: Any) -> None:
    """Adds this module's command to argparse's subparsers."""
    doctor = commands.add_parser(
        "doctor",
        help="what this machine has, and the line that mends what is missing",
        description="Says what this machine has, and for each thing that is missing the exact line that mends it. "
        "Exit 1 if something that scoring needs is missing.",
        allow_abbrev=False,
    )
    output = doctor.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print the checks as JSON")
    output.add_argument("--fix-line", metavar="CHECK", help="print only the line that mends this, if it needs mending")
    doctor.set_defaults(run=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    from gsbench.core.doctor import CHECKS, examine
    from gsbench.core.parsing import suggest

    if args.fix_line is not None:
        if args.fix_line not in CHECKS:
            close = suggest(args.fix_line, CHECKS)
            raise InputError(f"--fix-line: no check '{args.fix_line}'{close} (allowed: {', '.join(CHECKS)})")
        check = CHECKS[args.fix_line]()
        if not check.ok and check.fix:
            print(check.fix)
        return 0
    checks = examine()
    if args.json:
        print(json.dumps([dataclasses.asdict(check) for check in checks], indent=1))
    else:
        for check in checks:
            mark = "ok" if check.ok else ("MISSING" if check.required else "no")
            print(f"{check.name:<12} {mark:<8} {check.found}")
            if not check.ok and check.fix:
                print(f"{'':<21} mend it: {check.fix}")
    return int(any(check.required and not check.ok for check in checks))
