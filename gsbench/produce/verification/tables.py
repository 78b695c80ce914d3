"""What must hold for the values of each config beyond what every reader checks, one table at a time."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float

from gsbench.core.tasks import all_regimes, ids_sha256, regime_ids
from gsbench.core.types import Array
from gsbench.produce.verification.sample import check_reconstructions, check_views
from gsbench.store.arrays import ragged, rows_of
from gsbench.store.folder import Folder
from gsbench.store.manifest import MANIFEST, MAX_SHARD_BYTES, Manifest, Regime
from gsbench.store.parquet import naming
from gsbench.store.schema import IMAGE_CONFIGS, SPLITS, Schema
from gsbench.store.shards import file_sha256
from gsbench.store.values import Finding, check_values, first_row, first_value

_SPHERE_TOLERANCE = 2e-3
_LARGEST_MEAN_SCALE = 0.5


def check_table(schema: Schema, table: pa.Table) -> Iterator[Finding]:
    """Yields the first bad row of every column whose values break a promise of the data set.

    Args:
        schema: the config's.
        table: all columns of some rows of it, with exactly the schema's Arrow types.
    """
    broken = list(check_values(schema, table))
    yield from broken
    if broken:
        return  # orders and cameras are those of sound values
    checks = {
        "gaussians": _check_gaussians,
        "points": _check_points,
        "views": check_views,
        "reconstructions": check_reconstructions,
    }
    yield from checks[schema.config](table)


def _check_gaussians(table: pa.Table) -> Iterator[Finding]:
    yield from _check_mean_scales(*ragged(table["scales"], (3,)))
    for row, (means, order) in enumerate(zip(rows_of(table["means"], (3,)), rows_of(table["fps_order"]), strict=True)):
        if means is not None and order is not None and not _is_furthest_first(means, order):
            yield Finding(row, "fps_order", "is not a furthest-point order of the means")
            break


def _check_mean_scales(scales: Float[Array, "n 3"], offsets: Array) -> Iterator[Finding]:
    sums = np.append(np.cumsum(scales.mean(1, dtype=np.float64)), 0)  # behind the last stands what is before the first
    means = (sums[offsets[1:] - 1] - sums[offsets[:-1] - 1]) / np.maximum(np.diff(offsets), 1)
    what = f"has a mean above {_LARGEST_MEAN_SCALE}, no scales of parts of an object inside the unit sphere"
    yield from first_row(means > _LARGEST_MEAN_SCALE, "scales", what)


def _check_points(table: pa.Table) -> Iterator[Finding]:
    yield from first_value(ragged(table["points"], (3,)), _outside_sphere, "points", "leaves the unit sphere")
    for row, cloud in enumerate(rows_of(table["points"], (3,))):
        if cloud is not None and not _is_furthest_first(cloud, np.arange(len(cloud))):
            yield Finding(row, "points", "is not in furthest-point order")
            break


def _is_furthest_first(points: Float[Array, "n 3"], order: Array) -> bool:
    from gsbench.produce.verification.kernels import first_breach  # here, since numba takes .4 s to load

    x, y, z = np.ascontiguousarray(points.T, np.float32)
    return bool(first_breach(x, y, z, order.astype(np.int64)) < 0)


def _outside_sphere(points: Float[Array, "n 3"]) -> Bool[Array, " n"]:
    return np.linalg.norm(points, axis=1) > 1 + _SPHERE_TOLERANCE


_BATCH = 32


def iterate_rows(
    folder: Folder, config: str, split: str, columns: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, dict[str, Array | None]]]:
    """Yields every object id of a config with a row an object, and the arrays of its row.

    Args:
        folder: an open data folder whose shards are sound.
        config: `gaussians` or `points`.
        split: `train` or `test`.
        columns: of arrays, each with the shape of one element, as for `gsbench.store.arrays.ragged`.
    """
    for shard in folder.manifest.shards_of(config, split):
        path = (folder.path / shard).absolute()  # Arrow takes `~` for the home
        with naming(path), pq.ParquetFile(path, memory_map=True) as file:
            for batch in file.iter_batches(_BATCH, columns=["object_id", *columns]):
                table = pa.Table.from_batches([batch])
                arrays = {name: rows_of(table[name], inner) for name, inner in columns.items()}
                for row, object_id in enumerate(table["object_id"].to_pylist()):
                    yield object_id, {name: values[row] for name, values in arrays.items()}


def check_files(path: Path, manifest: Manifest) -> Iterator[str]:
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
    if not (path / "README.md").is_file():
        yield "README.md: missing"


def check_bytes(path: Path, name: str, manifest: Manifest) -> Iterator[str]:
    """Compares one shard's size and sha256 with the manifest's."""
    shard = manifest.shards[name]
    if not path.is_file():
        yield f"{name}: missing"
    elif path.stat().st_size != shard.bytes:
        yield f"{name}: {path.stat().st_size} bytes, {MANIFEST} says {shard.bytes}"
    elif (digest := file_sha256(path)) != shard.sha256:
        yield f"{name}: sha256 is {digest[:12]}..., {MANIFEST} says {shard.sha256[:12]}..."
    elif shard.bytes > MAX_SHARD_BYTES:
        yield f"{name}: {shard.bytes} bytes (at most {MAX_SHARD_BYTES})"


_NAMED = 10


@dataclass(slots=True)
class Seen:
    """What the shards of one config held."""

    labels: dict[str, dict[str, str]] = field(default_factory=lambda: {split: {} for split in SPLITS})
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    hashes: dict[str, str] = field(default_factory=dict)
    duplicates: dict[str, str] = field(default_factory=dict)
    draws: dict[str, set[str]] = field(default_factory=dict)
    views: dict[str, tuple[int, ...]] = field(default_factory=dict)


def note(name: str, config: str, split: str, table: pa.Table, seen: Seen, schema: Schema) -> Iterator[str]:
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


def check_totals(manifest: Manifest, seen: Mapping[str, Seen]) -> Iterator[str]:
    """Compares the configs with each other and with the manifest."""
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


def _check_regimes(manifest: Manifest, labels: dict[str, str], gaussians: Seen | None) -> Iterator[str]:
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


def _check_duplicates(gaussians: Seen) -> Iterator[str]:
    first: dict[str, str] = {}
    for object_id, digest in sorted(gaussians.hashes.items()):
        original = first.setdefault(digest, object_id)
        right = None if original == object_id else original
        if gaussians.duplicates.get(object_id) != right:
            yield f"{object_id}: duplicate_of is {gaussians.duplicates.get(object_id)}, must be {right}"
            return


def check_split(
    manifest: Manifest,
    labels: Mapping[str, Mapping[str, str]],
    official: Mapping[str, tuple[str, str]],
    part: bool,
) -> Iterator[str]:
    """Compares the objects with the split that they claim to be of.

    Args:
        manifest: says which objects are set aside or missing.
        labels: split -> object_id -> class name.
        official: object_id -> class name and split.
        part: whether they are a part, which need not say what it lacks.
    """
    here = {object_id: (label, split) for split in SPLITS for object_id, label in labels[split].items()}
    if foreign := sorted(here.keys() - official.keys()):
        yield f"{len(foreign)} objects are not in the official split: {_named(foreign)}"
    wrong = sorted(name for name in here.keys() & official.keys() if here[name] != official[name])
    if wrong:
        moved = [f"{name} ({'/'.join(here[name])}, not {'/'.join(official[name])})" for name in wrong]
        yield f"{len(wrong)} objects are not where the official split has them: {_named(moved)}"
    if not part and (lost := sorted(official.keys() - here.keys() - set(manifest.set_aside) - set(manifest.missing))):
        yield (
            f"{MANIFEST}: {len(lost)} objects of the official split are neither in the data, nor set aside, nor said "
            f"to be missing: {_named(lost)}"
        )
    if found := sorted(here.keys() & set(manifest.missing)):
        yield f"{MANIFEST}: {len(found)} objects are said to be missing and yet in the data: {_named(found)}"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
