"""The fourth moment of each sample, and its mean over nets, against float64 arithmetic done the slow way."""

import math

import pytest
import torch

from src.lengths.activation_length import activation_lengths
from src.lengths.fourth_moment import fourth_moments, mean_fourth_moment

DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]
SHAPES = [(7, 33), (7,), (5, 4, 6, 3), (4, 1), (0, 12)]


def slow_fourth_moments(activation):
    samples = [sample.double().flatten().tolist() for sample in activation]
    shares = [sum(x**4 for x in sample) / sum(x**2 for x in sample) ** 2 for sample in samples]
    return torch.tensor(shares, dtype=torch.float64)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fourth_moments_are_shares_of_the_squared_norm(shape, dtype, device, generator):
    activation = torch.randn(shape, generator=generator).to(dtype)
    measured = fourth_moments(activation.to(device)).cpu()
    torch.testing.assert_close(measured, slow_fourth_moments(activation), rtol=1e-12, atol=0)


def test_they_lie_between_one_over_n_and_one():
    alike, single = torch.full((1, 8), -3.0), torch.eye(8)[:1]
    assert fourth_moments(alike).item() == pytest.approx(1 / 8, rel=1e-15)
    assert fourth_moments(single).item() == 1


@pytest.mark.parametrize("scale", [1e-300, 1e-38, 1e-20, 1e20, 1e38, 1e300])
def test_no_magnitude_matters(scale, generator):
    activation = torch.randn(4, 50, generator=generator, dtype=torch.float64)
    expected = slow_fourth_moments(activation)
    torch.testing.assert_close(fourth_moments(activation * scale), expected, rtol=1e-12, atol=0)


def test_a_dead_sample_has_none_and_what_is_not_finite_shows_in_its_own_sample_only(generator):
    activation = torch.randn(4, 8, generator=generator)
    activation[1], activation[2, 3], activation[3, 0] = 0, math.inf, math.nan
    measured = fourth_moments(activation)
    torch.testing.assert_close(measured[:1], slow_fourth_moments(activation[:1]), rtol=1e-12, atol=0)
    assert measured[1] == 0
    assert measured[2:].isnan().all()
    assert torch.equal(fourth_moments(torch.zeros(3, 0)), torch.zeros(3, dtype=torch.float64))


def test_they_are_no_part_of_the_graph():
    assert not fourth_moments(torch.ones(3, 8, requires_grad=True)).requires_grad


@pytest.fixture
def activation(generator):
    """Nets of lengths that spread over magnitudes, one of them dead."""
    nets = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    nets *= torch.randn(30, 1, generator=generator, dtype=torch.float64).exp()
    nets[3] = 0
    return nets


def test_the_mean_over_nets_is_the_ratio_of_means(activation):
    expected = activation.pow(4).sum(1).mean() / activation.square().sum(1).square().mean()
    moments = fourth_moments(activation)
    measured = mean_fourth_moment(moments, activation_lengths(activation).log())
    torch.testing.assert_close(measured, expected, rtol=1e-12, atol=0)
    assert abs(moments.mean() - expected) > 0.01  # a mean of ratios is another number


@pytest.mark.parametrize("log_scale", [-2000.0, 2000.0])
def test_the_mean_over_nets_is_the_same_at_any_length(activation, log_scale):
    logs = activation_lengths(activation).log()
    moments = fourth_moments(activation)[:, None].expand(-1, 2)
    shifted = mean_fourth_moment(moments, torch.stack([logs, logs + log_scale], 1))
    torch.testing.assert_close(shifted[0], shifted[1], rtol=1e-10, atol=0)
