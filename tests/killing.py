"""A build that is killed again and again: `python -m tests.killing MESHES FOLDER` prints what came of it.

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

from gsbench.produce.work import work_path

PRESET = str(Path(__file__).parent / "tiny_preset.toml")
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


def command(meshes: Path, out: Path, preset: str) -> list[str]:
    """The command of the build."""
    options = ["--meshes", meshes, "--out", out, "--preset", preset, "--workers", 2]
    return [sys.executable, "-m", "gsbench", "build", *map(str, options)]


def kill_again_and_again(meshes: Path, out: Path, kills: int, preset: str = PRESET) -> Report:
    """Begins the build and kills it, so many times; it is not finished then.

    The first half of the kills come while objects are made, of which there have to be more than four a kill; the others
    while shards are written, unless there are too few.
    """
    moments, report, objects = random.Random(0), Report(), len(list(meshes.glob("*/*/*")))
    before: Finished = {}
    for kill in range(kills):
        build = subprocess.Popen(command(meshes, out, preset), start_new_session=True, stdout=subprocess.DEVNULL)
        begun = len(before) if kill < kills // 2 else max(len(before), objects)
        _wait_for_steps(build, out, begun + moments.choice((0, 1, 2)))
        time.sleep(moments.uniform(0, 0.05))
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
    parser.add_argument("meshes", type=Path, help="as `gsbench build` takes them; more steps than three a kill")
    parser.add_argument("folder", type=Path, help="new or empty: both builds go there")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--preset", default=PRESET)
    args = parser.parse_args()
    one, other = args.folder / "uninterrupted", args.folder / "killed"
    subprocess.run(command(args.meshes, one, args.preset), check=True, stdout=subprocess.DEVNULL)
    report = kill_again_and_again(args.meshes, other, args.kills, args.preset)
    subprocess.run(command(args.meshes, other, args.preset), check=True, stdout=subprocess.DEVNULL)
    same = subprocess.run(["diff", "-r", one, other], check=False).returncode == 0
    json.dump({**dataclasses.asdict(report), "same_bytes": same}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
