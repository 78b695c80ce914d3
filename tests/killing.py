"""A build that is killed again and again: `python -m tests.killing FOLDER [--kills N]` prints what came of it.

The moments are random by a fixed seed, and tied to what the build has finished, so that a slow machine is killed in
the middle of its work, too: in some of them nothing is finished since the last time, in some the shards are.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gsbench.build.work import work_path

PRESET = Path(__file__).parent / "tiny_preset.toml"
_SLOWEST = 300.0

Finished = dict[str, tuple[int, int]]
"""Finished objects and shards by name: the number of the file that says so, and when it was written."""


@dataclass
class Report:
    """What came of the kills.

    Attributes:
        kills: builds killed.
        whole: of these, those of which all processes were killed at once; of the others only the first was.
        in_objects: kills while objects were made.
        in_shards: kills while shards were written.
        lost: finished objects and shards that were gone or damaged after a kill.
        again: finished objects and shards that were made again.
        orphans: processes that outlived a build by more than a few seconds.
    """

    kills: int = 0
    whole: int = 0
    in_objects: int = 0
    in_shards: int = 0
    lost: int = 0
    again: int = 0
    orphans: int = 0


def command(meshes: Path, out: Path, workers: int = 2, *more: str) -> list[str]:
    """The command of the build."""
    options = ["--meshes", meshes, "--out", out, "--preset", PRESET, "--workers", workers]
    return [sys.executable, "-m", "gsbench.cli", "build", *map(str, options), *more]


def kill_again_and_again(meshes: Path, out: Path, kills: int, seed: int = 0) -> Report:
    """Begins the build and kills it, so many times; it is not finished then."""
    moments, report = random.Random(seed), Report()
    before: Finished = {}
    for _ in range(kills):
        build = subprocess.Popen(command(meshes, out), start_new_session=True, stdout=subprocess.DEVNULL)
        _wait_for_steps(build, out, len(before) + moments.choice((0, 1, 2, 3)))
        time.sleep(moments.uniform(0, 0.2))
        workers = _children(build.pid)
        whole = moments.random() < 0.5
        report.whole += whole
        with contextlib.suppress(ProcessLookupError):
            os.killpg(build.pid, signal.SIGKILL) if whole else build.kill()
        build.wait()
        report.kills += 1
        report.orphans += _outlive(workers, 20.0)
        after = finished(out)
        report.lost += len(before.keys() - after.keys())
        report.again += sum(after[name] != before[name] for name in before.keys() & after.keys())
        report.in_shards += (shards := any(name.startswith("shards") for name in after))
        report.in_objects += not shards
        before = after
    return report


def finished(out: Path) -> Finished:
    """What is finished of a build."""
    found: Finished = {}
    for path in work_path(out).glob("[os]*s/[!.]*.json"):
        with contextlib.suppress(OSError):
            status = path.stat()
            found[f"{path.parent.name}/{path.name}"] = (status.st_ino, status.st_mtime_ns)
    return found


def _wait_for_steps(build: "subprocess.Popen[bytes]", out: Path, steps: int) -> None:
    """Waits until the build has begun to work, and has finished so much."""
    end = time.monotonic() + _SLOWEST
    while len(finished(out)) < steps or not (work_path(out) / "objects").exists():
        if build.poll() is not None:
            raise RuntimeError(f"the build ended by itself, with status {build.returncode}")
        if time.monotonic() > end:
            raise RuntimeError("the build does not get on")
        time.sleep(0.01)


def _children(parent: int) -> list[int]:
    return [pid for pid, of in _processes() if of == parent]


def _processes() -> Iterator[tuple[int, int]]:
    """Every living process and its parent."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            if state != "Z":
                yield int(folder.name), int(parent)


def _outlive(pids: list[int], seconds: float) -> int:
    end = time.monotonic() + seconds
    while (alive := len({pid for pid, _ in _processes()} & set(pids))) and time.monotonic() < end:
        time.sleep(0.05)
    return alive


def main() -> None:
    """Prints the report as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--objects", type=int, default=3, help="of each of ten classes")
    args = parser.parse_args()
    shapes, one, other = args.folder / "shapes", args.folder / "uninterrupted", args.folder / "killed"
    test = max(1, args.objects // 3)
    made = [sys.executable, "-m", "gsbench.meshes.shapes", shapes, "--train", args.objects - test, "--test", test]
    subprocess.run(list(map(str, made)), check=True)
    subprocess.run(command(shapes, one), check=True)
    report = kill_again_and_again(shapes, other, args.kills)
    subprocess.run(command(shapes, other), check=True)
    same = subprocess.run(["diff", "-r", one, other], check=False).returncode == 0
    json.dump({**dataclasses.asdict(report), "same_bytes": same}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
