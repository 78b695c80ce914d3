"""How well the Gaussians of a data folder show their objects: the scores in its rows, and what to say of them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from gsbench.core.types import Array
from gsbench.store.audit import LEVELS, Audit, Level
from gsbench.store.folder import Folder, read_table
from gsbench.store.leaks import audit_of, leaks_of
from gsbench.store.schema import SPLITS

_PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True, slots=True)
class Scores:
    """The held-out scores of all objects with Gaussians, of both splits.

    Attributes:
        ids: `n` object ids.
        labels: `n` class names.
        psnr: `[n]` dB.
        ssim: `[n]`.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    psnr: Float64[Array, " n"]
    ssim: Float64[Array, " n"]

    def by_class(self) -> dict[str, Float64[Array, " m"]]:
        """Class name to the PSNR of its objects."""
        labels = np.array(self.labels)
        return {name: self.psnr[labels == name] for name in sorted(set(self.labels))}

    def worst(self, count: int) -> dict[str, float]:
        """The objects of the lowest PSNR, lowest first."""
        return {self.ids[i]: float(self.psnr[i]) for i in np.argsort(self.psnr, kind="stable")[:count]}


def read_scores(folder: Folder) -> Scores:
    """Reads the scores of a folder; there are none where it has no Gaussians.

    Raises:
        InputError: a shard that is missing or damaged.
    """
    ids: list[str] = []
    labels: list[str] = []
    columns: dict[str, list[float]] = {"psnr": [], "ssim": []}
    for split in SPLITS if "gaussians" in folder.manifest.counts else ():
        table = read_table(folder, "gaussians", split, ["object_id", "label", *columns])
        ids += table["object_id"].to_pylist()
        labels += [folder.manifest.classes[label] for label in table["label"].to_pylist()]
        for name, values in columns.items():
            values += table[name].to_pylist()
    return Scores(tuple(ids), tuple(labels), *(np.array(values, np.float64) for values in columns.values()))


def distribution(values: Iterable[float]) -> dict[str, float]:
    """`mean`, `min` and the percentiles `p5`, `p25`, `p50`, `p75` and `p95` of at least one value."""
    array = np.array(list(values), np.float64)
    percentiles = np.percentile(array, _PERCENTILES)
    return {
        "mean": float(array.mean()),
        "min": float(array.min()),
        **{f"p{share}": float(value) for share, value in zip(_PERCENTILES, percentiles, strict=True)},
    }


def summarize(scores: Scores) -> dict[str, float]:
    """What the manifest keeps of the scores; nothing where there are none."""
    if not scores.ids:
        return {}
    psnr = distribution(scores.psnr)
    return {
        "psnr": psnr.pop("mean"),
        "ssim": float(scores.ssim.mean()),
        **{f"psnr_{name}": value for name, value in psnr.items()},
    }


_DEFECTS = {
    "unreadable": "files that are no readable mesh",
    "not_finite": "a vertex that is not finite",
    "no_surface": "no face with an area",
    "glued_header": "an OFF header glued to the counts",
    "unused_vertices": "vertices that no face uses",
    "repeated_indices": "faces that name one position twice",
    "zero_area": "other faces without a height",
    "repeated_faces": "faces on top of each other, often of both windings",
    "open_edges": "edges of a single face (not closed)",
    "crowded_edges": "edges of more than two faces",
    "misaligned_edges": "neighboring faces wound against each other",
}


def audit_text(folder: Folder) -> str:
    """Markdown on duplicates, leaks and defects of the meshes that a data folder was made from.

    Raises:
        InputError: a shard of the folder that is missing or damaged.
    """
    audit = audit_of(folder)
    if audit is None:
        return (
            "The meshes have not been audited: nobody has looked for near duplicates and defects. "
            "`gsbench audit MESHES --out FILE` does, and `gsbench build --audit FILE` says here what it found."
        )
    return "\n\n".join([_scope(audit), _twins(audit), _leaks(leaks_of(folder)), _defects(audit)])


def _scope(audit: Audit) -> str:
    total = sum(audit.objects.values())
    by_split = ", ".join(f"{count} {split}" for split, count in audit.objects.items())
    lines = [f"`gsbench audit` looked at {total} meshes ({by_split}), each beside all others.", audit.note]
    if audit.official is not None and audit.official.missing:
        known = audit.official.identical_files_found + audit.official.identical_files_undetectable
        lines += [
            f"{len(audit.official.missing)} objects of the official split were not at hand: a twin of theirs would not "
            f"have been seen. Of the {len(known)} pairs of files that are identical as distributed, "
            f"{len(audit.official.identical_files_found)} were found."
        ]
    return " ".join(filter(None, lines))


def _twins(audit: Audit) -> str:
    limits = audit.thresholds
    kinds: dict[Level, tuple[str, str]] = {
        "files": ("the same file", f"{len(audit.identical_files)} groups"),
        "surfaces": (f"the same surface, to {limits.same_surface:g}", f"{len(audit.same_surface)} groups"),
        "near": (f"near duplicates, to {limits.near_duplicate:g}", f"{len(audit.near_duplicates)} pairs"),
    }
    rows = [
        f"| {kind} | {found} | {len(audit.across_classes[level])} | {len(audit.leaked[level])} |"
        for level, (kind, found) in kinds.items()
    ]
    head = ["| alike as | found | across classes | test objects with a twin in train |", "|---|---:|---:|---:|"]
    what = (
        "Distances are the largest from a point of one surface to the other, both ways, in radii of the normalized "
        "objects, after the best of four quarter turns about z. Pairs are counted among objects of different triangles."
    )
    return "\n".join([*head, *rows, "", what])


def _leaks(leaked: dict[Level, tuple[str, ...]]) -> str:
    before: set[str] = set()
    lines = ["Test objects of this data set with a twin in its training split, each named once:", ""]
    for level in (level for level in LEVELS if level in leaked):
        names = [name for name in leaked[level] if name not in before]
        before.update(names)
        kind = {"files": "the same file", "surfaces": "the same surface", "near": "near duplicate"}[level]
        lines.append(f"- {kind} ({len(names)}): {', '.join(f'`{name}`' for name in names) or 'none'}")
    return "\n".join([*lines, "", "The leaderboard gives every score with and without them."])


def _defects(audit: Audit) -> str:
    counts = audit.counts()
    rows = [f"| {what} | {counts[kind]} |" for kind, what in _DEFECTS.items()]
    return "\n".join([f"Watertight: {audit.watertight} meshes.", "", "| meshes with | |", "|---|---:|", *rows])
