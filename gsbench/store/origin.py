"""What a data set is made from: the hashes of its mesh files decide, never its name.

Two collections are known file by file: `modelnet10`, as Princeton distributes it or with positions re-encoded at 14
bits of the extent, and `shapes`, the procedural meshes of the embedded data set. `meshes.csv.gz` lists the first: an
object's id, class and split, the sha256 of its file as distributed, and that of the file re-encoded. Of 72 files, the
largest, it has the SHA-1 of the git blob in place of the sha256 (`git:...`), and no re-encoding: a build recognizes
them by it. A data folder keeps no such hash, so that there they are taken at their word where all others are proven.
"""

import csv
import functools
import gzip
import hashlib
import importlib.resources
import io
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from gsbench.store.folder import MINI, Folder, open_folder, read_table
from gsbench.store.load import resolve
from gsbench.store.schema import SPLITS

MODELNET10 = "modelnet10"
SHAPES = "shapes"
COLLECTIONS = (MODELNET10, SHAPES)

_BLOB = "git:"
_WHOLE = 0.9
"""A collection of which fewer objects are there is not one that merely lacks some files, but a part."""

# Data folders that were made before manifests named an origin, by their content. Of the first, points alone, no hash of
# a mesh is kept; of the second any configs may have been downloaded.
_OLDER = {
    "be325d68b1af1bfc1ba4677cadce7c521922d3085e35d657fd8fbda15fbaaa85": MODELNET10,
    "1f600bbedc8f2c80650075de2e08998b2e804d8208281c6a5d375fc6d0025d0c": MODELNET10,
}
_RESERVED = re.compile(r"(mini|modelnet10)(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Known:
    """An object of a collection: its class, its split, and the digests of the files that are its mesh."""

    label: str
    split: str
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """An object of a data set: its class, its split, and its mesh file's sha256, or None where that is not known."""

    label: str
    split: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Origin:
    """What a data set is made from.

    Attributes:
        collection: such as `modelnet10`.
        part: whether it is so little of it that it is another data set: some of the classes, or less than nine tenths
            of the objects, or what a limit left. What merely lacks files that were not at hand is no part.
    """

    collection: str
    part: bool


@functools.cache
def known_objects(collection: str) -> dict[str, Known]:
    """object_id -> what is known of it, of one of `COLLECTIONS`, sorted by id."""
    if collection == SHAPES:
        return {
            object_id: Known(source.label, source.split, (source.sha256,))
            for object_id, source in sorted(sources_of(open_folder(resolve(MINI, notify=lambda _line: None))).items())
            if source.sha256
        }
    packed = (importlib.resources.files("gsbench_cards") / "modelnet10-gs" / "meshes.csv.gz").read_bytes()
    rows = csv.DictReader(io.StringIO(gzip.decompress(packed).decode("ascii")))
    return {
        row["object_id"]: Known(row["label"], row["split"], tuple(filter(None, (row["original"], row["reencoded"]))))
        for row in rows
    }


def sources_of(folder: Folder) -> dict[str, Source]:
    """object_id -> its source, of a data folder that has Gaussians, with which the hashes of mesh files are kept.

    Raises:
        InputError: the folder has no Gaussians, or a shard is missing or damaged.
    """
    found = {}
    for split in SPLITS:
        table = read_table(folder, "gaussians", split, ["object_id", "label", "mesh_sha256"])
        for object_id, label, digest in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
            found[object_id] = Source(folder.manifest.classes[label], split, digest)
    return found


def strangers(
    collection: str, objects: Mapping[str, Source], files: Mapping[str, Path] | None = None
) -> tuple[list[str], int]:
    """Which objects are not of a collection, each in its class and split, and how many are proven to be.

    Args:
        collection: one of `COLLECTIONS`.
        objects: of a data set. One whose hash is not known is no stranger, and not proven.
        files: object_id -> its mesh file, to tell by its git blob what is not told by sha256; None without files.
    """
    known, foreign, proven = known_objects(collection), [], 0
    for object_id, source in objects.items():
        listed = known.get(object_id)
        if listed is None or (source.label, source.split) != (listed.label, listed.split):
            foreign.append(object_id)
        elif source.sha256 in listed.digests or _is_blob(listed, (files or {}).get(object_id)):
            proven += 1
        elif source.sha256 is not None and (files is not None or not _by_blob(listed)):
            foreign.append(object_id)
    return foreign, proven


def _by_blob(listed: Known) -> bool:
    return listed.digests[0].startswith(_BLOB)


def _is_blob(listed: Known, path: Path | None) -> bool:
    if path is None or not _by_blob(listed):
        return False
    try:
        data = path.read_bytes()
    except OSError:
        return False
    digest = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return f"{_BLOB}{digest}" in listed.digests


def is_part(collection: str, object_ids: Collection[str]) -> bool:
    """Whether objects of a collection are a part of it, see `Origin`."""
    known = known_objects(collection)
    labels = {known[object_id].label for object_id in object_ids if object_id in known}
    return len(object_ids) < _WHOLE * len(known) or labels != {each.label for each in known.values()}


def origin_of(folder: Folder) -> Origin | None:
    """What a data folder is made from; None where nothing is known of that.

    The hashes of mesh files decide where there are any, for the known collections. Else it is what the manifest says,
    and of two folders that are older than that, what their fingerprints say.

    Raises:
        InputError: a shard that is missing or damaged.
    """
    manifest = folder.manifest
    if older := _OLDER.get(manifest.fingerprint()):
        return Origin(older, False)
    if "gaussians" not in manifest.counts or manifest.derived_from not in (None, *COLLECTIONS):
        return Origin(manifest.derived_from, manifest.part) if manifest.derived_from else None
    sources = sources_of(folder)
    for collection in COLLECTIONS:
        foreign, proven = strangers(collection, sources)
        if proven and not foreign:
            return Origin(collection, manifest.part or is_part(collection, {*sources, *manifest.set_aside}))
    return None


def published_name(folder: Folder) -> str | None:
    """The data set whose published figures a score on the folder stands beside; None where there is none.

    That is the whole collection that it is made from. A part of one has other test objects. What is made from something
    else has its own name, so that a recipe can state a figure on it.

    Raises:
        InputError: a shard that is missing or damaged.
    """
    if origin := origin_of(folder):
        return None if origin.part else origin.collection
    return None if is_reserved(folder.manifest.name) else folder.manifest.name


def is_reserved(name: str) -> bool:
    """Whether a name is kept for what is made from ModelNet10, or from the procedural shapes."""
    return _RESERVED.match(name) is not None
