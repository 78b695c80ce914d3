"""Rows for a training loop of one's own: counts that vary, values that are null, workers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import gsbench
from gsbench.core.parsing import InputError
from gsbench.store.arrays import Row
from gsbench.store.create import Contents, create_folder
from gsbench.store.folder import open_folder, read_table
from tests.store.conftest import ABOUT, OBJECTS, datasets_cache, gaussian_row, made, points_row  # noqa: F401 -- fixtures


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_batches_are_padded_and_say_where(made: Path, workers: int) -> None:  # noqa: F811
    data = gsbench.TorchDataset(made, "gaussians", "train")
    table = read_table(open_folder(made), "gaussians", "train")
    seen = []
    for batch in DataLoader(data, batch_size=8, collate_fn=gsbench.collate, num_workers=workers):
        assert set(batch) == {*table.column_names, "mask"}
        assert batch["means"].shape[:2] == batch["mask"]["means"].shape == batch["opacities"].shape
        assert torch.equal(batch["mask"]["sh"].sum(1), batch["num_gaussians"])
        assert not batch["sh"][~batch["mask"]["sh"]].any()
        seen += [means[mask].tolist() for means, mask in zip(batch["means"], batch["mask"]["means"], strict=True)]
        assert batch["duplicate_of"] == [""] * len(batch["label"])
    assert seen == table["means"].to_pylist()
    assert data.classes == ["chair", "sofa"]
    assert data[0]["means"].dtype == torch.float32


def test_images_are_stacked(made: Path) -> None:  # noqa: F811
    data = gsbench.TorchDataset(made, "views", "test", columns=["image", "K", "object_id"])
    batch = next(iter(DataLoader(data, batch_size=4, collate_fn=gsbench.collate)))
    assert {name: tuple(batch[name].shape) for name in ("image", "K")} == {"image": (4, 4, 8, 8), "K": (4, 3, 3)}
    assert batch["object_id"] == ["chair_0011"] * 3 + ["chair_0012"]
    assert "mask" not in batch


def bare(object_id: str) -> Row:
    return {**points_row(object_id, 40), "normals": None}


@pytest.fixture
def nulls(tmp_path: Path) -> Path:
    """A folder of which every second object has no normals, and Gaussians some of which name a twin."""
    rows = {}
    for split, labels in OBJECTS.items():
        ids = sorted(labels)
        rows["points", split] = [bare(each) if int(each[-4:]) % 2 else points_row(each, 40) for each in ids]
        rows["gaussians", split] = [gaussian_row(object_id) for object_id in ids]
    create_folder(tmp_path / "nulls", Contents(ABOUT, OBJECTS, 4), rows)
    return tmp_path / "nulls"


@pytest.mark.parametrize("streaming", [False, True])
def test_torch_takes_what_is_null(nulls: Path, streaming: bool, datasets_cache: Path) -> None:  # noqa: F811
    gaussians = gsbench.load_dataset(nulls, "gaussians", "test", streaming=streaming)
    points = gsbench.load_dataset(nulls, "points", "test", streaming=streaming)
    assert [row["duplicate_of"] for row in gaussians] == [""] * 4 + ["chair_0002", ""]
    for rows in (gaussians, points):
        assert len(list(DataLoader(rows.with_format("torch")))) == 6
    stored = read_table(open_folder(nulls), "points", "test")["normals"].to_pylist()
    assert [None if value is None else len(value) for value in stored] == [None, 40, None, None, 40, None]
    for row, value in zip(points.with_format("numpy"), stored, strict=True):
        assert np.array_equal(row["normals"], np.float32(value or np.empty((0, 3))))
    batch = next(iter(DataLoader(points.with_format("torch"), batch_size=6, collate_fn=gsbench.collate)))
    assert batch["mask"]["normals"].sum(1).tolist() == [0, 40, 0, 0, 40, 0]
    assert torch.equal(batch["normals"][1], torch.tensor(stored[1]))


def test_what_is_no_column_split_or_batch_is_named(made: Path) -> None:  # noqa: F811
    with pytest.raises(InputError, match="no column 'mean'; did you mean 'means'"):
        gsbench.TorchDataset(made, columns=["mean"])
    with pytest.raises(InputError, match=r"split: 'val' \(allowed: train, test\)"):
        gsbench.TorchDataset(made, split="val")
    with pytest.raises(InputError, match="collate: no rows"):
        gsbench.collate([])
    with pytest.raises(InputError, match=r"collate: viewmat has shapes \[\(3, 3\), \(4, 4\)\]"):
        gsbench.collate([{"viewmat": torch.eye(3)}, {"viewmat": torch.eye(4)}])
