"""`python -m gsbench.meshes.shapes OUT [--train N] [--test N] [--seed S]`: the ten classes as a folder of OFF files."""

import argparse
import sys
from pathlib import Path

from gsbench.core.parsing import InputError
from gsbench.meshes.off import save_off
from gsbench.meshes.shapes import LABELS, make_shape

_SEEDS_PER_RUN = 1_000_000  # so that runs with different --seed share no object


def write_shapes(out: Path, train: int, test: int, seed: int) -> None:
    """Writes `train` and `test` objects a class to OUT/<label>/<train|test>/<label>_0001.off and on.

    Numbered as in ModelNet: test ids follow the train ids. An object depends on its number and `seed` alone.

    Raises:
        InputError: counts or seed out of range.
        OSError: a file cannot be written.
    """
    if train < 0 or test < 0 or not 0 < train + test < _SEEDS_PER_RUN:
        raise InputError(f"--train {train} --test {test}: allowed are 0 or more each, and one object at least")
    if seed < 0:
        raise InputError(f"--seed {seed}: allowed are 0 or more")
    for label in LABELS:
        for number in range(1, train + test + 1):
            folder = out / label / ("train" if number <= train else "test")
            folder.mkdir(parents=True, exist_ok=True)
            save_off(folder / f"{label}_{number:04d}.off", make_shape(label, seed * _SEEDS_PER_RUN + number))


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m gsbench.meshes.shapes", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument("--train", type=int, default=24, help="training objects a class (default: %(default)s)")
    parser.add_argument("--test", type=int, default=12, help="test objects a class (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other objects (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        write_shapes(options.out, options.train, options.test, options.seed)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
