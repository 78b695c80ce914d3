"""Checks a data folder against its manifest and its schema: every hash, every column, every promise of the card."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gsbench.store.checks import check_table
from gsbench.store.folder import open_folder
from gsbench.store.manifest import MANIFEST, Manifest, Regime
from gsbench.store.schema import IMAGE_CONFIGS, SPLITS, Schema
from gsbench.store.shards import MAX_SHARD_BYTES, file_sha256
from gsbench.tasks import all_regimes, ids_sha256, regime_ids

_CARDS = ("README.md", "eval.yaml")


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
    """

    name: str
    version: str
    fingerprint: str
    shards: int
    rows: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems


@dataclass(slots=True)
class _Seen:
    """What the shards of one config held, for the checks across shards, splits and configs."""

    labels: dict[str, dict[str, str]] = field(default_factory=lambda: {split: {} for split in SPLITS})
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    hashes: dict[str, str] = field(default_factory=dict)
    duplicates: dict[str, str] = field(default_factory=dict)
    draws: dict[str, set[str]] = field(default_factory=dict)
    views: dict[str, tuple[int, ...]] = field(default_factory=dict)


def verify(path: Path, progress: Callable[[int, int], None] | None = None) -> Report:
    """Recomputes every hash of a data folder and checks every value of every column.

    Args:
        path: the data folder.
        progress: called with the bytes done and the bytes in all.

    Returns:
        The report, with at most one problem a column and row group. Shards whose bytes differ from the manifest are not
        read any further.

    Raises:
        ValueError: `path` is no data folder, or its manifest cannot be read.
    """
    manifest = open_folder(path).manifest
    problems = list(_check_files(path, manifest))
    seen: dict[str, _Seen] = {config: _Seen() for config in manifest.counts}
    total = sum(shard.bytes for shard in manifest.shards.values())
    done = rows = 0
    for name in sorted(manifest.shards):
        shard = manifest.shards[name]
        found = list(_check_bytes(path / name, name, manifest))
        if not found:
            found = list(_check_rows(path / name, name, manifest, seen))
            rows += shard.rows
        problems += found
        done += shard.bytes
        if progress:
            progress(done, total)
    if not problems:  # the totals of a damaged data set are wrong for a reason that is already told
        problems += _check_totals(manifest, seen)
    return Report(manifest.name, manifest.version, manifest.fingerprint(), len(manifest.shards), rows, tuple(problems))


def _check_files(path: Path, manifest: Manifest) -> Iterator[str]:
    """Finds shards that the manifest does not know, or whose numbers have gaps, and missing cards."""
    listed = set(manifest.shards)
    present = {str(file.relative_to(path).as_posix()) for file in path.glob("*/*.parquet")}
    for name in sorted(present - listed):
        yield f"{name}: not in {MANIFEST}"
    for config, splits in manifest.counts.items():
        for split in splits:
            names = manifest.shards_of(config, split)
            expected = [f"{config}/{split}-{i:05d}-of-{len(names):05d}.parquet" for i in range(len(names))]
            if names != expected or not names:
                yield f"{MANIFEST}: the shards of {config}, {split} are {names} (must be numbered without gaps)"
            listed -= set(names)
    for name in sorted(listed):
        yield f"{MANIFEST}: {name} belongs to no config and split that it counts"
    for name in _CARDS:
        if not (path / name).is_file():
            yield f"{name}: missing"


def _check_bytes(path: Path, name: str, manifest: Manifest) -> Iterator[str]:
    shard = manifest.shards[name]
    if not path.is_file():
        yield f"{name}: missing"
    elif path.stat().st_size != shard.bytes:
        yield f"{name}: {path.stat().st_size} bytes, {MANIFEST} says {shard.bytes}"
    elif (digest := file_sha256(path)) != shard.sha256:
        yield f"{name}: sha256 is {digest[:12]}..., {MANIFEST} says {shard.sha256[:12]}..."
    elif shard.bytes > MAX_SHARD_BYTES:
        yield f"{name}: {shard.bytes} bytes (at most {MAX_SHARD_BYTES})"


def _check_rows(path: Path, name: str, manifest: Manifest, seen: dict[str, _Seen]) -> Iterator[str]:
    config, split = name.split("/")[0], name.split("/")[1].split("-")[0]
    if config not in seen or split not in SPLITS:
        return
    schema = manifest.schema(config)
    with pq.ParquetFile(path) as file:
        stored = file.schema_arrow
        if not stored.equals(schema.arrow(), check_metadata=True):
            yield f"{name}: {_schema_difference(stored, schema)}"
            return
        if file.metadata.num_rows != manifest.shards[name].rows:
            yield f"{name}: {file.metadata.num_rows} rows, {MANIFEST} says {manifest.shards[name].rows}"
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            ids = table["object_id"].to_pylist()
            for finding in check_table(schema, table):
                yield f"{name}: {ids[finding.row]}: {finding.column} {finding.what}"
            yield from _note(name, config, split, table, seen[config], schema)


def _schema_difference(stored: pa.Schema, schema: Schema) -> str:
    expected = schema.arrow()
    if stored.names != expected.names:
        return f"columns are {', '.join(stored.names)} (must be {', '.join(expected.names)})"
    for have, want in zip(stored, expected, strict=True):
        if not have.equals(want):
            return f"column {have.name} is {have.type} (must be {want.type}, {'' if want.nullable else 'not '}null)"
    return "the features in the schema's `huggingface` entry differ from the data set's"


def _note(name: str, config: str, split: str, table: pa.Table, seen: _Seen, schema: Schema) -> Iterator[str]:
    """Takes down what the checks across tables need; finds rows out of order on the way."""
    labels = seen.labels[split]
    last = next(reversed(labels), "")
    has_images = config in IMAGE_CONFIGS
    view_numbers = table["view"].to_pylist() if has_images else [0] * len(table)
    for object_id, label, view in zip(
        table["object_id"].to_pylist(), table["label"].to_pylist(), view_numbers, strict=True
    ):
        follows = view > seen.views[object_id][-1] if has_images and object_id == last else object_id > last
        if not follows:
            yield f"{name}: {object_id}: object_id out of order or twice"
            return
        if not 0 <= label < len(schema.classes):
            return  # already told
        labels[object_id], last = schema.classes[label], object_id
        seen.counts[split][schema.classes[label]] += 1
        seen.views[object_id] = (*seen.views.get(object_id, ()), view)
    if config == "gaussians":
        ids = table["object_id"].to_pylist()
        seen.hashes.update(zip(ids, table["mesh_sha256"].to_pylist(), strict=True))
        duplicates = zip(ids, table["duplicate_of"].to_pylist(), strict=True)
        seen.duplicates.update({object_id: first for object_id, first in duplicates if first is not None})
        draws = zip(ids, table["regime_draws"].to_pylist(), strict=True)
        seen.draws.update({object_id: set(names) for object_id, names in draws})


def _check_totals(manifest: Manifest, seen: dict[str, _Seen]) -> Iterator[str]:
    reference = seen[next(iter(seen))]
    shared = set(reference.labels["train"]) & set(reference.labels["test"])
    if shared:
        yield f"{min(shared)}: in train and in test"
    for config, one in seen.items():
        for split in SPLITS:
            if one.labels[split] != reference.labels[split]:
                differing = min(set(one.labels[split].items()) ^ set(reference.labels[split].items()))[0]
                yield f"{config}, {split}: {differing} is not the same object as in {next(iter(seen))}"
            counts = {name: one.counts[split][name] for name in manifest.classes}
            stated = manifest.counts[config].get(split)
            if stated != counts:
                yield f"{MANIFEST}: counts of {config}, {split} are {stated}, found {counts}"
    for config in IMAGE_CONFIGS:
        if config in seen and len(set(seen[config].views.values())) != 1:
            yield f"{config}: the objects differ in their view numbers"
    for object_id in sorted(set(manifest.set_aside) & (set(reference.labels["train"]) | set(reference.labels["test"]))):
        yield f"{MANIFEST}: {object_id} is set aside and yet in the data"
    yield from _check_regimes(manifest, reference.labels["train"], seen.get("gaussians"))
    if "gaussians" in seen:
        yield from _check_duplicates(seen["gaussians"])


def _check_regimes(manifest: Manifest, labels: dict[str, str], gaussians: _Seen | None) -> Iterator[str]:
    regimes = {f"{regime}/{draw}": regime_ids(labels, regime, draw) for regime, draw in all_regimes()}
    expected = {name: Regime(len(ids), ids_sha256(ids)) for name, ids in regimes.items()}
    for name in sorted(expected.keys() | manifest.regimes.keys()):
        if manifest.regimes.get(name) != expected.get(name):
            yield f"{MANIFEST}: regime {name} is {manifest.regimes.get(name)}, found {expected.get(name)}"
    if gaussians is None:
        return
    members = {name: set(ids) for name, ids in regimes.items()}
    for object_id, draws in gaussians.draws.items():
        right = {name for name, ids in members.items() if object_id in ids}
        if draws != right:
            yield f"{object_id}: regime_draws are {sorted(draws)}, must be {sorted(right)}"
            return


def _check_duplicates(gaussians: _Seen) -> Iterator[str]:
    first: dict[str, str] = {}
    for object_id, digest in sorted(gaussians.hashes.items()):
        original = first.setdefault(digest, object_id)
        right = None if original == object_id else original
        if gaussians.duplicates.get(object_id) != right:
            yield f"{object_id}: duplicate_of is {gaussians.duplicates.get(object_id)}, must be {right}"
            return
