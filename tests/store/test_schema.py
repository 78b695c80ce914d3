import pyarrow as pa
import pytest

from gsbench.store.schema import CONFIGS, FloatType, Schema

CONTRACT = {
    "gaussians": "object_id label num_gaussians means quats scales opacities sh fps_order psnr ssim mesh_sha256 "
    "duplicate_of regime_draws",
    "points": "object_id label points normals",
    "views": "object_id label view image viewmat K",
    "reconstructions": "object_id label view cameras image viewmat K psnr",
}


def test_the_columns_are_those_of_the_contract() -> None:
    assert {config: " ".join(column.name for column in columns) for config, columns in CONFIGS.items()} == CONTRACT


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("coefficients", [1, 4, 9, 16])
@pytest.mark.parametrize("float_type", ["float32", "float16"])
def test_arrow_types_are_the_storage_of_the_features(config: str, coefficients: int, float_type: FloatType) -> None:
    """`datasets` can then cast a shard without looking at its values."""
    schema = Schema(config, ("chair", "sofa"), coefficients, float_type)
    features = schema.features().arrow_schema
    for field in schema.arrow():
        theirs = features.field(field.name).type
        theirs = getattr(theirs, "storage_type", theirs)
        assert _without_nullability(field.type) == _without_nullability(theirs)


def _without_nullability(kind: pa.DataType) -> str:
    return str(kind).replace(" not null", "").replace("element:", "item:")


def test_features_are_typed_as_the_contract_says() -> None:
    features = Schema("gaussians", ("chair", "sofa"), 16).features()
    assert features["label"].names == ["chair", "sofa"]
    assert features["means"].shape == (None, 3)
    assert features["sh"].shape == (None, 16, 3)
    assert features["num_gaussians"].dtype == "int32"
    assert features["opacities"].feature.dtype == "float32"


def test_only_what_may_be_missing_is_nullable() -> None:
    nullable = {column.name for columns in CONFIGS.values() for column in columns if column.nullable}
    assert nullable == {"duplicate_of", "normals"}


def test_split_leaves_name_every_column_of_32_bit_floats_by_its_parquet_path() -> None:
    assert "sh.list.element.list.element.list.element" in Schema("gaussians", ("chair",), 4).split_leaves()
    expected = ["points.list.element.list.element", "normals.list.element.list.element"]
    assert Schema("points", ("chair",)).split_leaves() == expected
    assert Schema("gaussians", ("chair",), 4, "float16").split_leaves() == ["psnr", "ssim"]


def test_only_the_numbers_of_gaussians_are_of_the_chosen_type() -> None:
    wide, narrow = (Schema("gaussians", ("chair",), 4, kind).features() for kind in ("float32", "float16"))
    changed = [name for name in wide if wide[name] != narrow[name]]
    assert changed == ["means", "quats", "scales", "opacities", "sh"]
    assert narrow["sh"].dtype == "float16"
    assert narrow["opacities"].feature.dtype == "float16"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gausians", ("a",), 1), "no 'gausians'; did you mean 'gaussians'"),
        (("points", ("b", "a"), 1), "alphabetical"),
        (("points", ("a", "a"), 1), "distinct"),
        (("gaussians", ("a",), 5), "allowed: 1, 4, 9, 16"),
    ],
)
def test_bad_schemas_are_refused(arguments: tuple[str, tuple[str, ...], int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schema(*arguments)
