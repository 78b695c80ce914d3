"""Writing a whole data folder: shards, manifest, card and eval.yaml, all of it or nothing."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gsbench
from gsbench.store.arrays import Row
from gsbench.store.card import About, write_card
from gsbench.store.manifest import FORMAT_VERSION, Manifest, Regime, Shard, load_manifest, save_manifest
from gsbench.store.schema import CONFIGS, SPLITS, Schema
from gsbench.store.shards import MAX_SHARD_BYTES, write_shards
from gsbench.tasks import all_regimes, ids_sha256, regime_ids

_VERSIONS_OF = ("numpy", "pyarrow", "numba", "pillow")


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a data folder, apart from the rows themselves.

    Attributes:
        about: name, version and the words of the card.
        objects: split -> object_id -> class name of every object.
        sh_coefficients: coefficients a channel of the Gaussians; 1 where there are none.
        recipe: everything that decides the data, kept in the manifest.
        set_aside: object_id -> reason, of objects that could not be made.
        quality: means over all objects, such as `psnr`.
        max_shard_bytes: a new shard begins before this size is passed.
    """

    about: About
    objects: Mapping[str, Mapping[str, str]]
    sh_coefficients: int = 1
    recipe: dict[str, Any] = field(default_factory=dict)
    set_aside: dict[str, str] = field(default_factory=dict)
    quality: dict[str, float] = field(default_factory=dict)
    max_shard_bytes: int = MAX_SHARD_BYTES


def create_folder(out: Path, contents: Contents, rows: Mapping[tuple[str, str], Iterable[Row]]) -> Manifest:
    """Writes a data folder; on any failure `out` is as it was.

    Args:
        out: a folder that does not exist yet, or an empty one.
        contents: the objects and what the manifest says of them.
        rows: (config, split) -> rows sorted by object_id (and view), every object of the split. `label` and
            `regime_draws` are filled in from `contents`, rows need not carry them.

    Returns:
        The manifest as written.

    Raises:
        ValueError: `out` is taken or cannot be written, rows out of order or not those of `contents`, or a row that
            does not fit the schema.
    """
    with staging_folder(out) as staging:
        return write_folder(staging, contents, rows)


def write_folder(folder: Path, contents: Contents, rows: Mapping[tuple[str, str], Iterable[Row]]) -> Manifest:
    """Fills `folder` as `create_folder` does, for callers that stage the folder themselves; OSError if that fails."""
    labels = contents.objects
    classes = tuple(sorted({label for of_split in labels.values() for label in of_split.values()}))
    regimes = {f"{regime}/{draw}": regime_ids(labels["train"], regime, draw) for regime, draw in all_regimes()}
    shards: dict[str, Shard] = {}
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for config in (name for name in CONFIGS if any(name == config for config, _ in rows)):
        schema = Schema(config, classes, contents.sh_coefficients)
        counts[config] = {}
        for split in SPLITS:
            filled = _fill(rows[config, split], labels[split], regimes if split == "train" else {})
            written = write_shards(folder, schema, split, filled, contents.max_shard_bytes)
            shards |= written.shards
            counts[config][split] = written.counts
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=contents.about.name,
        version=contents.about.version,
        classes=classes,
        sh_coefficients=contents.sh_coefficients,
        recipe=contents.recipe,
        created_by={"gsbench": gsbench.__version__, **{name: version(name) for name in _VERSIONS_OF}},
        counts=counts,
        shards=shards,
        regimes={name: Regime(len(ids), ids_sha256(ids)) for name, ids in regimes.items()},
        set_aside=contents.set_aside,
        quality=contents.quality,
    )
    save_manifest(manifest, folder)
    write_card(folder, manifest, contents.about)
    return load_manifest(folder)  # as a reader gets it: JSON has no tuples


@contextlib.contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` if the block succeeds and is removed if it does not.

    Raises:
        ValueError: `out` exists and is not an empty folder, or cannot be written, or the disk is full.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{out}: exists already (allowed: a new or an empty folder)")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise ValueError(f"{out}: cannot be written ({error.strerror})") from None
    try:
        yield staging
        staging.chmod(0o755)
        os.replace(staging, out)
    except OSError as error:
        raise ValueError(f"{out}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fill(rows: Iterable[Row], labels: Mapping[str, str], regimes: Mapping[str, list[str]]) -> Iterator[Row]:
    """The rows with label and regime draws; checks that they are sorted and are those of all objects."""
    draws: dict[str, list[str]] = {}
    for name, ids in regimes.items():
        for object_id in ids:
            draws.setdefault(object_id, []).append(name)
    last = None
    expected = iter(sorted(labels))
    for row in rows:
        object_id = row["object_id"]
        if object_id != last and object_id != next(expected, None):
            raise ValueError(f"{object_id}: row out of order, or of an object that the data set does not list")
        last = object_id
        yield {**row, "label": labels[object_id], "regime_draws": draws.get(object_id, [])}
    if (missing := next(expected, None)) is not None:
        raise ValueError(f"{missing}: the data set lists this object, but there is no row of it")
