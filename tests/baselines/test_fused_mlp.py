"""Perceptrons over rows: against plain torch in float64, and the CPU's steps against torch's."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gsbench_baselines import fused_mlp
from gsbench_baselines.fused_mlp import Activations, NeighborPairs, autograd, cpu_steps, gpu_steps
from torch import nn

POINTS, CENTERS, PAIRS = 600, 200, 9000


def norm(channels: int) -> nn.BatchNorm1d:
    made = nn.BatchNorm1d(channels)
    nn.init.uniform_(made.weight, -1, 1)
    nn.init.uniform_(made.bias, -0.5, 0.5)
    return made


@pytest.fixture
def case():
    """Points and parameters of three layers, and pairs within each half of the points and centers."""
    torch.manual_seed(0)
    layers = [nn.Linear(7, 16), nn.Linear(16, 32), nn.Linear(32, 48)]
    x = torch.randn(POINTS, 7, requires_grad=True)
    center = torch.sort(torch.cat([torch.arange(CENTERS), torch.randint(CENTERS, (PAIRS - CENTERS,))])).values
    upper = (center >= CENTERS // 2) * (POINTS // 2)
    point = torch.randint(POINTS // 2, (PAIRS,)) + upper
    starts = F.pad(torch.bincount(center, minlength=CENTERS).cumsum(0), (1, 0))
    pairs = NeighborPairs(point, center, starts, starts[[0, CENTERS // 2, CENTERS]])
    return x, layers, [norm(layer.out_features) for layer in layers], pairs, torch.randn(CENTERS, 48)


def fast(case, dtype):
    x, layers, norms, pairs, _ = case
    at_points = F.linear(x, layers[0].weight)
    at_centers = F.linear(x[:CENTERS, :3], layers[0].weight[:, :3])
    first = fused_mlp.difference(at_points, at_centers, pairs, layers[0], norms[0], dtype)
    return fused_mlp.pool(fused_mlp.linear(first, layers[1], norms[1], ()), layers[2], norms[2], pairs.starts)


def plain(case):
    x, layers, norms, pairs, _ = case

    def normalize(z, made):
        return F.batch_norm(z, None, None, made.weight.double(), made.bias.double(), training=True)

    weights = [layer.weight.double() for layer in layers]
    x = x.double()
    z = F.linear(x, weights[0])[pairs.point] - F.linear(x[:CENTERS, :3], weights[0][:, :3])[pairs.center]
    h = normalize(z, norms[0]).relu()
    h = normalize(F.linear(h, weights[1]), norms[1]).relu()
    y = normalize(F.linear(h, weights[2]), norms[2])
    return torch.stack([part.amax(0) for part in y.split(pairs.starts.diff().tolist())])


def gradients(output, case):
    x, layers, norms, _, weights = case
    learned = [x, *(layer.weight for layer in layers), *(p for made in norms for p in made.parameters())]
    return torch.autograd.grad((output * weights).sum(), learned)


@pytest.mark.parametrize("steps", [cpu_steps, gpu_steps])
@pytest.mark.parametrize("chunk", [100, 4096])
def test_equals_plain_torch(case, steps, chunk, monkeypatch):
    monkeypatch.setattr(autograd, "CHUNK", chunk)
    monkeypatch.setattr(autograd, "_ops", lambda z: steps)
    output, expected = fast(case, torch.float32), plain(case)
    torch.testing.assert_close(output.double(), expected, atol=1e-5, rtol=1e-5)
    for gradient, exact in zip(gradients(output, case), gradients(expected, case), strict=True):
        assert (gradient - exact).norm() <= 1e-5 * exact.norm()


def test_bfloat16_is_as_close_as_its_eight_bits(case):
    output, expected = fast(case, torch.bfloat16), plain(case)
    assert output.dtype == torch.float32
    assert (output - expected).norm() <= 0.01 * expected.norm()


def test_a_weight_for_each_set():
    torch.manual_seed(0)
    layer, made, offsets = nn.Linear(5, 8), norm(8), (0, 30, 31, 90)
    x, weights = torch.randn(90, 5, requires_grad=True), torch.randn(3, 8, 5, requires_grad=True)
    h = fused_mlp.linear(Activations(x, torch.float32), layer, made, offsets, weights)
    output = h.z * h.scale + h.shift
    parts = [part @ weight.T for part, weight in zip(x.split([30, 1, 59]), weights, strict=True)]
    expected = F.batch_norm(torch.cat(parts), None, None, made.weight, made.bias, training=True)
    torch.testing.assert_close(output, expected)
    cotangent = torch.randn(90, 8)
    for got, wanted in zip(
        torch.autograd.grad((output * cotangent).sum(), (x, weights)),
        torch.autograd.grad((expected * cotangent).sum(), (x, weights)),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
class TestSteps:
    """Each fused step against its plain one, on 700 rows: more than a block."""

    ROWS, IN, OUT, STARTS = 700, 24, 40, (0, 1, 300, 700)

    def both(self, name, make):
        """Runs a step of both kinds on equal arguments; returns what they wrote and returned."""
        results = []
        for steps in (cpu_steps, gpu_steps):
            torch.manual_seed(0)
            arguments = make()
            returned = getattr(steps, name)(*arguments)
            results.append([returned] if returned is not None else arguments)
        for got, wanted in zip(*map(self.flat, results), strict=True):
            tolerance = 1e-2 if torch.bfloat16 in (got.dtype, wanted.dtype) else 1e-4
            torch.testing.assert_close(got.double(), wanted.double(), rtol=tolerance, atol=tolerance)
        return results[0]

    def flat(self, items):
        for item in items:
            if isinstance(item, tuple):
                yield from item
            elif isinstance(item, torch.Tensor):
                yield item

    def z(self, dtype, columns):
        return torch.randn(self.ROWS, columns).to(dtype)

    def sums(self, columns):
        return torch.ones(2, columns, dtype=torch.float64)

    def test_activate(self, dtype):
        self.both("activate", lambda: (self.z(dtype, self.IN), torch.randn(self.IN), torch.randn(self.IN)))

    def test_moments(self, dtype):
        self.both("add_moments", lambda: (self.z(dtype, self.IN), self.sums(self.IN)))

    def test_output_gradient(self, dtype):
        kinds = self.z(dtype, self.IN), self.z(dtype, self.IN)
        self.both("output_gradient", lambda: (*kinds, torch.randn(self.IN), torch.randn(self.IN), dtype))

    def test_input_gradient(self, dtype):
        def make():
            z, dh = self.z(dtype, self.IN), self.z(dtype, self.IN)
            return z, torch.randn(self.IN), torch.randn(self.IN), dh, torch.empty_like(z), self.sums(self.IN)

        self.both("input_gradient", make)

    def won(self):
        argmax = torch.cat([torch.randint(a, b, (1, self.OUT)) for a, b in itertools.pairwise(self.STARTS)])
        return torch.randn(len(self.STARTS) - 1, self.OUT), argmax.int()

    def test_largest(self, dtype):
        def make():
            top = torch.empty(3, self.OUT)
            y = self.z(dtype, self.OUT).round(decimals=1)  # with ties
            return y, torch.tensor(self.STARTS), top, torch.empty(3, self.OUT, dtype=torch.int32), self.sums(self.OUT)

        y, _, top, argmax, _ = self.both("segment_max", make)
        assert torch.equal(y.float().gather(0, argmax.long()), top)

    def test_winner_gradients(self, dtype):
        def for_input():
            z, dh = self.z(dtype, self.IN), self.z(dtype, self.IN)
            affine, offset = (torch.randn(self.IN), torch.randn(self.IN)), torch.randn(self.IN)
            weight, starts = torch.randn(self.OUT, self.IN), torch.tensor(self.STARTS)
            return z, affine, dh, offset, self.won(), weight, starts, torch.empty_like(z), self.sums(self.IN)

        def for_weight():
            return self.z(dtype, self.IN), self.won(), torch.ones(self.OUT, self.IN)

        self.both("argmax_input_gradient", for_input)
        self.both("argmax_weight_gradient", for_weight)

    def test_difference(self, dtype):
        def make():
            a, b = torch.randn(50, self.IN), torch.randn(20, self.IN)
            point, center = torch.randint(50, (self.ROWS,)), torch.randint(20, (self.ROWS,))
            return a, b, point, center, torch.empty(self.ROWS, self.IN, dtype=dtype), self.sums(self.IN)

        self.both("difference", make)


def test_rounding_to_bfloat16_is_torchs():
    """Nearest, ties to even, for values of every size."""
    bits = torch.randint(-(2**31), 2**31 - 1, (1000, 16), dtype=torch.int32)
    a = bits.view(torch.float32)
    a = torch.where(a.isfinite() & (a.abs() < 1e38), a, 1.00390625)  # the latter lies halfway between two values
    out = torch.empty(1000, 16, dtype=torch.bfloat16)
    index = torch.arange(1000)
    cpu_steps.difference(a, torch.zeros(1000, 16), index, index, out, torch.zeros(2, 16, dtype=torch.float64))
    assert torch.equal(out, a.bfloat16())


def test_sums_do_not_depend_on_threads():
    import numba

    y, before = torch.randn(5000, 32), numba.get_num_threads()
    results = []
    for threads in sorted({1, numba.config.NUMBA_NUM_THREADS}):
        numba.set_num_threads(threads)
        sums = torch.zeros(2, 32, dtype=torch.float64)
        cpu_steps.add_moments(y, sums)
        results.append(sums.numpy().tobytes())
    numba.set_num_threads(before)
    assert len(set(results)) == 1
    np.testing.assert_allclose(np.frombuffer(results[0]).reshape(2, 32)[0], y.double().sum(0), rtol=1e-4, atol=1e-3)
