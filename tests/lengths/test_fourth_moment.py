"""The fourth moment of each sample, and its mean over nets, against float64 arithmetic."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from start_training.lengths.activation_length import activation_lengths
from start_training.lengths.fourth_moment import fourth_moments, mean_fourth_moment

DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]
EXACT = {"rtol": 1e-12, "atol": 0}


def by_formula(activation):
    values = activation.double().reshape(len(activation), -1) if len(activation) else torch.zeros(0, 1)
    return values.pow(4).sum(1).double() / values.square().sum(1).square().double()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_fourth_moments_are_shares_of_the_squared_norm(dtype, device, generator):
    for shape in (7, 33), (7,), (5, 4, 6, 3), (4, 1), (0, 12):
        activation = torch.randn(shape, generator=generator).to(dtype)
        torch.testing.assert_close(fourth_moments(activation.to(device)).cpu(), by_formula(activation), **EXACT)
    alike_and_single = torch.stack([torch.full((8,), -3.0), torch.eye(8)[0]]).to(device, dtype)
    assert fourth_moments(alike_and_single).tolist() == [1 / 8, 1]


@given(st.floats(-300, 300))
def test_fourth_moments_do_not_depend_on_the_scale(exponent):
    activation = torch.randn(4, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scaled = fourth_moments(activation * 10.0**exponent)
    torch.testing.assert_close(scaled, by_formula(activation), **EXACT)


def test_a_zero_sample_has_fourth_moment_0_and_a_non_finite_one_nan(generator):
    activation = torch.randn(4, 8, generator=generator)
    activation[1], activation[2, 3], activation[3, 0] = 0, math.inf, math.nan
    measured = fourth_moments(activation.requires_grad_())
    torch.testing.assert_close(measured[:1], by_formula(activation[:1].detach()), **EXACT)
    assert measured[1] == 0 and measured[2:].isnan().all() and not measured.requires_grad
    assert torch.equal(fourth_moments(torch.zeros(3, 0)), torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("log_scale", [0.0, -2000.0, 2000.0])
def test_the_mean_over_nets_is_the_ratio_of_means_for_lengths_of_any_size(log_scale, generator):
    nets = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    nets *= torch.randn(30, 1, generator=generator, dtype=torch.float64).exp()
    nets[3] = 0  # one is dead
    logs, moments = activation_lengths(nets).log(), fourth_moments(nets)
    expected = nets.pow(4).sum(1).mean() / nets.square().sum(1).square().mean()
    measured = mean_fourth_moment(moments[:, None].expand(-1, 2), torch.stack([logs, logs + log_scale], 1))
    torch.testing.assert_close(measured, expected.expand(2), rtol=1e-10, atol=0)
    assert abs(moments.mean() - expected) > 0.01  # a mean of ratios is another number
