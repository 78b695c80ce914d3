"""Writing a whole data folder: shards, manifest, card and eval.yaml, all of it or nothing."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gsbench
from gsbench.core.parsing import InputError, check_id, check_name
from gsbench.core.tasks import all_regimes, ids_sha256, regime_ids
from gsbench.store.arrays import Row
from gsbench.store.audit import AUDIT, Audit, audit_sha256, save_audit
from gsbench.store.card import About, write_card
from gsbench.store.folder import Folder
from gsbench.store.manifest import (
    FORMAT_VERSION,
    MAX_SHARD_BYTES,
    Manifest,
    Regime,
    load_manifest,
    save_manifest,
)
from gsbench.store.quality import read_scores, summarize
from gsbench.store.schema import CONFIGS, SPLITS, FloatType, Schema, in_one_line
from gsbench.store.shards import Written, write_shards

_VERSIONS_OF = ("numpy", "pyarrow", "numba", "pillow")


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a data folder, apart from the rows themselves.

    Attributes:
        about: name, version and the words of the card.
        objects: split -> object_id -> class name of every object.
        sh_coefficients: coefficients a channel of the Gaussians; 1 where there are none.
        float_type: what the numbers of Gaussians are stored as; each must be one already.
        recipe: everything that decides the data, kept in the manifest.
        made_with: versions of programs, and whatever else its making depended on; kept in the manifest.
        set_aside: object_id -> reason, of objects that could not be made.
        missing: ids of the official split that there was nothing to make from.
        derived_from: the collection that the objects come from, such as `modelnet10`, or None. Data of points alone
            keeps no hashes of meshes, so that nothing else tells it.
        part: whether they are a part of what was at hand, or of the collection.
        audit: of the meshes, if they have one of their own; kept beside the manifest.
        max_shard_bytes: the most that a shard may hold.
    """

    about: About
    objects: Mapping[str, Mapping[str, str]]
    sh_coefficients: int = 1
    float_type: FloatType = "float32"
    recipe: dict[str, Any] = field(default_factory=dict)
    made_with: dict[str, str] = field(default_factory=dict)
    set_aside: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    derived_from: str | None = None
    part: bool = False
    audit: Audit | None = None
    max_shard_bytes: int = MAX_SHARD_BYTES

    def __post_init__(self) -> None:
        """Raises an InputError for names that could not be read again."""
        check_name("name", self.about.name)
        check_name("version", self.about.version)
        for labels in self.objects.values():
            for object_id, label in labels.items():
                check_id("object_id", object_id)
                check_id("class", label)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in alphabetical order."""
        return tuple(sorted({label for labels in self.objects.values() for label in labels.values()}))

    def schema(self, config: str) -> Schema:
        """The schema of a config."""
        return Schema(config, self.classes, self.sh_coefficients, self.float_type)

    def regimes(self) -> dict[str, list[str]]:
        """The object ids of every frozen training set, by "regime/draw"."""
        return {f"{regime}/{draw}": regime_ids(self.objects["train"], regime, draw) for regime, draw in all_regimes()}

    def columns(self, split: str) -> dict[str, Row]:
        """What the rows of an object have that follows from the set as a whole: its label and regime draws."""
        draws: dict[str, list[str]] = {object_id: [] for object_id in self.objects[split]}
        for name, ids in self.regimes().items() if split == "train" else ():
            for object_id in ids:
                draws[object_id].append(name)
        return {
            object_id: {"label": label, "regime_draws": draws[object_id]}
            for object_id, label in self.objects[split].items()
        }


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
        InputError: `out` is taken or cannot be written, rows out of order or not those of `contents`, or a row that
            does not fit the schema.
    """
    require_free(out)
    with telling_of_failed_writes(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
            staging = Path(temporary) / "folder"
            written: dict[str, Written] = {}
            for (config, split), of_split in sorted(rows.items()):
                filled = _fill(of_split, contents.objects[split], contents.columns(split))
                written |= write_shards(staging, contents.schema(config), split, filled, contents.max_shard_bytes)
            manifest = finish_folder(staging, contents, written)
            os.replace(staging, out)
    return manifest


def finish_folder(folder: Path, contents: Contents, written: Mapping[str, Written]) -> Manifest:
    """Writes manifest, card and eval.yaml beside shards that are there already.

    Args:
        folder: holds the shards.
        contents: the objects and what the manifest says of them.
        written: what `write_shard` returned for each shard, by its path in `folder`.

    Returns:
        The manifest as written.

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    classes = contents.classes
    counts = {
        config: {split: dict.fromkeys(classes, 0) for split in SPLITS}
        for config in CONFIGS
        if any(name.startswith(f"{config}/") for name in written)
    }
    for name, shard in written.items():
        config, split = name.split("-")[0].split("/")
        for label, count in shard.counts.items():
            counts[config][split][label] += count
    in_order = sorted(written, key=lambda name: (list(counts).index(name.split("/")[0]), name))
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=contents.about.name,
        version=contents.about.version,
        classes=classes,
        sh_coefficients=contents.sh_coefficients,
        recipe=contents.recipe,
        created_by={
            "gsbench": gsbench.__version__,
            **{name: version(name) for name in _VERSIONS_OF},
            **contents.made_with,
        },
        counts=counts,
        shards={name: written[name].shard for name in in_order},
        regimes={name: Regime(len(ids), ids_sha256(ids)) for name, ids in contents.regimes().items()},
        set_aside={object_id: in_one_line(reason) for object_id, reason in contents.set_aside.items()},
        missing=contents.missing,
        float_type=contents.float_type,
        derived_from=contents.derived_from,
        part=contents.part,
        audit_sha256=None if contents.audit is None else audit_sha256(contents.audit),
    )
    if contents.audit is not None:
        save_audit(contents.audit, folder / AUDIT)
    scores = read_scores(Folder(folder, manifest))
    manifest = dataclasses.replace(manifest, quality=summarize(scores))
    save_manifest(manifest, folder)
    write_card(Folder(folder, manifest), contents.about, scores)
    return load_manifest(folder)  # as a reader gets it: JSON has no tuples


def require_free(out: Path) -> None:
    """Raises an InputError if `out` exists and is not an empty folder that another can be renamed to."""
    if out.is_mount():
        raise InputError(f"{out}: is a mount point (allowed: a new or an empty folder in it)")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out}: exists already (allowed: a new or an empty folder)")


@contextlib.contextmanager
def telling_of_failed_writes(out: Path) -> Iterator[None]:
    """Turns an OSError of the block into an InputError: `out` cannot be written, and why."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error


def _fill(rows: Iterable[Row], labels: Mapping[str, str], columns: Mapping[str, Row]) -> Iterator[Row]:
    """The rows with label and regime draws; checks that they are sorted and are those of all objects."""
    last = None
    expected = iter(sorted(labels))
    for row in rows:
        object_id = row["object_id"]
        if object_id != last and object_id != next(expected, None):
            raise InputError(f"{object_id}: row out of order, or of an object that the data set does not list")
        last = object_id
        yield {**row, **columns[object_id]}
    if (missing := next(expected, None)) is not None:
        raise InputError(f"{missing}: the data set lists this object, but there is no row of it")
