"""ImageOptions of a task: which, how they are resized, points beside them, and what is refused."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gsbench.core.geometry import spiral_rig
from gsbench.core.recipe import ImageOptions
from gsbench.learn.data import Objects, open_images, open_objects, open_pairs
from gsbench.store.card import About
from gsbench.store.create import Contents, create_folder
from gsbench.store.folder import Folder, open_folder
from tests.learn.test_data import task
from tests.store.conftest import made as pairs_folder  # noqa: F401 (a fixture)
from tests.store.conftest import renders

VIEWS, SIZE = 6, 16
OBJECTS = {"train": {"ball_0001": "ball", "rod_0001": "rod"}, "test": {"ball_0002": "ball", "rod_0002": "rod"}}


def picture(object_id: str, view: int, size: int = SIZE, channels: int = 4) -> np.ndarray:
    """Blocks of a few pixels, with every alpha from 0 to 255."""
    rng = np.random.default_rng([*object_id.encode(), view])
    return rng.integers(0, 256, (size // 4, size // 4, channels), np.uint8).repeat(4, 0).repeat(4, 1)


def encoded(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, exact=True)
    return buffer.getvalue()


def over_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


def make(
    out: Path,
    image: Callable[[str, int], bytes] = lambda object_id, view: encoded(picture(object_id, view)),
    count: Callable[[str], int] = lambda object_id: VIEWS,
) -> Folder:
    cameras = spiral_rig(VIEWS, 3.0, 40.0, 1.0, -20.0, 60.0, SIZE, SIZE)

    def rows(split):
        for object_id in sorted(OBJECTS[split]):
            for view in range(count(object_id)):
                pose = {"viewmat": cameras.viewmats[view], "K": cameras.Ks[view]}
                yield {"object_id": object_id, "view": view, "image": image(object_id, view), **pose}

    contents = Contents(About("tiny", "0.1", "Noise", "mit", "Random numbers."), OBJECTS, 4, max_shard_bytes=12_000)
    create_folder(out, contents, {("views", split): rows(split) for split in OBJECTS})
    return open_folder(out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Folder:
    return make(tmp_path_factory.mktemp("data") / "tiny")


def images_task(num_views: int, **changes):
    shape = {"modality": "images", "features": None, "sampling": None, "num_points": None, "views_from": "meshes"}
    return task(**shape | {"num_views": num_views} | changes)


@pytest.mark.parametrize(("count", "views"), [(1, [0]), (2, [0, 3]), (3, [0, 2, 4]), (4, [0, 1, 3, 4]), (6, range(6))])
def test_views_are_evenly_spread(folder, count, views):
    assert len(folder.manifest.shards_of("views", "train")) > 1, "each object has a shard of its own"
    objects = open_objects(folder, images_task(count), "train")
    assert objects.ids == ("ball_0001", "rod_0001")
    assert objects.labels.tolist() == [0, 1]
    assert objects.images.shape == (2, count, 3, SIZE, SIZE)
    for object_id, images in zip(objects.ids, objects.images, strict=True):
        for view, image in zip(views, images, strict=True):
            expected = over_white(picture(object_id, view).astype(float))
            np.testing.assert_allclose(image.permute(1, 2, 0), expected, atol=0.51)


def test_a_pixels_channels_lie_side_by_side(folder):
    """As convolutions want them, also in a batch, so that nothing is copied on the way."""
    images = open_objects(folder, images_task(2), "train").batch(torch.tensor([1, 0])).images
    assert images.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [8, 5, 32])
def test_images_are_resized_with_antialiasing(folder, size):
    objects = open_objects(folder, images_task(VIEWS), "test", ImageOptions(size=size))
    whole = open_objects(folder, images_task(VIEWS), "test")
    assert objects.images.shape == (2, VIEWS, 3, size, size)
    expected = torch.nn.functional.interpolate(
        whole.images.flatten(0, 1).float(), (size, size), mode="bilinear", antialias=True, align_corners=False
    )
    assert (objects.images.flatten(0, 1) - expected).abs().max() <= 1.01
    assert not torch.equal(whole.images, open_objects(folder, images_task(VIEWS), "train").images)
    assert torch.equal(whole.images, open_objects(folder, images_task(VIEWS), "test", ImageOptions(size=SIZE)).images)


def test_images_without_alpha_are_taken_as_they_are(tmp_path):
    folder = make(tmp_path / "tiny", lambda object_id, view: encoded(picture(object_id, view, channels=3)))
    objects = open_objects(folder, images_task(1), "test")
    np.testing.assert_array_equal(objects.images[1, 0].permute(1, 2, 0), picture("rod_0002", 0, channels=3))


def test_points_and_images_together(pairs_folder):  # noqa: F811
    folder = open_folder(pairs_folder)
    points, images = task(num_points=8, regime=50), images_task(2, regime=50)
    pairs = open_pairs(folder, points, images, "train", ImageOptions(size=4))
    alone = open_objects(folder, images, "train", ImageOptions(size=4))
    assert pairs.ids == alone.ids
    assert torch.equal(pairs.images, alone.images)
    assert torch.equal(pairs.points, open_objects(folder, points, "train").points)
    batch = pairs.batch(torch.tensor([3, 0]))
    assert torch.equal(batch.points, pairs.points[[3, 0]])
    assert torch.equal(batch.images, pairs.images[[3, 0]])
    with pytest.raises(ValueError, match=r"views_per_sample is 1 .*unless the model sees images alone"):
        pairs.split_views(1)


def test_cameras_of_reconstructions(pairs_folder):  # noqa: F811
    ids = ["chair_0011", "sofa_0011"]
    novel = open_images(open_folder(pairs_folder), "gaussians", "test", ids, 1, cameras="novel")
    np.testing.assert_array_equal(novel.images[0, 0].permute(1, 2, 0), renders("chair_0011")[0].images[2])
    seen = open_images(open_folder(pairs_folder), "gaussians", "test", ids, 2)
    np.testing.assert_array_equal(seen.images[1, 1].permute(1, 2, 0), renders("sofa_0011")[0].images[1])


def test_views_become_samples_without_a_copy(folder):
    objects = open_objects(folder, images_task(VIEWS), "train")
    samples = objects.split_views(2)
    assert isinstance(samples, Objects)
    assert samples.ids == ("ball_0001",) * 3 + ("rod_0001",) * 3
    assert samples.labels.tolist() == [0, 0, 0, 1, 1, 1]
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    batch = samples.batch(order)
    assert batch.ids == tuple(samples.ids[row] for row in order)
    for images, row in zip(batch.images, order.tolist(), strict=True):
        assert torch.equal(images, objects.images[row // 3, [row % 3, row % 3 + 3]]), "around the object"
    assert batch.images.stride()[2] == 1, "the channels of a pixel side by side"
    assert samples.images.data_ptr() == objects.images.data_ptr()
    with pytest.raises(ValueError, match=r"views_per_sample is 4 \(must divide the 6 views of an object\)"):
        objects.split_views(4)


def test_a_device_that_is_too_small(folder, monkeypatch):
    def full(tensor, device):
        raise torch.OutOfMemoryError("no room")

    objects = open_objects(folder, images_task(VIEWS), "train")
    monkeypatch.setattr(torch.Tensor, "to", full)
    with pytest.raises(ValueError, match=r"2 objects take 0\.0 GB, too much for cpu \(allowed: fewer points or views"):
        objects.to(torch.device("cpu"))


def test_progress(folder):
    told: list[tuple[int, int]] = []
    open_images(folder, "meshes", "test", ["ball_0002"], VIEWS, progress=lambda done, total: told.append((done, total)))
    assert told == [(VIEWS, VIEWS)]


def test_fewer_views_than_asked_for(tmp_path):
    folder = make(tmp_path / "tiny", count=lambda object_id: 4 if object_id == "rod_0001" else VIEWS)
    with pytest.raises(ValueError, match=r"num_views is 5 for the views of train \(allowed: up to 4, all that rod"):
        open_objects(folder, images_task(5), "train")
    assert open_objects(folder, images_task(5), "test").images.shape[1] == 5


def test_an_object_without_images(folder):
    with pytest.raises(ValueError, match=r"tiny: 1 objects of test have no views, the first is rod_0009"):
        open_images(folder, "meshes", "test", ["ball_0002", "rod_0009"], 1)


def test_images_of_another_size(tmp_path):
    odd = {("rod_0002", 3): 20}
    folder = make(tmp_path / "tiny", lambda *of: encoded(picture(*of, size=odd.get(of, SIZE))))
    for how in (None, ImageOptions(size=8)):
        with pytest.raises(ValueError, match=r"image 3 of rod_0002 has 20 x 20 pixels \(must be 16 x 16"):
            open_objects(folder, images_task(VIEWS), "test", how)


def test_images_that_are_not_square(tmp_path):
    folder = make(tmp_path / "tiny", lambda *of: encoded(picture(*of)[:8]))
    assert open_objects(folder, images_task(1), "test").images.shape == (2, 1, 3, 8, 16)
    with pytest.raises(ValueError, match=r"image 0 of ball_0002: 16 x 8 pixels \(must be square to be resized to 8\)"):
        open_objects(folder, images_task(1), "test", ImageOptions(size=8))


def half_a_png(_: bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture("rod_0001", 4)).save(file, "PNG")
    return file.getvalue()[: len(file.getvalue()) // 2]


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 99, half_a_png]
)
def test_a_damaged_image_names_shard_and_object(tmp_path, damage):
    def image(object_id: str, view: int) -> bytes:
        data = encoded(picture(object_id, view))
        return damage(data) if (object_id, view) == ("rod_0001", 4) else data

    folder = make(tmp_path / "tiny", image)
    with pytest.raises(
        ValueError, match=r"^views/train-0000\d-of-0000\d\.parquet: image 4 of rod_0001: no image"
    ) as caught:
        open_objects(folder, images_task(VIEWS), "train")
    assert "\n" not in str(caught.value)


def test_more_images_than_memory_holds(folder, monkeypatch):
    monkeypatch.setattr("gsbench.learn.data.images.free_memory", lambda: 9_000)
    with pytest.raises(ValueError, match=r"views of train: 2 objects x 6 images of 16 x 16 pixels take 0\.0 GB"):
        open_objects(folder, images_task(VIEWS), "train")
    assert len(open_objects(folder, images_task(VIEWS), "train", ImageOptions(size=8))) == 2


def test_free_memory_is_a_number_of_bytes():
    from gsbench.core.environment import free_memory

    free = free_memory()
    assert free is None or 10**7 < free < 10**14


def test_a_task_of_a_regime(pairs_folder):  # noqa: F811
    folder = open_folder(pairs_folder)
    few = open_objects(folder, dataclasses.replace(images_task(2), regime=10), "train")
    assert few.ids == open_objects(folder, task(regime=10, num_points=4), "train").ids
