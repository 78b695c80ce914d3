"""Every config of a data folder, read by the tools that people have, with either type of floats."""

from pathlib import Path

import datasets
import numpy as np
import pandas
import pyarrow.dataset
import pytest
import torch

from gsbench.core.tasks import Task
from gsbench.core.types import Gaussians
from gsbench.learn.data import open_objects
from gsbench.meshes.surface import fps_order
from gsbench.produce.verification import verify
from gsbench.store.arrays import Row, round_gaussians
from gsbench.store.create import Contents, create_folder
from gsbench.store.folder import load_object, open_folder
from gsbench.store.schema import CONFIGS, GAUSSIAN_COLUMNS, FloatType
from tests.store.conftest import ABOUT, OBJECTS, SIZE, gaussian_row, rows_of_everything

pytestmark = pytest.mark.usefixtures("datasets_cache")
ROWS = {config: 6 * (3 if config in ("views", "reconstructions") else 1) for config in CONFIGS}
TEST_ID = "sofa_0012"


def rounded(object_id: str, float_type: FloatType) -> Gaussians:
    return round_gaussians(Gaussians(*(gaussian_row(object_id)[name] for name in GAUSSIAN_COLUMNS)), 16, float_type)


@pytest.fixture(scope="module", params=["float32", "float16"])
def float_type(request: pytest.FixtureRequest) -> FloatType:
    return request.param


@pytest.fixture(scope="module")
def folder(float_type: FloatType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def with_rounded(row: Row) -> Row:
        gaussians = rounded(row["object_id"], float_type)
        order = fps_order(gaussians.means, len(gaussians))
        return {**row, **{name: getattr(gaussians, name) for name in GAUSSIAN_COLUMNS}, "fps_order": order}

    rows = rows_of_everything()
    for split in OBJECTS:
        rows["gaussians", split] = map(with_rounded, rows["gaussians", split])
    out = tmp_path_factory.mktemp("read") / "tiny"
    create_folder(out, Contents(ABOUT, OBJECTS, sh_coefficients=4, float_type=float_type), rows)
    return out


def test_it_is_sound(folder: Path, float_type: FloatType) -> None:
    assert verify(folder).problems == ()
    assert open_folder(folder).manifest.float_type == float_type
    assert f"| numbers of Gaussians | {float_type} |" in (folder / "README.md").read_text()


@pytest.mark.parametrize("config", CONFIGS)
def test_datasets(folder: Path, config: str) -> None:
    rows = datasets.load_dataset(str(folder), config, split="test")
    assert len(rows) == ROWS[config]
    assert rows.features == open_folder(folder).manifest.schema(config).features()
    row = rows.with_format("numpy")[0]
    assert row["object_id"] == "chair_0011"
    if config == "gaussians":
        assert row["sh"].shape == (row["num_gaussians"], 4, 3)
        assert row["sh"].dtype == np.float32, "datasets widens what it hands to numpy"
    if config in ("views", "reconstructions"):
        assert row["image"].shape == (SIZE, SIZE, 4 if config == "views" else 3)


@pytest.mark.parametrize("config", CONFIGS)
def test_pandas(folder: Path, config: str) -> None:
    frame = pandas.read_parquet(next((folder / config).glob("test-*.parquet")))
    assert len(frame) == ROWS[config]
    if config == "gaussians":
        row = frame.set_index("object_id").loc[TEST_ID]
        np.testing.assert_allclose(np.stack(row["means"]), gaussian_row(TEST_ID)["means"], rtol=2**-10)


@pytest.mark.parametrize("config", CONFIGS)
def test_pyarrow(folder: Path, config: str) -> None:
    table = pyarrow.dataset.dataset(folder / config).to_table()
    assert table.num_rows == ROWS[config] * 26 // 6
    assert set(table.column_names) == {column.name for column in CONFIGS[config]}


@pytest.mark.parametrize("config", CONFIGS)
def test_duckdb(folder: Path, config: str, float_type: FloatType) -> None:
    duckdb = pytest.importorskip("duckdb", reason="pip install duckdb to check that it reads the shards")
    shards = f"'{folder}/{config}/test-*.parquet'"
    [(count,)] = duckdb.sql(f"select count(distinct object_id) from {shards}").fetchall()
    assert count == 6
    if config == "gaussians":
        query = f"select means[1], sh[1][1], psnr from {shards} where object_id = '{TEST_ID}'"
        [(mean, dc, psnr)] = duckdb.sql(query).fetchall()
        exact = rounded(TEST_ID, float_type)
        np.testing.assert_array_equal(np.float32(mean), exact.means[0])
        np.testing.assert_array_equal(np.float32(dc), exact.sh[0, 0])
        assert psnr == 33.0
    if config in ("views", "reconstructions"):
        query = f"select octet_length(image.bytes), viewmat[4][4], K[3][3] from {shards} where object_id = '{TEST_ID}'"
        assert [row[1:] for row in duckdb.sql(query).fetchall()] == [(1.0, 1.0)] * 3


def test_our_own_reader_gives_float32(folder: Path, float_type: FloatType) -> None:
    gaussians = load_object(open_folder(folder), TEST_ID)
    expected = rounded(TEST_ID, float_type)
    for name in GAUSSIAN_COLUMNS:
        assert getattr(gaussians, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(gaussians, name), getattr(expected, name))


def test_models_see_logarithms_of_full_precision(folder: Path, float_type: FloatType) -> None:
    task = Task(
        dataset="tiny", revision="0.1", fingerprint="0" * 64, split="test", modality="gaussians", protocol="supervised",
        regime=100, draw=0, features="xyz+geo", sampling="fps", num_points=16, num_views=None, views_from=None,
    )  # fmt: skip
    objects = open_objects(open_folder(folder), task, "test")
    gaussians = rounded(objects.ids[4], float_type)
    order = fps_order(gaussians.means, len(gaussians))[:16]
    seen, logarithms = objects.points[4, :, 3:6].numpy(), np.log(gaussians.scales[order].astype(np.float64))
    assert objects.points.dtype == torch.float32
    np.testing.assert_allclose(seen - seen[0], logarithms - logarithms[0], atol=2e-6)
