"""Proof that a data folder is what it says: every hash and value, and the Gaussians against surfaces and images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gsbench.core.parsing import InputError
from gsbench.produce.verification.alignment import Alignment, MeshSurfaces, alignment_problems, measure_alignment
from gsbench.produce.verification.sample import ImageCheck, Sample
from gsbench.produce.verification.tables import (
    Seen,
    check_bytes,
    check_files,
    check_split,
    check_table,
    check_totals,
    note,
)
from gsbench.store.folder import Folder, open_folder
from gsbench.store.hashes import HINT
from gsbench.store.leaks import audit_of
from gsbench.store.manifest import MANIFEST
from gsbench.store.origin import COLLECTIONS, Origin, is_reserved, known_objects, origin_of, sources_of, strangers
from gsbench.store.parquet import object_at, read_foot, read_group
from gsbench.store.quality import distribution, read_scores
from gsbench.store.schema import IMAGE_CONFIGS, SPLITS, Schema


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` found.

    Attributes:
        name: the data set's name.
        version: the data set's version.
        fingerprint: sha256 over the shards' hashes.
        shards: number of shards read.
        rows: number of rows read.
        problems: one line each, naming the shard, the object and the column; empty if all is well.
        quality: class name, or `all`, to the mean, least and percentiles of its objects' PSNR in dB.
        worst: object id to its PSNR, the ten lowest.
        alignment: of the Gaussians with the surfaces; None where there are no Gaussians or no points, or problems.
        images: how the images were looked at.
        missing: ids of the official split that are not in the data.
        set_aside: object id to the reason why it is not in the data.
    """

    name: str
    version: str
    fingerprint: str
    shards: int
    rows: int
    problems: tuple[str, ...]
    quality: dict[str, dict[str, float]] = field(default_factory=dict)
    worst: dict[str, float] = field(default_factory=dict)
    alignment: Alignment | None = None
    images: ImageCheck = field(default_factory=ImageCheck)
    missing: tuple[str, ...] = ()
    set_aside: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems


__all__ = ["Alignment", "ImageCheck", "Report", "verify"]

_WORST = 10


def verify(
    path: Path,
    meshes: Path | None = None,
    all_images: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Recomputes every hash of a data folder and checks every value of every column.

    Beyond what one value tells: the counts against the manifest; the objects against the collection that their meshes
    are of, such as ModelNet10's official split; the audit, where the folder has one of its own; the
    Gaussians' centers and thin axes against the surfaces; and on a sample of objects that the stored Gaussians give
    the stored reconstructions, and these their PSNR. Of all other images only the heads are read.

    Args:
        path: the data folder.
        meshes: the folder of the meshes that it was made from, for exact distances; None estimates them from the
            stored points.
        all_images: decode every image.
        progress: called with what is done and what there is in all, in bytes.

    Returns:
        The report, with at most one problem a column and row group. Shards whose bytes differ from the manifest are
        not read any further, and what all shards together show is left out where a single one is wrong.

    Raises:
        InputError: `path` is no data folder, its manifest cannot be read, or `meshes` are no meshes.
    """
    folder = open_folder(path)
    surfaces = None if meshes is None else MeshSurfaces(meshes)
    run = _Run(folder, all_images, progress or _no_progress)
    problems = [*check_files(path, folder.manifest), *run.check_shards()]
    alignment = None
    if not problems:  # the totals of a damaged data set are wrong for a reason that is already told
        problems += run.check_together()
    if not problems:
        alignment = run.measure(surfaces)
        problems += alignment_problems(alignment) if alignment else ()
        problems += surfaces.problems(run.hashes) if surfaces else ()
    return run.report(problems, alignment)


def _no_progress(done: int, total: int) -> None:
    pass


class _Run:
    """One verification: what the shards held so far, and how far it is."""

    def __init__(self, folder: Folder, all_images: bool, progress: Callable[[int, int], None]) -> None:
        manifest = folder.manifest
        self._folder, self._progress = folder, progress
        self._seen: dict[str, Seen] = {config: Seen() for config in manifest.counts}
        first = next(iter(manifest.counts.values()), {})
        objects = sum(sum(of_class.values()) for of_class in first.values())
        antialiased = bool(manifest.recipe.get("fit", {}).get("antialiased", False))
        self._sample = Sample(objects, antialiased, "reconstructions" in manifest.counts, all_images)
        self._objects, self._rows, self._images = objects, 0, 0
        self._origin: Origin | None = None
        self._done = 0
        self._aligning = sum(shard.bytes for name, shard in manifest.shards.items() if name.startswith("gaussians/"))
        self._total = sum(shard.bytes for shard in manifest.shards.values()) + self._aligning

    @property
    def hashes(self) -> dict[str, str]:
        """object_id -> sha256 of its mesh file."""
        return self._seen["gaussians"].hashes if "gaussians" in self._seen else {}

    def check_shards(self) -> Iterator[str]:
        """Hashes every shard, and checks the values of those that are as the manifest says."""
        manifest = self._folder.manifest
        for name in sorted(manifest.shards):
            shard, path = manifest.shards[name], self._folder.path / name
            if found := list(check_bytes(path, name, manifest)):
                yield from found
            else:
                yield from self._check_rows(path, name)
                self._rows += shard.rows
            self._done += shard.bytes
            self._progress(self._done, self._total)

    def _check_rows(self, path: Path, name: str) -> Iterator[str]:
        manifest = self._folder.manifest
        config, split = name.split("/")[0], name.split("/")[1].split("-")[0]
        if config not in self._seen or split not in SPLITS:
            return
        try:
            yield from self._check_groups(path, name, split, manifest.schema(config))
        except InputError as error:  # its hash is right, so that it was broken when it was written
            yield str(error).removeprefix(f"{self._folder.path}/").removesuffix(HINT)

    def _check_groups(self, path: Path, name: str, split: str, schema: Schema) -> Iterator[str]:
        metadata = read_foot(path, self._folder.manifest.shards[name], schema)
        for group in range(metadata.num_row_groups):
            table = read_group(path, metadata, schema, group)
            self._images += len(table) if schema.config in IMAGE_CONFIGS else 0
            found = list(check_table(schema, table))
            for finding in found:
                yield f"{name}: {object_at(table, finding.row)}: {finding.column} {finding.what}"
            if not found:
                yield from (f"{name}: {problem}" for problem in self._sample.take(schema, table))
                yield from note(name, schema.config, split, table, self._seen[schema.config], schema)

    def check_together(self) -> Iterator[str]:
        """What only all shards together show."""
        manifest = self._folder.manifest
        totals = list(check_totals(manifest, self._seen))
        yield from totals
        if "views" in self._seen:
            yield from self._sample.left()
        if totals:  # rows that the manifest does not count cannot be read by it
            return
        yield from self._check_origin()
        try:
            audit_of(self._folder)
        except InputError as error:
            yield str(error).removeprefix(f"{self._folder.path}/")

    def _check_origin(self) -> Iterator[str]:
        """Holds the objects against the collection that they are made from, or are said to be."""
        manifest = self._folder.manifest
        self._origin = origin_of(self._folder)
        if self._origin and self._origin.collection in COLLECTIONS:
            known = known_objects(self._origin.collection)
            official = {object_id: (each.label, each.split) for object_id, each in known.items()}
            yield from check_split(manifest, self._labels(), official, self._origin.part)
        elif manifest.derived_from in COLLECTIONS:
            foreign, _ = strangers(manifest.derived_from, sources_of(self._folder))
            named = f", such as {', '.join(foreign[:_WORST])}" if foreign else ""
            yield f"{MANIFEST}: derived_from is {manifest.derived_from}, whose meshes these are not{named}"
        elif is_reserved(manifest.name):
            yield f"{MANIFEST}: name is {manifest.name}, and neither derived_from nor hashes of meshes say so"

    def _labels(self) -> dict[str, dict[str, str]]:
        return next(iter(self._seen.values())).labels if self._seen else {split: {} for split in SPLITS}

    def measure(self, surfaces: MeshSurfaces | None) -> Alignment | None:
        """Measures the Gaussians against the surfaces."""

        def progress(done: int) -> None:
            self._progress(self._done + self._aligning * done // max(self._objects, 1), self._total)

        return measure_alignment(self._folder, surfaces.of if surfaces else None, progress)

    def report(self, problems: list[str], alignment: Alignment | None) -> Report:
        """Everything that was found."""
        manifest = self._folder.manifest
        scores = read_scores(self._folder) if not problems else None
        groups = {**scores.by_class(), "all": scores.psnr} if scores and scores.ids else {}
        here = {object_id for of_split in self._labels().values() for object_id in of_split}
        whole = self._origin is not None and not self._origin.part and self._origin.collection in COLLECTIONS
        official = known_objects(self._origin.collection) if self._origin and whole else {}
        return Report(
            name=manifest.name,
            version=manifest.version,
            fingerprint=manifest.fingerprint(),
            shards=len(manifest.shards),
            rows=self._rows,
            problems=tuple(problems),
            quality={name: distribution(psnr) for name, psnr in groups.items()},
            worst=scores.worst(_WORST) if scores else {},
            alignment=alignment,
            images=ImageCheck(self._images, self._sample.decoded, self._sample.rendered, self._sample.scored),
            missing=tuple(name for name in official if name not in here),
            set_aside=manifest.set_aside,
        )
