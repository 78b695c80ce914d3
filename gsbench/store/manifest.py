"""`manifest.json`: what a data folder holds, hash by hash, and how it was made."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gsbench.parsing import InputError, parse, read_versioned
from gsbench.results import write_atomic
from gsbench.store.schema import FloatType, Schema
from gsbench.tasks import fingerprint

MANIFEST = "manifest.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Shard:
    """One Parquet file of a data set: the sha256 of its bytes, its size and its number of rows."""

    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Regime:
    """A frozen training set: its number of objects and `gsbench.tasks.ids_sha256` of their ids."""

    count: int
    sha256: str


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

    def fingerprint(self) -> str:
        """sha256 over the shards' hashes: two folders with one fingerprint hold the same data."""
        return fingerprint({path: shard.sha256 for path, shard in self.shards.items()})

    def schema(self, config: str) -> Schema:
        """The schema of one of the data set's configs.

        Raises:
            InputError: the data set has no such config.
        """
        if config not in self.counts:
            raise InputError(f"{self.name} has no config '{config}' (it has: {', '.join(self.counts)})")
        return Schema(config, self.classes, self.sh_coefficients, self.float_type)

    def shards_of(self, config: str, split: str) -> list[str]:
        """The paths of the shards of a split, in order."""
        return sorted(path for path in self.shards if path.startswith(f"{config}/{split}-"))


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
    if not path.exists():
        raise InputError(f"{folder}: no data set, it has no {MANIFEST}")
    return parse(read_versioned(path, "format_version", FORMAT_VERSION), Manifest, str(path))
