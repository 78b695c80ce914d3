"""PointNet and PointNet++: sizes, equality with the networks written plainly, and that padding is never seen."""

import copy
import dataclasses

import pytest
import torch
from gsbench_baselines.pointnet.model import PointNet
from gsbench_baselines.pointnet2.model import PointNet2

from gsbench.core.baseline import Baseline
from gsbench.core.types import Batch
from tests.baselines import plain
from tests.baselines.conftest import make_batch


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters():
    """The published counts at xyz and ten classes."""
    pointnet = PointNet(3, 10)
    assert count(pointnet) == 3_463_763
    assert count(pointnet.input_transform) == 803_081
    assert count(pointnet.feature_transform) == 1_857_344
    assert count(PointNet2(3, 10, grouping="ssg")) == 1_467_978
    assert count(PointNet2(3, 10, grouping="msg")) == 1_739_658


@pytest.mark.parametrize("channels", [10, 22])
def test_a_channel_costs_one_column_of_the_first_layers(channels):
    extra = channels - 3
    assert count(PointNet(channels, 10)) - count(PointNet(3, 10)) == 2 * 64 * extra
    assert count(PointNet2(channels, 10)) - count(PointNet2(3, 10)) == 64 * extra
    assert count(PointNet2(channels, 10, "msg")) - count(PointNet2(3, 10, "msg")) == (32 + 64 + 64) * extra


def plainly(model, batch):
    return (plain.pointnet if isinstance(model, PointNet) else plain.pointnet2)(model, batch)


def doubled(model, batch):
    return copy.deepcopy(model).double(), dataclasses.replace(batch, points=batch.points.double())


@pytest.mark.parametrize("channels", [3, 10])
def test_equals_the_plain_network_when_scoring(build, channels):
    model, batch = build(channels), make_batch(channels=channels)
    with torch.no_grad():
        assert isinstance(model, Baseline)
        expected = plainly(*doubled(model, batch))
        assert model.embed(batch).shape == (4, 1024)
        torch.testing.assert_close(model.embed(batch).double(), expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model.logits(batch), model.head(expected.float()), atol=1e-4, rtol=1e-4)


def gradients(model, features):
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1)).to(features)
    model.zero_grad()
    (features * weights).sum().backward()
    return {name: p.grad.double() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("channels", [3, 10])
def test_equals_the_plain_network_in_training(build, channels):
    """Features and every gradient, batch statistics and all.

    The tolerance is that of near-ties: rounding may let another row win a maximum. `test_rows` is strict.
    """
    model, batch = build(channels).train(), make_batch(16, 80, channels)
    reference, doubles = doubled(model, batch)
    features, expected = model.embed(batch), plainly(reference, doubles)
    torch.testing.assert_close(features.double(), expected, atol=1e-4, rtol=1e-3)
    fast, slow = gradients(model, features), gradients(reference, expected)
    scale = max(gradient.norm() for gradient in slow.values())
    assert len(fast) > 10
    for name, gradient in slow.items():
        if name in fast:
            assert (fast[name] - gradient).norm() <= 0.03 * gradient.norm() + 1e-6 * scale, name
        else:
            assert gradient.norm() <= 1e-9 * scale, f"{name}: only a bias before batch norm may go without gradient"


def test_running_statistics_are_torchs():
    """After a training step they are what torch's own batch norm would have, biases included."""
    torch.manual_seed(0)
    trunk, batch = PointNet(3, 10).train(), make_batch(16, 80)
    first = trunk.input_transform.trunk
    expected = copy.deepcopy(first.norms[0])
    with torch.no_grad():
        expected(first.layers[0](batch.points[batch.mask]))
        trunk.embed(batch)
    for name, value in expected.named_buffers():
        torch.testing.assert_close(first.norms[0].get_buffer(name), value)


def test_padding_is_never_seen(build):
    model, batch = build(), make_batch()
    longer = torch.nn.functional.pad(batch.points, (0, 0, 0, 50), value=torch.nan)
    longer[:, :200][~batch.mask] = torch.inf
    padded = dataclasses.replace(batch, points=longer, mask=torch.nn.functional.pad(batch.mask, (0, 50)))
    with torch.no_grad():
        assert torch.equal(model.embed(padded), model.embed(batch))
        alone = [
            model.embed(Batch((object_id,), batch.labels[:1], points[None], mask[None]))
            for object_id, points, mask in zip(batch.ids, batch.points, batch.mask, strict=True)
        ]
    torch.testing.assert_close(torch.cat(alone), model.embed(batch), atol=1e-5, rtol=1e-5)


def test_an_object_without_points_is_refused(build):
    batch = make_batch()
    batch.mask[2] = False
    with pytest.raises(ValueError, match="object_2: no points"):
        build().embed(batch)


def test_one_point_is_enough(build):
    batch = make_batch()
    batch.mask[:, 1:], batch.mask[:, 0] = False, True
    assert build().logits(batch).isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PointNet2(3, 10, grouping="xyz"), r"grouping is 'xyz' \(allowed: ssg, msg\)"),
        (lambda: PointNet2(3, 10, dropout=1.0), "dropout is 1.0"),
        (lambda: PointNet(3, 10, dropout=-0.1), "dropout is -0.1"),
    ],
)
def test_refused_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_pointnets_penalty():
    """Half the squared Frobenius norm of A A^T - I, summed over the batch: nothing at the start, when every A is I."""
    model, batch = PointNet(3, 10, dropout=0.0, regularizer=0.0).eval(), make_batch()
    other = copy.deepcopy(model)
    other.regularizer = 1.0
    assert model.loss(batch, 0.0) == other.loss(batch, 0.0)
    for net in (model, other):
        net.feature_transform.head.last.bias.data[0] = 1.0  # A = I but for A[0, 0] = 2: (4 - 1)^2 / 2 an object
    difference = other.loss(batch, 0.0) - model.loss(batch, 0.0)
    assert difference.item() == pytest.approx(4.5 * 4)
