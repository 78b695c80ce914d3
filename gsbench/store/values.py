"""What must hold for every value of a table of a data set, whichever of its columns were read.

Each check yields the first row that breaks it, so that a reader can name the object and the column.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int64

from gsbench.core.parsing import InputError, check_id
from gsbench.core.types import Array
from gsbench.store.arrays import as_numpy, list_lengths, ragged
from gsbench.store.schema import CAMERAS, MAX_FPS_ORDER, Column, Schema

# Stored floats may be rounded to 8 mantissa bits: a relative error of 2^-9.
_UNIT_TOLERANCE = 2e-3


class Finding(NamedTuple):
    """A row of the table and a column of it that are wrong, and how."""

    row: int
    column: str
    what: str


def first_row(bad: Bool[Array, " b"], column: str, what: str) -> Iterator[Finding]:
    """Yields the first row that is bad, if one is."""
    if bad.any():
        yield Finding(int(bad.argmax()), column, what)


def first_value(
    values: tuple[Array, Int64[Array, " b_plus_1"]], is_bad: Callable[[Array], Array], column: str, what: str
) -> Iterator[Finding]:
    """Yields the row of the first value of `ragged`'s that is bad, if one is."""
    flat, offsets = values
    bad = is_bad(flat)
    if bad.any():
        yield Finding(int(np.searchsorted(offsets, bad.argmax(), side="right")) - 1, column, what)


def check_values(schema: Schema, table: pa.Table) -> Iterator[Finding]:
    """Yields the first bad row of every column whose values break a promise of the schema.

    Args:
        schema: the config's.
        table: rows of it, of any of its columns, each with exactly its Arrow type.
    """
    columns = [column for column in schema.columns if column.name in table.column_names]
    broken = [finding for column in columns for finding in _check_shape(schema, column, table[column.name])]
    yield from broken
    if broken:
        return  # nothing below can be read as arrays
    for column in columns:
        if column.dtype == "string":
            yield from _check_strings(column.name, table[column.name])
        elif column.dtype == "float32" and not column.shape:
            yield from first_row(~np.isfinite(as_numpy(table[column.name])), column.name, "is not finite")
        elif column.dtype == "label":
            labels = as_numpy(table["label"])
            yield from first_row((labels < 0) | (labels >= len(schema.classes)), "label", "is no index of a class")
    arrays = {name: table[name] for name in table.column_names}
    for check in (_check_lengths, _check_gaussians, _check_order, _check_normals):
        yield from check(arrays)


def _check_shape(schema: Schema, column: Column, values: pa.ChunkedArray) -> Iterator[Finding]:
    """Finds arrays whose fixed dimensions differ from the schema's, and floats that are not finite."""
    shape = schema.shape_of(column)
    if not shape or column.dtype == "string":
        return
    lists = values.combine_chunks()
    owners = np.arange(len(lists))
    for depth, want in enumerate(shape):
        lengths = list_lengths(lists)
        if want is not None and (bad := (lengths != want) & as_numpy(lists.is_valid())).any():
            what = f"has {lengths[bad.argmax()]} values in dimension {depth}, not {want}"
            yield Finding(int(owners[bad.argmax()]), column.name, what)
            return
        owners = np.repeat(owners, lengths)
        lists = lists.flatten()
    if pa.types.is_floating(lists.type) and not (finite := np.isfinite(as_numpy(lists))).all():
        yield Finding(int(owners[finite.argmin()]), column.name, "is not finite")


def _check_strings(name: str, values: pa.ChunkedArray) -> Iterator[Finding]:
    try:
        values.validate(full=True)  # Parquet does not say whether bytes are UTF-8
    except pa.ArrowException:
        yield Finding(0, name, "of this row, or of one after it, is no UTF-8")
        return
    if name == "object_id":
        for text in pc.unique(values).to_pylist():
            try:
                check_id("object_id", text)
            except InputError as error:
                yield Finding(values.to_pylist().index(text), name, str(error).removeprefix("object_id "))
                return
    elif name == "mesh_sha256":
        is_digest = as_numpy(pc.match_substring_regex(values, "^[0-9a-f]{64}$"))
        yield from first_row(~is_digest, name, "is no sha256")
    elif name == "cameras":
        for text in set(pc.unique(values).to_pylist()) - set(CAMERAS):
            yield Finding(values.to_pylist().index(text), name, f"is none of {', '.join(CAMERAS)}")
            return


def _offsets(values: pa.ChunkedArray) -> Int64[Array, " b_plus_1"]:
    lengths = list_lengths(values.combine_chunks())
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _check_lengths(table: Mapping[str, pa.ChunkedArray]) -> Iterator[Finding]:
    """Of the arrays of Gaussians: they are of one length, which `num_gaussians` says, and not empty."""
    if "num_gaussians" in table:
        yield from first_row(as_numpy(table["num_gaussians"]) < 1, "num_gaussians", "is below 1")
    if "points" in table:
        yield from first_row(np.diff(_offsets(table["points"])) < 1, "points", "has no points")
    names = [name for name in ("means", "quats", "scales", "opacities", "sh") if name in table]
    if not names:
        return
    first = "num_gaussians" if "num_gaussians" in table else names[0]
    counts = as_numpy(table[first]) if first == "num_gaussians" else np.diff(_offsets(table[first]))
    yield from first_row(counts < 1, names[0], "is empty")
    for name in names:
        differs = np.diff(_offsets(table[name])) != counts
        yield from first_row(differs, name, f"differs in length from {first}")


def _check_gaussians(table: Mapping[str, pa.ChunkedArray]) -> Iterator[Finding]:
    if "quats" in table:
        yield from first_value(ragged(table["quats"], (4,)), _not_unit, "quats", "has a quaternion that is not unit")
    if "scales" in table:
        what = "has a scale <= 0 (scales are linear, no logarithms)"
        yield from first_value(ragged(table["scales"], (3,)), _not_positive, "scales", what)
    if "opacities" in table:
        what = "leaves 0..1 (opacities are linear, no logits)"
        yield from first_value(ragged(table["opacities"]), _outside_01, "opacities", what)
    if "ssim" in table:
        yield from first_row(np.abs(as_numpy(table["ssim"])) > 1, "ssim", "leaves -1..1")


def _check_order(table: Mapping[str, pa.ChunkedArray]) -> Iterator[Finding]:
    """Of the furthest-point order: it names Gaussians that there are, once, and as many as it must."""
    if "fps_order" not in table:
        return
    counted = next((name for name in ("means", "num_gaussians") if name in table), None)
    order, offsets = ragged(table["fps_order"])
    lengths = np.diff(offsets)
    if counted is None:
        counts = lengths
    else:
        values = table[counted]
        counts = np.diff(_offsets(values)) if counted == "means" else as_numpy(values)
        for row in np.flatnonzero(lengths != np.minimum(counts, MAX_FPS_ORDER))[:1]:
            what = f"has {lengths[row]} entries, not {min(counts[row], MAX_FPS_ORDER)}"
            yield Finding(int(row), "fps_order", what)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    outside = (order < 0) | (order >= (counts[owners] if counted else np.iinfo(np.int32).max))
    if outside.any():
        yield Finding(int(owners[outside.argmax()]), "fps_order", "leaves the range of the Gaussians")
        return
    names = np.sort((owners << 32) + order)
    if (twice := names[1:] == names[:-1]).any():
        yield Finding(int(names[twice.argmax()] >> 32), "fps_order", "names a Gaussian twice")


def _check_normals(table: Mapping[str, pa.ChunkedArray]) -> Iterator[Finding]:
    if "normals" not in table:
        return
    normals = ragged(table["normals"], (3,))
    if "points" in table:
        missing = as_numpy(table["normals"].is_null())
        differs = ~missing & (np.diff(_offsets(table["points"])) != np.diff(normals[1]))
        yield from first_row(differs, "normals", "differs in length from points")
    yield from first_value(normals, _not_unit, "normals", "has a normal that is not unit")


def _not_unit(vectors: Float[Array, "n d"]) -> Bool[Array, " n"]:
    return np.abs(np.linalg.norm(vectors.astype(np.float32), axis=1) - 1) > _UNIT_TOLERANCE


def _not_positive(scales: Float[Array, "n 3"]) -> Bool[Array, " n"]:
    return (scales <= 0).any(axis=1)


def _outside_01(values: Float[Array, " n"]) -> Bool[Array, " n"]:
    return (values < 0) | (values > 1)
