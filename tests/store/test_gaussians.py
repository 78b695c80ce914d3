from pathlib import Path

import numpy as np
import pytest

from gsbench.store.folder import load_object, open_folder
from tests.store.conftest import OBJECTS, gaussian_row


@pytest.mark.parametrize("object_id", [*OBJECTS["train"], *OBJECTS["test"]])
def test_every_object_is_found(made: Path, object_id: str) -> None:
    gaussians = load_object(open_folder(made), object_id)
    for name in ("means", "quats", "scales", "opacities", "sh"):
        values = getattr(gaussians, name)
        np.testing.assert_array_equal(values, gaussian_row(object_id)[name])
        assert values.dtype == np.float32
        assert values.flags.writeable


@pytest.mark.parametrize(
    ("object_id", "message"),
    [
        ("chair_00011", r"no object 'chair_00011'; did you mean 'chair_0011'"),
        ("", "no object ''"),
        ("zebra_9999", "no object 'zebra_9999'"),
    ],
)
def test_an_unknown_object_is_named(made: Path, object_id: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_object(open_folder(made), object_id)
    assert str(caught.value).startswith(f"{made}: ")


def test_a_damaged_shard_is_named(folder: Path) -> None:
    (path,) = folder.glob("gaussians/test-*.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"test-00000-of-00001.parquet: shard is damaged or another"):
        load_object(open_folder(folder), "chair_0011")
