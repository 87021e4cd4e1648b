"""Activation lengths for all shapes, types and scales, against float64 arithmetic."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from start_training.lengths.activation_length import FEW_VALUES, activation_lengths, activation_norms, lengths_of_layers

DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]
SHAPES = [(7, 33), (7,), (3, 11, 16), (5, 4, 6, 3), (4, 1), (1, 20), (0, 12), (3, 0)]
HUGE_AND_TINY = [1.0, 1e30, 1e38, 1e18, 1e-16, 1e-30, 1e-38, 1e-39]  # the last is subnormal
EXACT = {"rtol": 1e-6, "atol": 0}


def exact_lengths(activation):
    units = math.prod(activation.shape[1:])
    return activation.detach().double().reshape(-1, units).square().sum(1) / units if units else torch.zeros(3).double()


def random(shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture(params=[0, FEW_VALUES], ids=["float32 if safe", "float64"])
def few_values(request, monkeypatch):
    """Set `FEW_VALUES` so that no activation, or every activation of these tests, is summed in float64 directly."""
    monkeypatch.setattr("start_training.lengths.activation_length.FEW_VALUES", request.param)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_lengths_are_mean_squares(dtype, device, few_values):
    for shape in SHAPES:
        activation = random(shape, dtype=dtype)
        lengths = activation_lengths(activation.to(device)).cpu()
        torch.testing.assert_close(lengths, exact_lengths(activation), **EXACT)  # float64, of shape (samples,)
        torch.testing.assert_close(
            activation_lengths(activation.to(device), data_dependent=False).cpu(), lengths, **EXACT
        )
    images = random((6, 5, 4, 3), dtype=dtype).to(device)
    for other in images.to(memory_format=torch.channels_last), images[:, ::2, 1:]:  # other layouts
        torch.testing.assert_close(activation_lengths(other), exact_lengths(other), **EXACT)
    assert activation_lengths(torch.tensor([[3.0, 1.0]])).item() == pytest.approx(5)  # no norm, and no variance
    large = torch.tensor([[65_504.0, -65_504.0], [6e-8, 0.0]], dtype=torch.float16).to(dtype)
    torch.testing.assert_close(activation_lengths(large.to(device)).cpu(), exact_lengths(large), **EXACT)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_lengths_are_right_if_squares_overflow_or_underflow_in_float32(dtype, device, few_values):
    for scale in HUGE_AND_TINY:
        activation = (random((4, 50)).clamp(-2, 2).double() * scale).to(dtype)
        lengths = activation_lengths(activation.to(device)).cpu()
        torch.testing.assert_close(lengths, exact_lengths(activation), **EXACT)
        assert ((lengths > 0) & lengths.isfinite()).all()


@given(st.lists(st.sampled_from([0.0, 1e-20, 1e-3, 1.0, 1e15, math.inf, math.nan]), min_size=1, max_size=6), st.data())
def test_the_length_of_a_sample_does_not_depend_on_other_samples(scales, data):
    activation = random((len(scales), 40)) * torch.tensor(scales)[:, None]
    activation[torch.tensor(scales) == 0] = 0
    lengths, order = activation_lengths(activation), data.draw(st.permutations(range(len(scales))))
    torch.testing.assert_close(lengths, exact_lengths(activation), **EXACT, equal_nan=True)
    torch.testing.assert_close(activation_lengths(activation[order]), lengths[order], **EXACT, equal_nan=True)
    split = torch.cat([activation_lengths(part) for part in activation.split(2)])
    torch.testing.assert_close(split, lengths, **EXACT, equal_nan=True)
    torch.testing.assert_close(activation_lengths(8 * activation), 64 * lengths, **EXACT, equal_nan=True)


def test_lengths_of_many_units_are_accurate_to_1e_4():
    activation = random((2, 300_000)) + 1
    torch.testing.assert_close(activation_lengths(activation), exact_lengths(activation), rtol=1e-4, atol=0)


def test_lengths_of_several_layers_are_those_of_each_layer(few_values):
    layers = [random((6, 33)), random((6, 4, 5)) * 1e30, random((6,)).double(), torch.zeros(6, 2)]
    norms, values = zip(*map(activation_norms, layers), strict=True)
    values = torch.tensor(values, dtype=torch.float64)
    together, out = lengths_of_layers(norms, values), torch.empty(4, 6, dtype=torch.float64)
    torch.testing.assert_close(together, torch.stack([exact_lengths(layer) for layer in layers]), **EXACT)
    assert torch.equal(lengths_of_layers(norms, values, out), together) and torch.equal(out, together)


@pytest.mark.parametrize("data_dependent", [True, False])
def test_two_leading_axes_are_nets_and_samples(data_dependent, few_values):
    for shape in (3, 5), (3, 5, 4), (3, 5, 4, 2):
        norms, values = activation_norms(random(shape), data_dependent=data_dependent, leading=2)
        nets = torch.stack([exact_lengths(net) for net in random(shape)])
        torch.testing.assert_close(norms.double().square() / values, nets, **EXACT)


@pytest.mark.parametrize(
    "scale, dtype",
    [(1, torch.float32), (1.1e-16, torch.float32), (0.9e-16, torch.float64), (0.9e18, torch.float32),
     (1.1e18, torch.float64), (0, torch.float64)],
)  # fmt: skip
def test_float32_is_used_for_many_values_in_its_safe_range_only(scale, dtype):
    many = torch.zeros(1, FEW_VALUES + 1)
    many[0, 0] = scale
    assert activation_norms(many)[0].dtype == dtype
    assert activation_norms(many[:, :FEW_VALUES])[0].dtype == torch.float64  # few values are summed in float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_lengths_do_not_depend_on_autocast_and_have_no_gradient(dtype, few_values):
    activation = random((4, 100), dtype=dtype).requires_grad_()
    before = activation.detach().clone()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lengths = activation_lengths(activation)
    torch.testing.assert_close(lengths, exact_lengths(activation), **EXACT)
    assert not lengths.requires_grad and torch.equal(activation, before)
