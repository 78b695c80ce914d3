"""`manifest.json`: what a data folder holds, hash by hash, and how it was made."""

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gsbench.core.files import read_versioned, write_atomic
from gsbench.core.parsing import InputError, check_id, check_name, parse, shown
from gsbench.core.tasks import fingerprint
from gsbench.store.schema import SHARD, SPLITS, FloatType, Schema

MANIFEST = "manifest.json"
FORMAT_VERSION = 1

MAX_SHARD_BYTES = 500_000_000
"""Largest shard that a data folder may hold."""

# Files and folders are named for both.
_SHA256 = re.compile("[0-9a-f]{64}")
_REGIME = re.compile("[0-9]{1,3}/[0-9]{1,3}")
# Below any row with an id, numbers and an image, however well it compresses: a file of millions of empty rows is small.
_LEAST_ROW_BYTES = 16
# Rows for a 32-bit class index, and numbers whose sums stay whole.
_MOST_ROWS = 2**31


@dataclass(frozen=True, slots=True)
class Shard:
    """One Parquet file of a data set: the sha256 of its bytes, its size and its number of rows."""

    sha256: str
    bytes: int
    rows: int

    def __post_init__(self) -> None:
        _check_sha256(self.sha256)
        if not 0 < self.bytes <= MAX_SHARD_BYTES:
            raise InputError(f"bytes is {self.bytes} (allowed: 1 to {MAX_SHARD_BYTES})")
        most = self.bytes // _LEAST_ROW_BYTES
        if not 0 <= self.rows <= most:
            raise InputError(f"rows is {self.rows} in {self.bytes} bytes (allowed: 0 to {most})")


@dataclass(frozen=True, slots=True)
class Regime:
    """A frozen training set: its number of objects and `gsbench.core.tasks.ids_sha256` of their ids."""

    count: int
    sha256: str

    def __post_init__(self) -> None:
        _check_sha256(self.sha256)
        if not 0 <= self.count < _MOST_ROWS:
            raise InputError(f"count is {self.count} (must be a number of objects)")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a data folder holds.

    Attributes:
        format_version: of this file.
        name: the data set's name, such as `modelnet10-gs`.
        version: the data set's version.
        classes: class names in alphabetical order; a label is an index into them.
        sh_coefficients: spherical-harmonic coefficients a channel; 1 where there are no Gaussians.
        float_type: what the numbers of Gaussians are stored as.
        recipe: the whole preset that it was built with.
        created_by: versions of the programs that built it.
        counts: rows by config, split and class.
        shards: by path inside the folder.
        regimes: by "regime/draw", such as "50/0".
        set_aside: object_id to the reason why the object was left out.
        missing: ids of the official split that there was no mesh of.
        derived_from: the collection that the objects were made from, such as `modelnet10`; None where that is not
            known. See `gsbench.store.origin`.
        part: whether only some of the objects that were at hand were taken, or few of the collection's.
        audit_sha256: of the audit of its meshes that lies beside it; None where there is none.
        quality: of all objects: the means `psnr` and `ssim`, and `psnr_min`, `psnr_p5`, `psnr_p25`, `psnr_p50`,
            `psnr_p75`, `psnr_p95`, the smallest and the percentiles; empty where there are no Gaussians.
    """

    format_version: int
    name: str
    version: str
    classes: tuple[str, ...]
    sh_coefficients: int
    recipe: dict[str, Any]
    created_by: dict[str, str]
    counts: dict[str, dict[str, dict[str, int]]]
    shards: dict[str, Shard]
    regimes: dict[str, Regime]
    set_aside: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    quality: dict[str, float] = field(default_factory=dict)
    float_type: FloatType = "float32"
    derived_from: str | None = None
    part: bool = False
    audit_sha256: str | None = None

    def __post_init__(self) -> None:
        check_name("name", self.name)
        check_name("version", self.version)
        for label in self.classes:
            check_id("a name of classes", label)
        if not self.counts:
            raise InputError("counts is empty (must have a config)")
        for config, splits in self.counts.items():
            self.schema(config)
            _check_counts(config, splits, self.classes)
        for path in self.shards:
            if not SHARD.fullmatch(path):
                raise InputError(
                    f"shards: {path[:80]!r} is no path of a shard (must be like points/test-00000-of-00001.parquet)"
                )
        for name in self.regimes:
            if not _REGIME.fullmatch(name):
                raise InputError(f"regimes: {name[:80]!r} is no regime (must be like 50/0)")
        for what, ids in (("set_aside", self.set_aside), ("missing", self.missing)):
            for object_id in ids:
                check_id(f"an object_id of {what}", object_id)
        for what, value in self._texts():
            if not value.isprintable():
                raise InputError(f"{what}: {value[:80]!r} is not allowed (must be printable characters)")
        if self.derived_from is not None:
            check_name("derived_from", self.derived_from)
        if self.audit_sha256 is not None:
            _check_sha256(self.audit_sha256)
        for name, number in self.quality.items():
            if not math.isfinite(number):
                raise InputError(f"quality.{name} is {number} (must be finite)")
        for key in ("about", "fit", "rig", "store"):
            if not isinstance(self.recipe.get(key, {}), dict):
                raise InputError(f"recipe.{key} is {self.recipe[key]!r:.80} (must be a table)")

    def _texts(self) -> Iterator[tuple[str, str]]:
        """What is shown to people as it stands, and its keys."""
        for object_id, reason in self.set_aside.items():
            yield f"set_aside.{object_id}", reason
        for program, version in self.created_by.items():
            yield "created_by", f"{program} {version}"
        title = self.recipe.get("about", {})
        yield "recipe.about.title", str(title.get("title", "")) if isinstance(title, dict) else ""

    def fingerprint(self) -> str:
        """sha256 over the shards' hashes: two folders with one fingerprint hold the same data."""
        return fingerprint({path: shard.sha256 for path, shard in self.shards.items()})

    def schema(self, config: str) -> Schema:
        """The schema of one of the data set's configs.

        Raises:
            InputError: the data set has no such config.
        """
        if config not in self.counts:
            raise InputError(f"{self.name} has no config {shown(config)} (it has: {', '.join(self.counts)})")
        return Schema(config, self.classes, self.sh_coefficients, self.float_type)

    def shards_of(self, config: str, split: str) -> list[str]:
        """The paths of the shards of a split, in order."""
        return sorted(path for path in self.shards if path.startswith(f"{config}/{split}-"))


def _check_sha256(digest: str) -> None:
    if not _SHA256.fullmatch(digest):
        raise InputError(f"sha256 is {digest[:80]!r} (must be 64 hexadecimal digits)")


def _check_counts(config: str, splits: dict[str, dict[str, int]], classes: tuple[str, ...]) -> None:
    if set(splits) != set(SPLITS):
        raise InputError(f"counts.{config} has {shown(list(splits))} (must have {', '.join(SPLITS)})")
    for split, rows in splits.items():
        if set(rows) != set(classes):
            raise InputError(f"counts.{config}.{split} is of {shown(list(rows))} (must be of all classes)")
        for label, count in rows.items():
            if not 0 <= count < _MOST_ROWS:
                raise InputError(f"counts.{config}.{split}.{label} is {count} (must be a number of rows)")


def save_manifest(manifest: Manifest, folder: Path) -> None:
    """Writes `manifest.json` into `folder`, atomically; OSError if that fails."""
    text = json.dumps(dataclasses.asdict(manifest), indent=1)
    write_atomic(folder / MANIFEST, f"{text}\n".encode())


def load_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a data folder.

    Raises:
        InputError: there is none, or it is not a manifest of a known version; the message names the file.
    """
    path = folder / MANIFEST
    if not path.is_file():  # a pipe would be waited for without end
        raise InputError(f"{folder}: no data set, it has no file {MANIFEST}")
    return parse(read_versioned(path, "format_version", FORMAT_VERSION), Manifest, str(path))
