import numpy as np
import pyarrow as pa
import pytest

from gsbench.core.types import Gaussians
from gsbench.store.arrays import encode, ragged, round_floats, round_gaussians, rows_of
from gsbench.store.schema import GAUSSIAN_COLUMNS, Schema
from tests.store.conftest import gaussian_row, points_row

GAUSSIANS = Schema("gaussians", ("chair", "sofa"), 4)
POINTS = Schema("points", ("chair", "sofa"))


def gaussian_rows() -> list[dict[str, object]]:
    return [{**gaussian_row(f"chair_{i:04d}"), "label": "chair", "regime_draws": ["100/0"]} for i in range(1, 6)]


@pytest.mark.parametrize(("name", "inner"), [("means", (3,)), ("sh", (4, 3)), ("opacities", ()), ("fps_order", ())])
def test_arrays_come_back_as_they_went_in(name: str, inner: tuple[int, ...]) -> None:
    rows = gaussian_rows()
    back = rows_of(encode(GAUSSIANS, rows)[name], inner)
    for row, values in zip(rows, back, strict=True):
        assert values is not None
        assert values.dtype == row[name].dtype
        np.testing.assert_array_equal(values, row[name])


def test_chunks_and_slices_change_nothing() -> None:
    rows = gaussian_rows()
    whole = encode(GAUSSIANS, rows)
    pieces = pa.concat_tables([whole.slice(1, 2), whole.slice(3, 1)])
    values, offsets = ragged(pieces["sh"], (4, 3))
    expected = [row["sh"] for row in rows[1:4]]
    np.testing.assert_array_equal(values, np.concatenate(expected))
    np.testing.assert_array_equal(offsets, np.cumsum([0, *map(len, expected)]))


def test_ragged_of_one_chunk_copies_nothing() -> None:
    column = encode(GAUSSIANS, gaussian_rows())["means"]
    values, _ = ragged(column, (3,))
    leaf = column.chunk(0).flatten().flatten()
    assert values.ctypes.data == leaf.buffers()[1].address


def test_rows_without_normals_stay_without() -> None:
    rows = [{**points_row(f"chair_{i:04d}"), "label": "chair"} for i in range(1, 4)]
    rows[1]["normals"] = None
    table = encode(POINTS, rows)
    first, second, third = rows_of(table["normals"], (3,))
    assert second is None
    np.testing.assert_array_equal(first, rows[0]["normals"])
    np.testing.assert_array_equal(third, rows[2]["normals"])
    assert table["normals"].null_count == 1
    np.testing.assert_array_equal(ragged(table["normals"], (3,))[1], [0, 40, 40, 80])


def test_a_table_of_no_rows_is_empty() -> None:
    values, offsets = ragged(encode(GAUSSIANS, [])["sh"], (4, 3))
    assert values.shape == (0, 4, 3)
    assert offsets.tolist() == [0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("means", np.zeros((5, 4), np.float32)),
        ("means", np.zeros((5, 3), np.float64)),
        ("sh", np.zeros((5, 9, 3), np.float32)),
        ("opacities", np.zeros((5, 1), np.float32)),
        ("fps_order", np.zeros(5, np.int64)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, value: np.ndarray) -> None:
    row = {**gaussian_rows()[0], name: value}
    with pytest.raises(ValueError, match=rf"chair_0001: {name} is {value.dtype} \[5"):
        encode(GAUSSIANS, [row])


@pytest.mark.parametrize("bits", [0, 8, 10, 16, 22])
def test_rounding_errs_by_half_a_unit_at_most(bits: int) -> None:
    values = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    rounded = round_floats(values, bits)
    assert (np.abs(rounded - values) <= np.abs(values) * 2.0 ** -(bits + 1)).all()
    assert not np.array_equal(rounded, values)
    assert not (rounded.view(np.uint32) & ((1 << (23 - bits)) - 1)).any()
    np.testing.assert_array_equal(round_floats(rounded, bits), rounded)


def test_rounding_keeps_exact_values_and_signs() -> None:
    values = np.array([0.0, -0.0, 1.0, -0.5, 2.0**-126], np.float32)
    np.testing.assert_array_equal(round_floats(values, 4).view(np.uint32), values.view(np.uint32))
    arbitrary = np.random.default_rng(1).normal(size=10).astype(np.float32)
    assert round_floats(arbitrary, 23) is arbitrary


def test_rounding_to_more_bits_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed: 0 to 23"):
        round_floats(np.zeros(1, np.float32), 24)


def test_float16_holds_what_was_rounded_to_it() -> None:
    row = gaussian_row("chair_0001")
    exact = Gaussians(*(row[name] for name in GAUSSIAN_COLUMNS))
    rounded = round_gaussians(exact, 23, "float16")
    schema = Schema("gaussians", ("chair", "sofa"), 4, "float16")
    whole = {**row, **{name: getattr(rounded, name) for name in GAUSSIAN_COLUMNS}, "label": "chair", "regime_draws": []}
    table = encode(schema, [whole])
    for name, inner in (("means", (3,)), ("scales", (3,)), ("opacities", ()), ("sh", (4, 3))):
        stored = ragged(table[name], inner)[0]
        assert stored.dtype == np.float16
        np.testing.assert_array_equal(stored, getattr(rounded, name))
        np.testing.assert_allclose(stored, row[name], rtol=2**-11)
    assert table["psnr"].type == pa.float32()
    with pytest.raises(ValueError, match="chair_0001: means holds numbers that float16 does not"):
        encode(schema, [{**whole, "means": row["means"]}])


def test_no_scale_vanishes_in_float16() -> None:
    one = Gaussians(*(np.full((1, *tail), 1e-9, np.float32) for tail in ((3,), (4,), (3,), (), (1, 3))))
    rounded = round_gaussians(one, 23, "float16")
    assert (rounded.scales == np.float32(2**-24)).all()
    assert not rounded.means.any()
    assert (round_gaussians(one, 23, "float32").means == one.means).all()
