"""What must hold for the values of each config beyond what every reader checks, one table at a time."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float

from gsbench.core.types import Array
from gsbench.produce.verification.sample import check_reconstructions, check_views
from gsbench.store.arrays import ragged, rows_of
from gsbench.store.folder import Folder
from gsbench.store.manifest import MANIFEST, MAX_SHARD_BYTES, Manifest
from gsbench.store.parquet import naming
from gsbench.store.schema import Schema
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


_CARDS = ("README.md", "eval.yaml")


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
    for name in _CARDS:
        if not (path / name).is_file():
            yield f"{name}: missing"


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
