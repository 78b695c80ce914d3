"""Rows of numpy arrays to Arrow tables and back, without a Python loop over values."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64

from gsbench.core.parsing import InputError
from gsbench.core.types import Array, Gaussians
from gsbench.store.schema import GAUSSIAN_COLUMNS, Column, FloatType, Schema

Row = Mapping[str, Any]
"""One row: column name to value. Arrays are numpy arrays, an image is its encoded bytes, a label its class name."""

_MANTISSA_BITS = 23
_SMALLEST_FLOAT16 = np.float32(2**-24)


def encode(schema: Schema, rows: Sequence[Row]) -> pa.Table:
    """The rows as a table of the config's Arrow schema; raises as `encode_columns`."""
    return pa.Table.from_arrays(encode_columns(schema, schema.columns, rows), schema=schema.arrow())


def encode_columns(schema: Schema, columns: Sequence[Column], rows: Sequence[Row]) -> list[pa.Array]:
    """Some of the config's columns of the rows.

    Raises:
        InputError: a value whose shape or dtype is not the column's; the message names the object and the column.
    """
    arrow = schema.arrow()
    return [_encode_column(schema, column, arrow.field(column.name), rows) for column in columns]


def _encode_column(schema: Schema, column: Column, field: pa.Field, rows: Sequence[Row]) -> pa.Array:
    values = [row[column.name] for row in rows]
    if column.dtype == "label":
        return pa.array([schema.classes.index(value) for value in values], pa.int64())
    if column.dtype == "image":
        return pa.array([{"bytes": value, "path": None} for value in values], field.type)
    if not column.shape or column.dtype == "string":
        return pa.array(values, field.type)
    dtype = np.dtype(schema.dtype_of(column))
    for i, (row, value) in enumerate(zip(rows, values, strict=True)):
        if value is not None:
            _check_array(value, column, schema.shape_of(column), row["object_id"])
            values[i] = _narrow(value, dtype, f"{row['object_id']}: {column.name}")
    return _nest(values, field.type, schema.shape_of(column))


def _check_array(value: Array, column: Column, shape: tuple[int | None, ...], object_id: str) -> None:
    fits = len(value.shape) == len(shape) and all(
        want is None or have == want for have, want in zip(value.shape, shape, strict=True)
    )
    dtype = "float32" if column.dtype == "gaussian" else column.dtype
    if not fits or value.dtype != dtype:
        expected = " ".join("n" if dim is None else str(dim) for dim in shape)
        raise InputError(
            f"{object_id}: {column.name} is {value.dtype} {list(value.shape)} (must be {dtype} [{expected}])"
        )


def _narrow(value: Array, dtype: np.dtype[Any], what: str) -> Array:
    """The same numbers as `dtype`; InputError if it does not hold them exactly."""
    if value.dtype == dtype:
        return value
    narrow = value.astype(dtype)
    if not np.array_equal(narrow.astype(value.dtype), value, equal_nan=True):
        raise InputError(f"{what} holds numbers that {dtype} does not (round them by `round_gaussians` first)")
    return narrow


def _nest(values: Sequence[Array | None], arrow_type: pa.DataType, shape: tuple[int | None, ...]) -> pa.Array:
    """A list array of arrays that differ in their first dimension only; None becomes null."""
    present = [np.ascontiguousarray(value) for value in values if value is not None]
    flat = np.concatenate([value.reshape(-1) for value in present]) if present else np.empty(0)
    types = [arrow_type]
    while pa.types.is_list(types[-1].value_type):
        types.append(types[-1].value_type)
    nested = pa.array(flat, types[-1].value_type)
    for kind, width in zip(reversed(types[1:]), reversed(shape[1:]), strict=True):
        assert width is not None
        nested = pa.ListArray.from_arrays(pa.array(np.arange(0, len(nested) + 1, width, dtype=np.int32)), nested, kind)
    lengths = [0 if value is None else len(value) for value in values]
    offsets = pa.array(np.cumsum([0, *lengths], dtype=np.int32))
    null = pa.array([value is None for value in values]) if len(present) < len(values) else None
    return pa.ListArray.from_arrays(offsets, nested, arrow_type, mask=null)


def as_numpy(values: pa.Array | pa.ChunkedArray) -> Array:
    """Numbers or booleans, none of them null, as a numpy array: a view of Arrow's memory where it is one chunk.

    Arrow's own `to_numpy` loads pandas first, which takes a second.
    """
    assert not values.null_count, "null has no number"
    if pa.types.is_boolean(values.type):
        return as_numpy(values.cast(pa.uint8())).astype(np.bool_)
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    dtype = np.dtype(array.type.to_pandas_dtype())
    return np.frombuffer(array.buffers()[1] or b"", dtype, len(array), array.offset * dtype.itemsize)


def list_lengths(lists: pa.ListArray) -> Int64[Array, " b"]:
    """How many elements each row has; none where it is null."""
    offsets = np.frombuffer(lists.buffers()[1] or bytes(4), np.int32)[lists.offset :][: len(lists) + 1]
    lengths = np.diff(offsets).astype(np.int64)
    return lengths * as_numpy(lists.is_valid()) if lists.null_count else lengths


def ragged(column: pa.ChunkedArray, inner: tuple[int, ...] = ()) -> tuple[Array, Int64[Array, " b_plus_1"]]:
    """A list or array column as one numpy array and the rows' offsets into it.

    Args:
        column: of a table that `read_table` returned.
        inner: shape of one element: `(3,)` for means, `(k, 3)` for SH, `()` for lists.

    Returns:
        `[total *inner]` values of all rows one after the other (a view of Arrow's memory, read-only, if the column is
        one chunk), and the `b + 1` offsets: row i is `values[offsets[i]:offsets[i + 1]]`. A null row is empty.
    """
    chunks = column.chunks
    parts = [_flat(chunk).reshape(-1, *inner) for chunk in chunks]
    lengths = [list_lengths(chunk) for chunk in chunks]
    offsets = np.zeros(len(column) + 1, np.int64)
    if chunks:
        np.cumsum(np.concatenate(lengths), out=offsets[1:])
    if len(parts) == 1:
        return parts[0], offsets
    return (np.concatenate(parts) if parts else np.empty((0, *inner))), offsets


def gaussians_of(row: pa.Table, schema: Schema) -> Gaussians:
    """The Gaussians of a table of one row with the columns `GAUSSIAN_COLUMNS`, in float32."""
    arrays = (ragged(row[name], schema.inner_shape(name))[0] for name in GAUSSIAN_COLUMNS)
    return Gaussians(*(np.array(values, np.float32) for values in arrays))


def rows_of(column: pa.ChunkedArray, inner: tuple[int, ...] = ()) -> list[Array | None]:
    """A list or array column as one numpy array a row, views of `ragged`'s; None where the column is null."""
    values, offsets = ragged(column, inner)
    rows = [values[start:stop] for start, stop in pairwise(offsets)]
    if not column.null_count:
        return rows
    return [row if valid else None for row, valid in zip(rows, column.is_valid().to_pylist(), strict=True)]


def _flat(chunk: pa.ListArray) -> Array:
    values = chunk.flatten()
    while pa.types.is_list(values.type):
        values = values.flatten()
    return as_numpy(values)


def round_floats(values: Float32[Array, "*shape"], bits: int) -> Float32[Array, "*shape"]:
    """Rounds finite float32 values to `bits` explicit mantissa bits (0..23): a relative error of at most 2^-(bits+1).

    The dropped bits become zero, which is what lets the shards compress.
    """
    if not 0 <= bits <= _MANTISSA_BITS:
        raise InputError(f"bits: {bits} (allowed: 0 to {_MANTISSA_BITS})")
    drop = _MANTISSA_BITS - bits
    if not drop:
        return values
    words = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (words + np.uint32(1 << (drop - 1))) >> np.uint32(drop) << np.uint32(drop)
    return rounded.view(np.float32)


def round_gaussians(gaussians: Gaussians, bits: int, float_type: FloatType) -> Gaussians:
    """The Gaussians as a data set of `float_type` holds them, in float32, rounded to `bits` mantissa bits (0..23).

    A float16 has 10 bits. A scale too small for it becomes its smallest number, 2^-24, since 0 is no scale.
    """
    fields = {name: round_floats(getattr(gaussians, name), bits) for name in GAUSSIAN_COLUMNS}
    if float_type == "float16":
        fields["scales"] = np.maximum(fields["scales"], _SMALLEST_FLOAT16)
        fields = {name: values.astype(np.float16).astype(np.float32) for name, values in fields.items()}
    return Gaussians(**fields)
