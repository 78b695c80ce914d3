"""Training on pairs: which views meet, that each draw is as likely as another, and how such a run goes on."""

import dataclasses

import pytest
import torch
from torch import nn

from gsbench.core.recipe import Augment, ImageOptions, Recipe, Train
from gsbench.learn.data import Objects, check_pairs, draw_pairs
from gsbench.learn.train import train
from tests.learn.test_train import CPU, Killed, bits

OBJECTS, VIEWS = 5, 4


def code(objects: int = OBJECTS, views: int = VIEWS) -> Objects:
    """Objects whose points say which object they are of, and whose images say of which object and view."""
    index = torch.arange(objects)
    points = index.float()[:, None, None].expand(objects, 6, 3)
    number = (index[:, None] * views + torch.arange(views)).to(torch.uint8)
    images = number[:, :, None, None, None].expand(objects, views, 3, 2, 2)
    mask = torch.ones(objects, 6, dtype=torch.bool)
    return Objects(tuple(f"object_{i}" for i in range(objects)), index, points, mask, images)


def test_two_views_of_the_object_and_one_of_another():
    objects, index = code(), torch.tensor([3, 0, 4] * 400)
    batch = draw_pairs(objects, index, torch.Generator().manual_seed(0))
    assert batch.ids[:3] == ("object_3", "object_0", "object_4")
    assert torch.equal(batch.points[:, 0, 0].long(), index)
    assert torch.equal(batch.labels, index)
    assert batch.images.shape == (1200, 3, 3, 2, 2)
    owner, view = (batch.images[:, :, 0, 0, 0].long() // VIEWS).T, (batch.images[:, :, 0, 0, 0].long() % VIEWS).T
    assert torch.equal(owner[0], index)
    assert torch.equal(owner[1], index)
    assert (owner[2] != index).all()
    assert (view[0] != view[1]).all()
    for seen, among in ((view[0] * VIEWS + view[1], 12), (owner[2][index == 3] * VIEWS + view[2][index == 3], 16)):
        numbers, times = seen.unique(return_counts=True)
        assert len(numbers) == among, "every draw happens"
        expected = len(seen) / among
        assert ((times - expected).abs() < 4.5 * expected**0.5).all(), "as often as any other"


def test_draws_depend_on_the_generator_alone():
    objects, index = code(), torch.arange(OBJECTS)
    one, same, other = (draw_pairs(objects, index, torch.Generator().manual_seed(seed)).images for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (dataclasses.replace(code(), images=None), "supervision is pairs for objects without images"),
        (dataclasses.replace(code(), points=None, mask=None), "objects without points or Gaussians"),
        (code(views=1), r"num_views is 1 with supervision pairs \(must be at least 2\)"),
        (code(objects=1), "1 training object with supervision pairs"),
    ],
)
def test_what_gives_no_pairs(objects, message):
    with pytest.raises(ValueError, match=message):
        check_pairs(objects)
    with pytest.raises(ValueError, match=message):
        train(Matcher(), objects, recipe(), 0, CPU)


class Matcher(nn.Module):
    """Brings what it makes of an object's points near what it makes of its views."""

    def __init__(self) -> None:
        super().__init__()
        self.points, self.images = nn.Linear(3, 4), nn.Linear(3, 4)
        self.seen: list[torch.Tensor] = []

    def loss(self, batch, label_smoothing):
        self.seen.append(batch.images)
        views = self.images(nn.functional.dropout(batch.images.float().mean((3, 4)) / 255, 0.2))
        return (self.points(batch.points.mean(1))[:, None] - views).square().mean()


def recipe() -> Recipe:
    how = Train(epochs=3, batch_size=3, lr=0.05)
    images, augmentation = ImageOptions(size=2, crop_scale=(0.5, 1.0), flip=True), Augment(jitter=0.01)
    return Recipe("pairs", "Pairs", "-:-", "-", how, augmentation, images, supervision="pairs")


def run(checkpoint=None, progress=None):
    torch.manual_seed(0)
    model = Matcher()
    train(model, code(), recipe(), 0, CPU, checkpoint, progress)
    return model


def test_steps_see_pairs_of_every_object_once_an_epoch():
    seen = run().seen
    assert [tuple(images.shape) for images in seen] == [(3, 3, 3, 2, 2), (2, 3, 3, 2, 2)] * 3
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        owners = torch.cat([first, second])[:, :2, 0, 0, 0].long() // VIEWS
        assert torch.equal(owners[:, 0].sort().values, torch.arange(OBJECTS))
        assert torch.equal(owners[:, 0], owners[:, 1])
    assert not torch.equal(seen[0], seen[2]), "each epoch draws anew"


@pytest.mark.parametrize("last_step", [1, 3])
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path, last_step):
    def kill(done, total, loss):
        if done == last_step:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "run.pt", kill)
    assert bits(run(tmp_path / "run.pt")) == bits(run())


def test_a_checkpoint_of_other_images_is_refused(tmp_path):
    run(tmp_path / "run.pt")
    fewer = dataclasses.replace(code(), images=code().images[:, :3])
    with pytest.raises(ValueError, match="checkpoint of another recipe, seed or training set"):
        train(Matcher(), fewer, recipe(), 0, CPU, tmp_path / "run.pt")
