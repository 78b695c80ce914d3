"""`audit.json`: what `gsbench audit` found in a folder of meshes, as object ids, hashes and numbers; no geometry."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gsbench.core.files import read_versioned, write_atomic
from gsbench.core.parsing import InputError, parse

AUDIT = "audit.json"
FORMAT_VERSION = 1

Level = Literal["files", "surfaces", "near"]
"""How alike two objects are: the same file; the same surface; near duplicates. Each level contains those before it."""

LEVELS: tuple[Level, ...] = ("files", "surfaces", "near")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What counts as what; distances in units of the object's radius.

    Attributes:
        same_surface: largest distance between two surfaces that are the same.
        near_duplicate: largest distance between near duplicates.
        zero_height: a face is degenerate if its height over its longest edge is at most this share of the mesh's
            largest side.
    """

    same_surface: float
    near_duplicate: float
    zero_height: float


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two objects whose surfaces lie close to each other.

    Attributes:
        one: an object id, that of the first object of its group in `Audit.identical_geometry` if it is in one.
        other: another, later in the alphabet.
        distance: the largest distance from a point of one surface to the other surface, both ways.
        mean: the mean of these distances.
        quarters: by how many quarter turns about z, counter-clockwise, `one` lies on `other`.
    """

    one: str
    other: str
    distance: float
    mean: float
    quarters: int


@dataclass(frozen=True, slots=True)
class Official:
    """How a folder in ModelNet10's layout differs from the official split.

    Attributes:
        missing: object ids of the split without a mesh here.
        unknown: object ids here that the split does not have.
        wrong_class: objects that lie in the folder of another class.
        wrong_split: objects that lie in the folder of the other split.
        identical_files_found: pairs whose files are identical as distributed, and here have the same surface.
        identical_files_undetectable: such pairs of which a mesh is missing.
    """

    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    wrong_class: tuple[str, ...]
    wrong_split: tuple[str, ...]
    identical_files_found: tuple[tuple[str, str], ...]
    identical_files_undetectable: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found. Everything is sorted, so that equal meshes give equal bytes.

    Attributes:
        format_version: of this file.
        created_by: version of gsbench.
        note: what the reader must know of the meshes, in one line.
        objects: meshes by split.
        files_sha256: sha256 over `object_id sha256` lines of all mesh files, sorted: which meshes were looked at.
        thresholds: what counts as what.
        identical_files: sha256 of the file -> the objects that have it, two or more.
        identical_geometry: sha256 of the triangles -> the objects that have them, whatever the order of vertices and
            faces, the winding, and vertices that no face uses.
        same_surface: groups of objects joined by pairs within `thresholds.same_surface`, identical ones among them.
        near_duplicates: pairs within `thresholds.near_duplicate`.
        across_classes: level -> groups of more than one class, joined by all pairs of that level.
        leaked: level -> test objects that have such a twin among the training objects.
        unreadable: object id -> why its file cannot be read as a mesh.
        not_finite: objects with a vertex that is not finite.
        no_surface: objects without a face that has an area.
        glued_header: objects whose OFF header is glued to the counts.
        unused_vertices: object id -> how many vertices no face uses, and how far the furthest of them lies outside the
            box of the others, as a share of the box's largest side.
        repeated_indices: object id -> faces that name one position twice.
        zero_area: object id -> other faces without a height.
        repeated_faces: object id -> faces that name the three positions of an earlier face, in any order.
        open_edges: object id -> edges of a single face; a mesh without any, and without crowded ones, is watertight.
        crowded_edges: object id -> edges of more than two faces.
        misaligned_edges: object id -> edges whose two faces are wound against each other.
        watertight: number of meshes in which every edge has two faces.
        official: against the split of ModelNet10, for a folder of its objects; else None.
    """

    format_version: int
    created_by: dict[str, str]
    note: str
    objects: dict[str, int]
    files_sha256: str
    thresholds: Thresholds
    identical_files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    identical_geometry: dict[str, tuple[str, ...]] = field(default_factory=dict)
    same_surface: tuple[tuple[str, ...], ...] = ()
    near_duplicates: tuple[NearPair, ...] = ()
    across_classes: dict[Level, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    leaked: dict[Level, tuple[str, ...]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    not_finite: tuple[str, ...] = ()
    no_surface: tuple[str, ...] = ()
    glued_header: tuple[str, ...] = ()
    unused_vertices: dict[str, tuple[int, float]] = field(default_factory=dict)
    repeated_indices: dict[str, int] = field(default_factory=dict)
    zero_area: dict[str, int] = field(default_factory=dict)
    repeated_faces: dict[str, int] = field(default_factory=dict)
    open_edges: dict[str, int] = field(default_factory=dict)
    crowded_edges: dict[str, int] = field(default_factory=dict)
    misaligned_edges: dict[str, int] = field(default_factory=dict)
    watertight: int = 0
    official: Official | None = None

    def counts(self) -> dict[str, int]:
        """How many there are of each kind: groups or pairs of duplicates, objects of all else."""
        kinds = (
            *("identical_files", "identical_geometry", "same_surface", "near_duplicates"),
            *("unreadable", "not_finite", "no_surface", "glued_header", "unused_vertices", "repeated_indices"),
            *("zero_area", "repeated_faces", "open_edges", "crowded_edges", "misaligned_edges"),
        )
        counts = {kind: len(getattr(self, kind)) for kind in kinds}
        counts |= {f"across_classes_{level}": len(groups) for level, groups in self.across_classes.items()}
        counts |= {f"leaked_{level}": len(ids) for level, ids in self.leaked.items()}
        if self.official is not None:
            counts |= {key: len(value) for key, value in dataclasses.asdict(self.official).items()}
        return counts


def audit_json(audit: Audit) -> str:
    """An audit and its counts as JSON, one finding a line."""
    record = dataclasses.asdict(audit)
    head = {key: record.pop(key) for key in ("format_version", "created_by", "note", "objects", "files_sha256")}
    entries = {**head, "counts": audit.counts(), **record}.items()
    text = ",\n".join(f" {json.dumps(key)}: {_lines(value)}" for key, value in entries)
    return f"{{\n{text}\n}}\n"


def save_audit(audit: Audit, path: Path) -> None:
    """Writes an audit as `audit_json` has it, atomically.

    Raises:
        OSError: the folder cannot be written or the disk is full.
    """
    write_atomic(path, audit_json(audit).encode())


def audit_sha256(audit: Audit) -> str:
    """sha256 of the file that `save_audit` writes."""
    return hashlib.sha256(audit_json(audit).encode()).hexdigest()


def _lines(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(item)}" for key, item in value.items()) + "\n }"
    if isinstance(value, tuple) and value:
        return "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in value) + "\n ]"
    return json.dumps(value)


def load_audit(path: Path) -> Audit:
    """Reads an audit.

    Raises:
        InputError: it is no audit of a known version, or its counts are not those of its lists; the message names the
            file and the key.
    """
    table = read_versioned(path, "format_version", FORMAT_VERSION)
    counts = table.pop("counts", None)
    audit = parse(table, Audit, str(path))
    if counts != audit.counts():
        raise InputError(f"{path}: counts are not those of the lists (run `gsbench audit` again)")
    return audit
